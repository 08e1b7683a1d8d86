"""Debian's nginx in front of an exporter."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from conftest import program, until
from processes import in_background

CONFIG = """
daemon off; master_process off; error_log stderr; pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{server}
}}
"""


@contextlib.asynccontextmanager
async def nginx(folder: Path, server: str) -> AsyncIterator[None]:
    """Run nginx with a `server` block; `folder` gets its files."""
    binary = program("nginx", "nginx-light")
    config, pid = folder / "nginx.conf", folder / "nginx.pid"
    config.write_text(CONFIG.format(folder=folder, server=server))
    async with in_background(binary, "-p", str(folder), "-c", str(config)):
        await until(pid.exists)  # written once it listens
        yield
