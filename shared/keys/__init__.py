"""API keys: the user and the organization that a request acts for."""
