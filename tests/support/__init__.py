"""Shared by tests: registries and images."""
