"""The executor of assistants, built on the griptape framework."""
