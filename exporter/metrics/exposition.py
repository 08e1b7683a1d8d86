"""The page of metrics, behind one boundary: what is asked for in, slices of bytes out.

prometheus-client chooses the format by `Accept` and writes all families but the per-job ones;
those are put in before the end. Callers see slices only, so that lines can later be kept from
scrape to scrape without their noticing.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, choose_encoder, generate_latest
from prometheus_client.registry import Collector

from ..core.job import Job
from .catalogue import FAMILIES, Part
from .job_series import Choice, PerJobRules, lines

LINES_PER_SLICE: Final = 1000
JOBS_PER_STEP: Final = 2000
"""So many jobs are looked at before the caller has its turn."""
_END: Final = b"# EOF\n"
_CHANGES_NAMES: Final = re.compile(r";\s*escaping=(dots|values)")
_PARTS: Final = {family.base: family.part for family in FAMILIES.values()}


@dataclass(slots=True)
class Page:
    """What is sent, in slices.

    The numbers are those of the moment when the page was asked for; an empty slice means only that
    some work was done, and others may have their turn. `left_out` counts the jobs without series,
    once the slices are at their end; None on a page without jobs.
    """

    slices: Iterator[bytes] = field(default_factory=lambda: iter(()))
    left_out: int | None = None


Encoder = Callable[[Collector], bytes]


class Exposition:
    """Makes pages of what the registry and the jobs say. `time` gives seconds since 1970."""

    def __init__(
        self,
        registry: CollectorRegistry,
        jobs: Mapping[str, Job],
        rules: Callable[[], PerJobRules],
        allowed_labels: Callable[[], Collection[str]],
        const_labels: Mapping[str, str],
        time: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._jobs = jobs
        self._rules = rules
        self._allowed_labels = allowed_labels
        self._const_labels = const_labels
        self._time = time

    def page(self, encode: Encoder, parts: Collection[Part] = tuple(Part)) -> Page:
        """Return the page in the format of `encode` (see `negotiate`), or only some parts of it."""
        families = list(_selected(self._registry, parts, self._const_labels))
        page = Page()
        page.slices = self._slices(page, encode, families, Part.JOBS in parts)
        return page

    def _slices(
        self, page: Page, encode: Encoder, families: Iterable[Metric], with_jobs: bool
    ) -> Iterator[bytes]:
        ending = b""
        for family in families:
            body = encode(_One(family))
            ending = _END if body.endswith(_END) else b""
            yield body.removesuffix(_END)
        if with_jobs and self._rules().enabled:
            choice = Choice(self._rules(), self._time())
            for at, job in enumerate(list(self._jobs.values())):
                choice.feed(job)
                if at % JOBS_PER_STEP == 0:
                    yield b""
            page.left_out = choice.left_out()
            job_lines = lines(
                choice.jobs(), self._rules().exclude, self._allowed_labels(), self._const_labels
            )
            while slice_ := "".join(islice(job_lines, LINES_PER_SLICE)):
                yield slice_.encode()
        yield ending or (_END if encode is not generate_latest and not families else b"")


def negotiate(accept: str) -> tuple[Encoder, str]:
    """Return the encoder of the format that `accept` asks for, and its media type.

    Our names need no escaping, and the schemes `dots` and `values` would change them all the same.
    A server says which scheme it used (Prometheus, "Content negotiation"): `underscores` then.
    """
    try:
        return choose_encoder(_CHANGES_NAMES.sub("", accept))
    except (ValueError, TypeError):  # a version that is no number
        return generate_latest, CONTENT_TYPE_LATEST


class _One(Collector):
    """One family, as the encoders want it."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def _selected(
    registry: CollectorRegistry, parts: Collection[Part], const_labels: Mapping[str, str]
) -> Iterator[Metric]:
    """Yield some parts of a registry, with the constant labels on every sample.

    `_created` is dropped here, for prometheus-client's own switch is global. What is not in the
    catalogue (`process_*`, `python_info`, `python_gc_*`) is about the exporter.
    """
    for metric in registry.collect():
        if _PARTS.get(metric.name, Part.EXPORTER) not in parts:
            continue
        metric.samples = [
            sample._replace(labels={**sample.labels, **const_labels})
            for sample in metric.samples
            if not sample.name.endswith("_created")
        ]
        yield metric
