"""Event streams, and requests that wait for the end of a run."""
