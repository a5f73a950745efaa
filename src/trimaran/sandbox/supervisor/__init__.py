"""The process in which a sandbox's kernel runs: how it is set up, and how it is spoken to."""
