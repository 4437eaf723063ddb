"""The HTTP process: it authenticates, translates, calls a use case and answers."""
