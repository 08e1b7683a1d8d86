"""What must be sent again: one number, and a table of the causes that add up to it."""

from collections.abc import Mapping

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from .looks import GREEN, ORANGE
from .panels import COUNT, Column, fact, rows_of
from .queries import BY_GROUP, GROUP, REPORTING, REQUESTS, SEEN, WITHOUT, grown, now, rows

_FAILED = f'{GROUP},endpoint="upload",code!~"2.."'

CAUSES: Mapping[str, tuple[str, str]] = {
    "ended badly, unresolved": (
        f"{BY_GROUP} (removit_unresolved_failures{{{GROUP}}})",
        "GET /api/v1/failures",
    ),
    "no result, in this time": (
        f"round({BY_GROUP} ({grown(WITHOUT, GROUP)} and {REPORTING}))",
        "the exporter's log",
    ),
    "upload failed, in this time": (
        f"round(sum({grown(REQUESTS, _FAILED)} and {REPORTING}))",
        "your uploads' log",
    ),
}
"""Each cause: how many images, by group, and where they are named."""

AT_MOST = (
    "At most: a failed upload that its sender repeated counts too, and so does an image without"
    " result of which a later job has one. Failed uploads have no group: they count while Group is"
    " All."
)


def _by_cause() -> str:
    """Return the images of each cause, by group; each cause has a row, 0 where nothing was lost."""
    parts = (
        f'label_replace(label_replace((({images}) > 0) or on () (0 * max({SEEN})), "cause",'
        f' "{cause}", "", ""), "which", "{which}", "", "")'
        for cause, (images, which) in CAUSES.items()
    )
    return "\n or ".join(parts)


def resend_tile() -> Builder[Panel]:
    """Return the sum of the table: it asks for the same, so the two always agree."""
    return fact(
        "To send again",
        f"The sum of the table To send again, by cause. {AT_MOST}",
        COUNT,
        now(f"sum({_by_cause()})"),
        steps=((None, GREEN), (1.0, ORANGE)),
    )


def resend_table() -> Builder[Panel]:
    """Return the images by cause and group, and where to find which they are."""
    return rows_of(
        "To send again, by cause",
        "Ended badly: keys (or ids, of jobs without one) whose last job failed, expired, was not"
        " found or was invalid, until a later one is done or someone acknowledges. No result: done,"
        f" and nothing to fetch. Upload failed: the API did not accept it. {AT_MOST}",
        rows(_by_cause()),
        columns={
            "Value": Column("At most", COUNT, width=92),
            "cause": Column("Cause", width=190),
            "which": Column("Listed in", width=155),
        },
        sorted_by="At most",
    )
