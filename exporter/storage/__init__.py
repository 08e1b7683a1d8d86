"""The store: its Protocol, SQLite, and the in-process double that simulated time uses."""
