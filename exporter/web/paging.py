"""Lists in pages: the parameters `limit` and `after`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from .errors import ApiError, Details
from .parameters import is_number, unknown_parameters

MAX_PAGE: Final = 1000
DEFAULT_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Paging:
    """At most `limit` items, all older than the cursor `before`; None starts with the newest."""

    limit: int
    before: int | None


def read_page(
    query: Mapping[str, str],
    *filters: str,
    prefixes: Collection[str] = (),
    errors: Details | None = None,
) -> Paging:
    """Read `limit` and `after`; raises `ApiError` 422 by parameter.

    `filters` are the other known parameters, and `prefixes` begin further ones (`label.<name>`).
    `errors` are those that the caller found in the filters.
    """
    details = dict(errors or {})
    details |= unknown_parameters(query, (*filters, "limit", "after"), prefixes)
    limit, after = query.get("limit", str(DEFAULT_PAGE)), query.get("after")
    if not is_number(limit) or not 1 <= int(limit) <= MAX_PAGE:
        details["limit"] = [f"expected a number from 1 to {MAX_PAGE}"]
    if after is not None and not is_number(after):
        details["after"] = ["expected the `next` of the page before"]
    if details:
        raise ApiError(422, details=details)
    return Paging(int(limit), None if after is None else int(after))
