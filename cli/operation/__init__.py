"""What an operator sees of a running installation: runs, queues and workers, read within bounds."""
