"""Ports for servers that a test starts as processes of their own."""

import socket


def free_port() -> int:
    """Return a port of loopback that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
