"""The seam to a sandboxed task: its memory, its images, and what it is made to run."""
