"""The exporter's gauges that are read from its parts at each scrape."""

import functools

from .core.job import JobState
from .metrics.instruments import Instruments
from .polling.poller import Poller
from .registry.registry import Registry


def make_gauges(instruments: Instruments, poller: Poller, registry: Registry) -> None:
    """Make the gauges of polls, the rate limit, the store and the stored jobs."""
    make = instruments.gauge
    make("removit_exporter_polls_in_flight", lambda: poller.in_flight)
    make("removit_exporter_poll_demand_per_second", lambda: poller.schedule.demand)
    make(
        "removit_exporter_rate_limit_per_second",
        lambda: poller.admission.bucket.rate(poller.now().steady),
    )
    make(
        "removit_exporter_oldest_due_timestamp_seconds",
        lambda: poller.schedule.oldest_due() or float("nan"),
    )
    make("removit_exporter_store_writable", lambda: registry.commit.writable)
    for state in JobState:
        instruments.stored_jobs.labels(state.value).set_function(
            functools.partial(registry.by_state.__getitem__, state)
        )
