"""Serves all sandboxes at one address, and lets a Prometheus discover them."""

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
from .alert_monitor import DrillError
from .sandbox import Sandbox

JOB: Final = "removit-drill"
RULES_FILE: Final = "rules.yml"
PROMETHEUS_FILE: Final = "prometheus.yml"
NO_ACCESS: Final[Mapping[str, Any]] = {}


def write(
    folder: Path, address: str, alertmanager: str | None, access: Mapping[str, Any] = NO_ACCESS
) -> None:
    """Write the drill's rules, and a config for a separate Prometheus, into a folder.

    `access` are the flags `monitoring_…`: how that Prometheus reaches Alertmanager.

    It must be a separate one: with their shorter times the rules would give false alarms elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rules = drill_rules(Promql(load_thresholds(), for_drill))
    (folder / RULES_FILE).write_text(rules, encoding="utf-8")
    config = prometheus_config(address, alertmanager, access)
    text = yaml.safe_dump(config, sort_keys=False)
    (folder / PROMETHEUS_FILE).write_text(text, encoding="utf-8")


def prometheus_config(
    address: str, alertmanager: str | None, access: Mapping[str, Any] = NO_ACCESS
) -> dict[str, Any]:
    """Return the config of a Prometheus that scrapes only the drill at an address."""
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
        target |= _access(access)
        config["alerting"] = {"alertmanagers": [target]}
    return config


def _access(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the login and the files for TLS, as Prometheus's config names them."""
    files = {
        name: str(path.absolute())
        for name in ("ca_file", "cert_file", "key_file")
        if (path := flags.get(f"monitoring_{name}")) is not None
    }
    access: dict[str, Any] = {"tls_config": files} if files else {}
    if (user := flags.get("monitoring_username")) is not None:
        password = str(flags["monitoring_password_file"].absolute())
        access["basic_auth"] = {"username": user, "password_file": password}
    return access


@asynccontextmanager
async def serve(sandboxes: Sequence[Sandbox], address: str) -> AsyncIterator[str]:
    """Serve each sandbox's exporter under its own path; yields the common base URL.

    Raises `DrillError` if the address cannot be used.
    """
    by_path = {f"/scenarios/{sandbox.name}": sandbox for sandbox in sandboxes}

    @web.middleware
    async def mute(request: web.Request, handler: Any) -> web.StreamResponse:
        sandbox = by_path.get(request.path.removesuffix("/metrics"))
        if sandbox is not None and sandbox.muted:
            return web.Response(status=503)
        response: web.StreamResponse = await handler(request)
        if sandbox is not None:
            sandbox.scraped.set()
        return response

    async def discover(request: web.Request) -> web.Response:
        return web.json_response(_targets(request.host, by_path))

    app = web.Application(middlewares=[mute])
    app.router.add_get("/sd", discover)
    for path, sandbox in by_path.items():
        app.add_subapp(path, await sandbox.start())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        host, port = split_address(address)
        try:
            await web.TCPSite(runner, host or None, port).start()
        except OSError as error:
            raise DrillError(f"cannot listen on {address}: {error.strerror or error}") from error
        url = f"http://{host or '127.0.0.1'}:{runner.addresses[0][1]}"
        for path, sandbox in by_path.items():
            sandbox.url = url + path
        yield url
    finally:
        for sandbox in sandboxes:
            await sandbox.close()
        await runner.cleanup()


def _targets(host: str, by_path: Mapping[str, Sandbox]) -> list[dict[str, Any]]:
    """Return each sandbox as a target of Prometheus's `http_sd`, with its own `instance`."""
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
