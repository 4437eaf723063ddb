"""API keys: who may act, and in which organization."""
