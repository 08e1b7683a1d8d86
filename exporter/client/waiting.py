"""Waits for a change of a job by the status route, which holds a request until there is one."""

import asyncio
from typing import Final

import aiohttp

from .connection import Connection
from .errors import RefusedError
from .http import error_body, say

_LONGEST_HOLD: Final = 30.0
_SHORTEST_TURN: Final = 0.5


class StatusWait:
    """Waits for one job. `api_key` is the upstream's key, which the status route takes."""

    def __init__(self, connection: Connection, api_key: str, job_id: str) -> None:
        self._connection = connection
        self._api_key = api_key
        self._job_id = job_id
        self._etag: str | None = None
        self._asked_at: float | None = None

    async def change(self, seconds: float) -> None:
        """Return once the answer has changed, or after `seconds`; the first time at once.

        The exporter's own 503 is waited out: an outage does not end a job. Raises `RefusedError`,
        `UnreachableError`.
        """
        patience = self._connection.patience()
        hold = max(0.0, min(_LONGEST_HOLD, self._connection.seconds, seconds))
        hold = await self._pause(hold)
        while True:
            try:
                retry_after = await self._ask(hold, patience.limit(self._connection.timeout))
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                await patience.wait(say(error))
                continue
            if retry_after is None:
                return
            await asyncio.sleep(retry_after)
            patience.renew()

    async def _pause(self, hold: float) -> float:
        """Keep turns apart, as some answers are not held; return how long to hold this one."""
        time = asyncio.get_running_loop().time
        if self._asked_at is None:
            hold = 0.0
        else:
            await asyncio.sleep(max(0.0, self._asked_at + _SHORTEST_TURN - time()))
        self._asked_at = time()
        return hold

    async def _ask(self, hold: float, limit: float) -> float | None:
        """Ask once; return None, or after how many seconds to ask again."""
        connection = self._connection
        query = {"job_id": self._job_id} | ({"wait": f"{hold * 1000:.0f}ms"} if hold else {})
        headers = {"X-API-Key": self._api_key}
        headers |= {"If-None-Match": self._etag} if self._etag else {}
        async with connection.session().get(
            (connection.url / "api/v1/status").with_query(query),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=hold + limit),
        ) as response:
            if response.status in (401, 403):
                raise RefusedError(response.status, await error_body(response))
            if response.status == 503:
                body = await error_body(response)
                if body.get("error") == "exporter_unavailable":
                    return float(response.headers.get("Retry-After", "1"))
            self._etag = response.headers.get("ETag")
            return None
