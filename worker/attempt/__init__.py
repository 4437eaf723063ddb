"""One attempt of a run, from claim to end."""
