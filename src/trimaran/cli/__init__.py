"""The trimaran command: one module a command, imported when that command runs."""
