"""The event log: what happened in a run, numbered without holes."""
