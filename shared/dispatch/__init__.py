"""Dispatch: which runs go to the workers, their messages, and what monitors are told."""
