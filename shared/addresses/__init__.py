"""Addresses of servers in settings: their syntax, and their parameters for the clients."""
