"""The page of metrics, behind one boundary: what is asked for in, slices of bytes out.

prometheus-client chooses the format by `Accept` and writes all families but the per-job ones;
those are put in before the end. Callers see slices only, so that lines can later be kept from
scrape to scrape without their noticing.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, choose_encoder, generate_latest
from prometheus_client.registry import Collector

from ..core.job import Job
from .catalogue import FAMILIES, Part
from .job_series import PerJobRules, choose, lines

LINES_PER_SLICE: Final = 1000
_END: Final = b"# EOF\n"
_PARTS: Final = {family.base: family.part for family in FAMILIES.values()}


@dataclass(frozen=True, slots=True)
class Page:
    """What is sent: the media type, the slices of the body, and the jobs without series."""

    content_type: str
    slices: Iterable[bytes]
    left_out: int


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

    def page(self, accept: str, parts: Collection[Part] = tuple(Part)) -> Page:
        """Return the page in the format that `accept` asks for, or only some parts of it."""
        try:
            encode, content_type = choose_encoder(accept)
        except (ValueError, TypeError):  # a version that is no number
            encode, content_type = generate_latest, CONTENT_TYPE_LATEST
        body = encode(_Selection(self._registry, parts, self._const_labels))
        ending = _END if body.endswith(_END) else b""
        shown = choose(self._jobs.values(), self._rules(), self._time())
        job_lines = lines(
            shown.jobs, self._rules().exclude, self._allowed_labels(), self._const_labels
        )
        if Part.JOBS not in parts or not self._rules().enabled:
            job_lines = iter(())
        slices = _slices(body[: len(body) - len(ending)], job_lines, ending)
        return Page(content_type, slices, shown.left_out)


def _slices(body: bytes, job_lines: Iterator[str], ending: bytes) -> Iterator[bytes]:
    yield body
    while slice_ := "".join(islice(job_lines, LINES_PER_SLICE)):
        yield slice_.encode()
    if ending:
        yield ending


class _Selection(Collector):
    """Some parts of a registry, with the constant labels on every sample.

    `_created` is dropped here, for prometheus-client's own switch is global. What is not in the
    catalogue (`process_*`, `python_info`) is about the exporter.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        parts: Collection[Part],
        const_labels: Mapping[str, str],
    ) -> None:
        self._registry = registry
        self._parts = parts
        self._const_labels = const_labels

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            if _PARTS.get(metric.name, Part.EXPORTER) not in self._parts:
                continue
            metric.samples = [
                sample._replace(labels={**sample.labels, **self._const_labels})
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ]
            yield metric
