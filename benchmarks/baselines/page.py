"""prometheus-client writes the per-job series of many jobs, from labelled gauges.

    python benchmarks/baselines/page.py JOBS

Prints as JSON the CPU seconds of `generate_latest`, of gzip at level 6, and both sizes.
"""

import gzip
import json
import random
import sys
import time
import uuid

from prometheus_client import CollectorRegistry, Gauge, generate_latest


def fill(jobs: int) -> CollectorRegistry:
    registry, rng = CollectorRegistry(), random.Random(1)

    def gauge(name: str, *labels: str) -> Gauge:
        names = ("job_id", *labels, "upstream")
        return Gauge(f"removit_job_{name}", "A gauge of each job.", names, registry=registry)

    info = gauge("info", "mode", "source", "key", "shop", "size")
    state, step = gauge("state", "state"), gauge("step", "step")
    values = [gauge(name) for name in ("progress_ratio", "warnings_current")]
    values.append(gauge("ignored_variations_current"))
    times = [gauge(f"{name}_timestamp_seconds") for name in ("registered", "last_progress")]
    for at in range(jobs):
        job_id = str(uuid.UUID(int=rng.getrandbits(128)))
        info.labels(job_id, "clipping", "api", f"sku-{at}", f"shop-{at % 7}", "l", "removit").set(1)
        state.labels(job_id, "pending", "removit").set(1)
        step.labels(job_id, "pending_clipping", "removit").set(1)
        for one in values:
            one.labels(job_id, "removit").set(rng.randrange(100) / 100)
        for one in times:
            one.labels(job_id, "removit").set(1.8e9 + rng.random() * 600)
    return registry


registry = fill(int(sys.argv[1]))
started = time.process_time()
page = generate_latest(registry)
written = time.process_time()
packed = gzip.compress(page, 6)
ended = time.process_time()
print(json.dumps([written - started, ended - written, len(page), len(packed)]))
