"""Metrics: every instrument of every process, with bounded labels."""
