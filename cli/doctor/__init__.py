"""The doctor: findings about an installation, and invariants of the stored data."""
