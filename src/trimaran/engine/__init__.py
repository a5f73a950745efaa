"""Containers and their life: state, events, logs, health, recovery, garbage collection."""
