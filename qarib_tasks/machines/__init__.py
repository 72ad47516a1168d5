"""Where a trainer command runs, and what such a machine is."""
