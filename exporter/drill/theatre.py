"""All scenes behind one address, and how a Prometheus finds them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml
from aiohttp import web

from ..alerting.promql import Promql, for_drill
from ..alerting.rule_files import drill_rules
from ..alerting.thresholds import load_thresholds
from ..config.values import split_address
from .scene import Scene
from .sight import DrillError

JOB: Final = "removit-drill"
RULES_FILE: Final = "rules.yml"
PROMETHEUS_FILE: Final = "prometheus.yml"


def write(folder: Path, address: str, alertmanager: str | None) -> None:
    """Write the drill's rules, and a config for a Prometheus of its own, into a folder.

    Its own, because the squeezed rules would be false alarms for everything but the drill.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rules = drill_rules(Promql(load_thresholds(), for_drill))
    (folder / RULES_FILE).write_text(rules, encoding="utf-8")
    text = yaml.safe_dump(prometheus_config(address, alertmanager), sort_keys=False)
    (folder / PROMETHEUS_FILE).write_text(text, encoding="utf-8")


def prometheus_config(address: str, alertmanager: str | None) -> dict[str, Any]:
    """Return the config of a Prometheus that sees nothing but the drill at an address."""
    sd = {"url": f"http://{address}/sd", "refresh_interval": "5s"}
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [RULES_FILE],
        "scrape_configs": [{"job_name": JOB, "honor_labels": True, "http_sd_configs": [sd]}],
    }
    if alertmanager is not None:
        url = urlsplit(alertmanager)
        target: dict[str, Any] = {"static_configs": [{"targets": [url.netloc]}]}
        target |= {"scheme": url.scheme, "path_prefix": url.path or "/"}
        config["alerting"] = {"alertmanagers": [target]}
    return config


@asynccontextmanager
async def serving(scenes: Sequence[Scene], address: str) -> AsyncIterator[str]:
    """Serve every scene's exporter under a path of its own; yields the URL of them all.

    Raises `DrillError` when the address cannot be listened on.
    """
    by_path = {f"/acts/{scene.name}": scene for scene in scenes}

    @web.middleware
    async def mute(request: web.Request, handler: Any) -> web.StreamResponse:
        scene = by_path.get(request.path.removesuffix("/metrics"))
        if scene is not None and scene.muted:
            return web.Response(status=503)
        response: web.StreamResponse = await handler(request)
        if scene is not None:
            scene.scraped.set()
        return response

    async def discover(request: web.Request) -> web.Response:
        return web.json_response(_targets(request.host, by_path))

    app = web.Application(middlewares=[mute])
    app.router.add_get("/sd", discover)
    for path, scene in by_path.items():
        app.add_subapp(path, await scene.make())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        host, port = split_address(address)
        try:
            await web.TCPSite(runner, host or None, port).start()
        except OSError as error:
            raise DrillError(f"cannot listen on {address}: {error.strerror or error}") from error
        url = f"http://{host or '127.0.0.1'}:{runner.addresses[0][1]}"
        for path, scene in by_path.items():
            scene.url = url + path
        yield url
    finally:
        for scene in scenes:
            await scene.close()
        await runner.cleanup()


def _targets(host: str, by_path: Mapping[str, Scene]) -> list[dict[str, Any]]:
    """Prometheus's `http_sd`: every scene is a target, told apart by its `instance`."""
    return [
        {
            "targets": [host],
            "labels": {
                "__metrics_path__": f"{path}/metrics",
                "instance": f"{host}{path}",
                "drill": "true",
            },
        }
        for path in by_path
    ]
