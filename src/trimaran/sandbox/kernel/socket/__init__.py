"""Sockets, by address family."""
