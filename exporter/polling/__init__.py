"""Asking the upstream: the clock, the HTTP client, and the poller that decides nothing itself."""
