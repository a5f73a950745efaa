"""Snapshots: layer directories and what mounts them together."""
