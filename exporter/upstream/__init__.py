"""The connection to the upstream: HTTP client, connections, proxies, and the look-up of names."""
