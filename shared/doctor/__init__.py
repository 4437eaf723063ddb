"""Whether what is stored is whole, and what is wrong with an installation."""
