"""The Griptape Cloud dialect: its routes and its shapes."""
