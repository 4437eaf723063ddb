"""The executing process: it claims runs, executes assistants and records what happened."""
