"""Building blocks of every server process: start, heartbeat, hidden memory, vital threads, health check."""
