"""Ports for servers that a test starts as processes of their own."""

import itertools
import os
import socket

_PER_PROCESS = 40
# Below those that systems give to outgoing connections, which could take one in between.
_NEXT = itertools.count(20_000 + os.getpid() * _PER_PROCESS % 12_000)


def free_port() -> int:
    """Return a port of loopback that nobody listens on just now."""
    for port in _NEXT:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("there is always another port")
