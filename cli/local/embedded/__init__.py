"""A real PostgreSQL and a real Redis from wheels, for one machine."""
