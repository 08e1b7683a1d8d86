"""Many connections that follow the stream of events, and drop what they receive.

    python benchmarks/baselines/followers.py URL CONNECTIONS

Prints a line once all follow. Ends with its standard input, and prints how many follow still and
how many MB they have received.
"""

import asyncio
import sys

import uvloop


class Follower(asyncio.Protocol):
    """One connection; `follows` is set once its answer has begun."""

    def __init__(self) -> None:
        self.follows = asyncio.Event()
        self.lost = False
        self.received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        request = b"GET /api/v1/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
        transport.write(request)  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if not self.follows.is_set():
            assert data.startswith(b"HTTP/1.1 200"), data
            self.follows.set()


async def main() -> None:
    host, _, port = sys.argv[1].removeprefix("http://").partition(":")
    loop = asyncio.get_running_loop()

    async def follow() -> Follower:
        _, follower = await loop.create_connection(Follower, host, int(port))
        await follower.follows.wait()
        return follower

    followers = await asyncio.gather(*(follow() for _ in range(int(sys.argv[2]))))
    print("following", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    left = sum(not follower.lost for follower in followers)
    print(left, sum(follower.received for follower in followers) // 1_000_000, flush=True)


if __name__ == "__main__":
    uvloop.run(main())
