"""A bare loop of aiohttp's client polls jobs over 64 connections and decodes the JSON.

    python benchmarks/baselines/polls.py URL POLLS JOBS

Prints the CPU seconds of a poll.
"""

import asyncio
import itertools
import sys
import time

import aiohttp
import uvloop

CONNECTIONS = 64
url, polls, jobs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


async def main() -> None:
    turns = itertools.count()
    headers = {"X-API-Key": "key", "User-Agent": "baseline"}
    timeout = aiohttp.ClientTimeout(10)
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def poll() -> None:
            while (at := next(turns)) < polls:
                query = {"job_id": f"baseline-{at % jobs:027}"}
                async with session.get(
                    f"{url}/api/v1/status", params=query, timeout=timeout
                ) as response:
                    await response.json()

        await asyncio.gather(*(poll() for _ in range(CONNECTIONS)))


started = time.process_time()
uvloop.run(main())
print((time.process_time() - started) / polls)
