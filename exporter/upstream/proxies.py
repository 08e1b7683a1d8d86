"""Chooses the proxy of requests to the upstream, from the config or the environment."""

import ipaddress
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

CONFIG_KEY: Final = "upstream.proxy_url"


class Proxy(NamedTuple):
    """A proxy's URL, which may contain a password, and where it was set."""

    url: str
    origin: str
    """`upstream.proxy_url`, or the name of the environment variable."""

    @property
    def shown(self) -> str:
        """The URL without user and password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def find_proxy(base_url: str, configured: str | None, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for a base URL; None means a direct connection.

    The config comes first, then the environment: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
    `NO_PROXY`, also in lower case. As in Go's programs, requests to this machine itself never use
    a proxy from the environment.
    """
    if configured is not None:
        return Proxy(configured, CONFIG_KEY)
    target = urlsplit(base_url)
    host = target.hostname or ""
    if _is_this_machine(host) or _is_exempt(host, _port(target), environ):
        return None
    for name in (f"{target.scheme}_proxy", "all_proxy"):
        for spelling in (name, name.upper()):
            if spelling == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
                continue  # under CGI a client can set it by a header (CVE-2016-5385)
            if value := environ.get(spelling, "").strip():
                return Proxy(value if "://" in value else f"http://{value}", spelling)
    return None


def check_scheme(proxy: Proxy) -> str | None:
    """Return the error in a proxy's URL; None if it can be used."""
    if urlsplit(proxy.url).scheme in ("http", "https"):
        return None
    return f"{proxy.origin}: only proxies with http:// or https:// can be used"


def _port(target: SplitResult) -> int | None:
    return target.port or {"http": 80, "https": 443}.get(target.scheme)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def _is_exempt(host: str, port: int | None, environ: Mapping[str, str]) -> bool:
    """Whether `NO_PROXY` names a host: by name, suffix, address, network, `host:port` or `*`."""
    excepted = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    entries = (one.strip().casefold() for one in excepted.split(","))
    return any(_names(entry, host.casefold(), port) for entry in entries if entry)


def _names(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    name, separator, wanted_port = entry.rpartition(":")
    if separator and wanted_port.isdigit() and (":" not in name or name.endswith("]")):
        if int(wanted_port) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    try:  # an address may be spelled in several ways
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        entry, host = entry.removeprefix("*").strip("."), host.rstrip(".")
        return host == entry or host.endswith(f".{entry}")
