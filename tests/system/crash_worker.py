"""An exporter that is killed: run by `test_crash.py` as `crash_worker.py CONFIG KILL_AFTER`.

KILL_AFTER counts commits: in the transaction of that one, between BEGIN and COMMIT, the process
kills itself with SIGKILL; 0 means never. SIGTERM stops it as it should be stopped. It prints its
URL when it is ready.
"""

import asyncio
import logging
import os
import signal
import sys

from aiohttp import web

from exporter import create_app, load_config
from exporter.storage.sqlite import SqliteStore


async def main(config_file: str, kill_after: int) -> None:
    commits = 0

    def before_commit() -> None:
        nonlocal commits
        commits += 1
        if commits == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    logging.getLogger("removit_exporter").addHandler(logging.NullHandler())
    config = load_config(config_file)
    store = SqliteStore(config.storage.path, before_commit=before_commit)
    runner = web.AppRunner(create_app(config, store=store), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    host, _, port = config.web.listen_address.rpartition(":")
    await web.TCPSite(runner, host, int(port)).start()
    print(f"http://{host}:{port}", flush=True)  # noqa: T201
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
