"""Programs of structure runs: where they come from, and their life as processes within limits."""
