"""Requests that a caller may repeat: what was made for a key is made once."""
