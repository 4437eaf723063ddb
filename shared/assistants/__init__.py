"""Assistants: what a caller configures once and runs many times."""
