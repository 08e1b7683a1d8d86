"""Reading the parameters of a list in pages: `limit` and `after`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from .errors import ApiError
from .registrations import Details

MAX_PAGE: Final = 1000
DEFAULT_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Paging:
    """How many to give, and below which cursor; None begins with the newest."""

    limit: int
    before: int | None


def read_page(
    query: Mapping[str, str],
    *filters: str,
    prefixes: Collection[str] = (),
    wrong: Mapping[str, list[str]] | None = None,
) -> Paging:
    """Read `limit` and `after`; raises `ApiError` 422 by parameter.

    `filters` and `prefixes` (of `label.<name>`, say) are the other parameters that are known;
    `wrong` is what the caller has found wrong with those.
    """
    details: Details = dict(wrong or {})
    for name in query:
        if name not in ("limit", "after", *filters) and not name.startswith(tuple(prefixes)):
            known = [*filters, *(f"{prefix}<name>" for prefix in prefixes), "limit", "after"]
            details[name] = [f"unknown parameter; known are: {', '.join(known)}"]
    limit, after = query.get("limit", str(DEFAULT_PAGE)), query.get("after")
    if not is_number(limit) or not 1 <= int(limit) <= MAX_PAGE:
        details["limit"] = [f"expected a number from 1 to {MAX_PAGE}"]
    if after is not None and not is_number(after):
        details["after"] = ["expected the `next` of the page before"]
    if details:
        raise ApiError(422, details=details)
    return Paging(int(limit), None if after is None else int(after))


def is_number(text: str) -> bool:
    """Whether a query's text is a whole number that SQLite can hold."""
    return text.isascii() and text.isdigit() and len(text) <= 18
