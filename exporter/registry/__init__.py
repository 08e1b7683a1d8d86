"""The registry: the sole owner and writer of jobs."""
