"""Assistants: configured once, run many times."""
