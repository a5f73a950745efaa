"""Volumes: local and CSI."""
