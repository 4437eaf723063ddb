"""Development scripts; no part of the distribution."""
