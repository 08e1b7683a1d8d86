"""The wire to the upstream: its HTTP client, the connections and the look-up of names."""
