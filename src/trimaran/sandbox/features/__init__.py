"""What is built on the hooks: recording, learning, faults, budgets, repeatable runs, differences."""
