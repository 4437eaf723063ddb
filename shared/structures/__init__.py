"""Structures: programs of a user's own, and what their runs report."""
