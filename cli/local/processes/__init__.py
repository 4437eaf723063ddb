"""Child processes: start them so that they cannot outlive us, watch them, stop them."""
