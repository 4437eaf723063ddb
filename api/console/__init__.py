"""The console: pages about runs for people, served beside the dialects and by the same use cases."""
