"""`GET /openapi.json`: all routes in OpenAPI 3.1, with the limits of this exporter's config."""

import copy
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import yaml
from aiohttp import web

from ..config.registration import RegistrationRules
from ..config.values import MAX_KEY_CHARS
from .context import Context, answer

_FILE: Final = Path(__file__).with_name("openapi.yaml")
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C takes a tenth of the time; PyYAML may come without it."""


@cache
def _parsed() -> dict[str, Any]:
    made: dict[str, Any] = yaml.load(_FILE.read_text(), Loader=_LOADER)  # noqa: S506 - both are safe
    return made


def document(rules: RegistrationRules, prefix: str) -> dict[str, Any]:
    """Return the document of an exporter whose routes are below `prefix`."""
    made = copy.deepcopy(_parsed())
    made["info"]["version"] = version("removit-exporter")
    made["servers"] = [{"url": prefix or "/"}]
    schemas = made["components"]["schemas"]
    schemas["JobId"]["pattern"] = f"^(?:{rules.job_id_pattern})$"
    schemas["Key"]["maxLength"] = MAX_KEY_CHARS
    fields = schemas["Registration"]["properties"]
    value = {"type": "string", "maxLength": rules.max_label_bytes}
    fields["labels"]["properties"] = dict.fromkeys(sorted(rules.allowed_labels), value)
    fields["labels"]["maxProperties"] = rules.max_labels
    return made


class OpenApiRoutes:
    """The route of the document."""

    def __init__(self, context: Context) -> None:
        self._context = context
        _parsed()  # slow, so at the start and not during a request

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, without prefix."""
        return [web.get("/openapi.json", self.openapi)]

    async def openapi(self, request: web.Request) -> web.Response:
        """Answer with the document."""
        return answer(document(self._context.config().registration, self._context.prefix))
