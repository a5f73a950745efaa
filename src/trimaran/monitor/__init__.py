"""Starts and talks to trimaran-monitor, the process that owns a container's stdio, log and exit status."""
