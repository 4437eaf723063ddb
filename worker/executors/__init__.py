"""The ways a run can be executed."""
