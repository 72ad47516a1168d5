"""Where a training runs: one small interface, an implementation a file."""
