"""The commands of runyard, a module each."""
