"""A small shop that makes pictures with the Removit API and says when they are ready.

    REMOVIT_API_KEY=... python docs/examples/shop.py

Post a picture's URL to /pictures, look at /pictures/JOB_ID; the exporter is below /removit.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from aiohttp import web

from exporter import (
    JOBS,
    Config,
    ExporterStoppedError,
    RegistrationError,
    load_config,
    setup,
)

UPLOADER: Final = web.AppKey("UPLOADER", aiohttp.ClientSession)
LOG: Final = logging.getLogger("shop")
routes = web.RouteTableDef()


@routes.post("/pictures")
async def make_picture(request: web.Request) -> web.Response:
    """Upload a picture and have the exporter follow its job."""
    order = await request.json()
    upload = {"file_url": order["file_url"], "mode": "clipping"}
    async with request.app[UPLOADER].post("/api/v1/upload", json=upload) as response:
        response.raise_for_status()
        job_id = (await response.json())["job_id"]
    try:
        job = await request.app[JOBS].register(job_id, key=order["sku"])
    except RegistrationError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    return web.json_response({"job_id": job.job_id}, status=202)


@routes.get("/pictures/{job_id}")
async def picture(request: web.Request) -> web.Response:
    """Answer as soon as the picture is there, after 30 seconds at the latest."""
    jobs, job_id = request.app[JOBS], request.match_info["job_id"]
    try:
        job = await jobs.wait(job_id, timeout=30)
    except TimeoutError:
        return web.json_response({"state": "pending"})
    except LookupError:
        raise web.HTTPNotFound from None
    except ExporterStoppedError:
        raise web.HTTPServiceUnavailable from None
    urls = dict(job.final_urls) or ({"picture": job.final_url} if job.final_url else {})
    return web.json_response({"state": job.state.value, "urls": urls})


async def write_down_what_fails(app: web.Application) -> None:
    """Follow the stream of events; a job that ended badly is worth a line."""
    async for one in app[JOBS].events(type="finished"):
        if one.event.data["state"] != "done":
            LOG.warning("job %s: %s", one.event.job_id, one.event.data["state"])


async def background(app: web.Application) -> AsyncIterator[None]:
    """What runs beside the requests; it starts after the exporter, and ends before it."""
    key = {"X-API-Key": os.environ["REMOVIT_API_KEY"]}
    async with aiohttp.ClientSession(app[BASE_URL], headers=key) as session:
        app[UPLOADER] = session
        writer = asyncio.create_task(write_down_what_fails(app))
        yield
        writer.cancel()
        await asyncio.wait([writer])


BASE_URL: Final = web.AppKey("BASE_URL", str)


def make_app(config: Config) -> web.Application:
    """Return the shop, with the exporter below /removit."""
    app = web.Application()
    app[BASE_URL] = config.upstream.base_url
    setup(app, config, prefix="/removit")
    app.cleanup_ctx.append(background)
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    web.run_app(make_app(load_config("config.yaml")), host="127.0.0.1", port=8080)
