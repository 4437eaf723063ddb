"""Programs as child processes: within limits, their output kept, nothing of them left behind."""
