"""Flower with our views and without its unsafe controls."""
