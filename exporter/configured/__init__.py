"""Jobs that the config and its job files name."""
