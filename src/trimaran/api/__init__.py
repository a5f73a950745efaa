"""Servers: CRI, the Docker Engine API, web."""
