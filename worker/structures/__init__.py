"""What structure runs execute: a folder of the operator's, a callable, or the sample."""
