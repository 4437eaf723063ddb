"""Traffic limits: connections, lanes, memory."""
