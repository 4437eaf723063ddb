"""Structure runs: programs as processes of their own, within limits, in a sandbox."""
