"""Two routes of aiohttp that do the least: a PUT without a store, and a fixed status answer.

    python benchmarks/baselines/server.py

Prints its URL. Run by uvloop, without an access log.
"""

import asyncio
import json
import sys

import uvloop
from aiohttp import web

STATUS = b'{"job_id": "a", "mode": "clipping", "state": "done", "status": "done", "progress": 100}'


async def put(request: web.Request) -> web.Response:
    document = json.loads(await request.read())
    shown = {"job_id": request.match_info["job_id"], "state": "pending", **document}
    body = json.dumps(shown, separators=(",", ":")).encode()
    return web.Response(status=201, body=body, content_type="application/json")


async def status(request: web.Request) -> web.Response:
    return web.Response(body=STATUS, content_type="application/json")


async def main() -> None:
    app = web.Application()
    app.router.add_put("/api/v1/jobs/{job_id}", put)
    app.router.add_get("/api/v1/status", status)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
