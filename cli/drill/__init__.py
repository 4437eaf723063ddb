"""The drill: load, faults, and a verdict on every promise from outside."""
