"""What every Runyard process knows: settings, tables, rules, use cases and contracts."""
