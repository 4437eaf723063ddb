"""Runs: their lifecycle, their transitions, how they are read and what can be asked of them."""
