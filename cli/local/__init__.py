"""An installation on one machine: the servers and processes that `dev`, `demo` and `drill` start."""
