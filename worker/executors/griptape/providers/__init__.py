"""The model providers: one module each, named like the provider, with a function `build`."""
