"""Renders the page of metrics in slices.

A scrape passes through these steps: `web/metrics.py` reads the request and lets those that scrape
at the same time share one rendering (`rendering.py`); a `Page` encodes the families of the
registry, and adds the slices of the per-job series, which are kept between scrapes (`per_job.py`);
`web/metrics.py` takes the slices as they are or deflated (`slices.py`) and writes them.

prometheus-client chooses the format by `Accept` and writes all families except the per-job ones.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, choose_encoder, generate_latest
from prometheus_client.registry import Collector

from .catalogue import FAMILIES, Part
from .per_job import PerJobSeries
from .slices import Slice

BYTES_PER_SLICE: Final = 64 * 1024
"""The least size of a slice of families: small ones are deflated less well."""
SLICES_PER_STEP: Final = 32
"""How many slices of jobs are taken at once: to deflate them takes one or two milliseconds."""
_CHANGES_NAMES: Final = re.compile(r";\s*escaping=(dots|values)")
_PARTS: Final = {family.base: family.part for family in FAMILIES.values()}

Encoder = Callable[[Collector], bytes]
"""Writes the families of a collector, and the end of the page if the format has one (`# EOF`)."""


class Page:
    """A page of metrics. Iterate over it once to get its slices, some at a time.

    No slices mean only that some work was done and other tasks may run. `left_out` counts the jobs
    without per-job series. It is known after the last slice, and stays None on a page without
    per-job series.
    """

    def __init__(
        self, encode: Encoder, families: Collection[Metric], per_job: PerJobSeries | None
    ) -> None:
        self.left_out: int | None = None
        self._encode = encode
        self._families = families
        self._per_job = per_job

    def __iter__(self) -> Iterator[Sequence[Slice]]:
        end = self._encode(_Families())
        text = bytearray()
        for family in self._families:
            text += self._encode(_Families(family)).removesuffix(end)
            if len(text) < BYTES_PER_SLICE:
                yield ()
            else:
                yield [Slice(bytes(text))]
                text.clear()
        yield [Slice(bytes(text))]
        if self._per_job is not None:
            yield from self._of_jobs(self._per_job)
        yield [Slice(end)]

    def read(self) -> bytes:
        """Return the whole page at once."""
        return b"".join(one.plain for slices in self for one in slices)

    def _of_jobs(self, per_job: PerJobSeries) -> Iterator[Sequence[Slice]]:
        for _ in per_job.render():
            yield ()
        slices, self.left_out = per_job.slices()
        while some := list(islice(slices, SLICES_PER_STEP)):
            yield some


class Exposition:
    """Makes pages from the registry and the per-job series."""

    def __init__(
        self,
        registry: CollectorRegistry,
        per_job: PerJobSeries,
        const_labels: Mapping[str, str],
    ) -> None:
        self._registry = registry
        self._per_job = per_job
        self._const_labels = const_labels

    def page(self, encode: Encoder, parts: Collection[Part] = tuple(Part)) -> Page:
        """Return the page, or some parts of it, with the values of this moment.

        `encode` writes its format, see `negotiate`.
        """
        families = list(_selected(self._registry, parts, self._const_labels))
        with_jobs = Part.JOBS in parts and self._per_job.enabled
        return Page(encode, families, self._per_job if with_jobs else None)


def negotiate(accept: str) -> tuple[Encoder, str]:
    """Return the encoder of the format that an `Accept` header asks for, and its media type.

    Our names need no escaping, but the schemes `dots` and `values` would change them anyway, so
    these are answered with `underscores` (Prometheus, "Content negotiation").
    """
    try:
        return choose_encoder(",".join(_admitted(_CHANGES_NAMES.sub("", accept))))
    except (ValueError, TypeError):  # a version that is not a number
        return generate_latest, CONTENT_TYPE_LATEST


def _admitted(accept: str) -> Iterator[str]:
    """Yield the offers of an `Accept` header that can be answered as they ask.

    `choose_encoder` reads neither weights (RFC 9110, 12.4.2) nor whether it knows a version: an
    offer of weight 0 or of an unknown version of OpenMetrics is left out, and OpenMetrics as a
    whole where plain text is preferred.
    """
    offers = [_Offer.read(text) for text in accept.split(",") if text.strip()]
    text = max((one.weight for one in offers if one.media_type == _TEXT), default=0.0)
    for offer in offers:
        known = offer.media_type != _OPENMETRICS or (
            offer.version in _OPENMETRICS_VERSIONS and offer.weight >= text
        )
        if offer.weight > 0 and known:
            yield offer.text


@dataclass(frozen=True, slots=True)
class _Offer:
    """One media type of an `Accept` header; `version` is None where it names none."""

    text: str
    media_type: str
    weight: float
    version: str | None

    @classmethod
    def read(cls, text: str) -> Self:
        media_type, *parameters = (part.strip() for part in text.split(";"))
        named = dict(part.split("=", 1) for part in parameters if "=" in part)
        try:
            weight = float(named.get("q", "1"))
        except ValueError:
            weight = 1.0
        return cls(text, media_type.casefold(), weight, named.get("version"))


_TEXT: Final = "text/plain"
_OPENMETRICS: Final = "application/openmetrics-text"
_OPENMETRICS_VERSIONS: Final = frozenset({None, "1.0.0"})


class _Families(Collector):
    """A collector of given families, because encoders take collectors."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _selected(
    registry: CollectorRegistry, parts: Collection[Part], const_labels: Mapping[str, str]
) -> Iterator[Metric]:
    """Yield the families of some parts, with the constant labels on every sample.

    Samples `_created` are dropped here, because prometheus-client's own switch is global. Families
    outside the catalogue (`process_*`, `python_info`, `python_gc_*`) belong to the exporter's part.
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
