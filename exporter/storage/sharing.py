"""Values that many jobs have in common are kept once.

Without it each job has four mappings of its own, most of them empty: 400 bytes.
"""

import functools
from collections.abc import Mapping
from typing import Any, Final

from ..core.job import Job

NOTHING: Final[Mapping[str, Any]] = {}
"""The empty mapping of all jobs. Nobody writes to it: the fields of a job are read-only."""
KEPT_LABELS: Final = 4096
"""Labels that were not used for long have left this cache: new jobs then share another mapping."""


def shared(job: Job) -> dict[str, Any]:
    """Return the fields of a job that it can share, to be passed to `replace`."""
    return {
        "labels": share_labels(job.labels),
        "warnings": job.warnings or NOTHING,
        "reported_warnings": job.reported_warnings or NOTHING,
        "final_urls": job.final_urls or NOTHING,
    }


def share_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return labels equal to these, and in the same order."""
    return _labels(tuple(labels.items()))


@functools.lru_cache(KEPT_LABELS)
def _labels(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(items)
