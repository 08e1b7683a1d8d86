"""Polling: the poller, which decides nothing itself, its schedule, and the status cache."""
