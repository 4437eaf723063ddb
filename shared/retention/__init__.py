"""Retention: what is deleted for its age, and how."""
