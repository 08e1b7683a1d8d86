"""Polling: the schedule, the requests to the upstream, and the cache of its answers."""
