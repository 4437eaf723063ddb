"""The drill: load, faults, and a look from outside at whether every promise was kept."""
