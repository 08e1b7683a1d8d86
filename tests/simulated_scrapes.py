"""Scrapes of an exporter in simulated time, over which promtool evaluates the shipped rules."""

import asyncio
import math
import re
import subprocess
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from conftest import program
from simulated_time import pass_time

from exporter import Exporter

RULES = Path(__file__).parent.parent / "prometheus" / "rules"
RULE_FILES = [RULES / "removit-recording.yml", RULES / "removit-alerts.yml"]
READ = frozenset(re.findall(r"\bremovit_\w+", "".join(file.read_text() for file in RULE_FILES)))
"""The series that the rules read; only these are kept."""
SCRAPE, EVALUATION = 15, 30
TARGET = {"instance": "127.0.0.1:10977", "job": "removit", "upstream": "removit"}

Check = dict[str, Any]


def value(exporter: Exporter, name: str, **labels: str) -> float:
    """Return the sum of a metric's series that have these labels; 0 if it has none."""
    families = {family.name: family for family in exporter.metrics.collect()}
    return sum(
        sample.value
        for sample in families[name.removesuffix("_total")].samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


class Scrapes:
    """The values at each scrape of the series that the rules read, in promtool's notation."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter
        self._series: dict[str, dict[int, float]] = {}
        self._began = exporter.clock.time()
        self.count = 0

    @property
    def seconds(self) -> int:
        """The time of the latest scrape, from the first one on."""
        return (self.count - 1) * SCRAPE

    def scrape(self) -> None:
        """Take one more, `SCRAPE` seconds after the one before."""
        for family in self._exporter.metrics.collect():
            for name, labels, number, *_ in family.samples:
                if name in READ:
                    named = ",".join(f'{key}="{text}"' for key, text in (labels | TARGET).items())
                    # promtool's time begins at 0 with the first scrape.
                    is_time = name.endswith("_timestamp_seconds")
                    at = number - self._began if is_time else number
                    self._series.setdefault(f"{name}{{{named}}}", {})[self.count] = at
        self.count += 1

    def check(self, folder: Path, checks: Sequence[Check]) -> None:
        """Have promtool evaluate the shipped rules, and fail unless all checks hold."""
        series = [
            {"series": name, "values": " ".join(self._words(values))}
            for name, values in self._series.items()
        ]
        tests = [
            {"interval": f"{SCRAPE}s", "input_series": series, "promql_expr_test": list(checks)}
        ]
        document = {
            "rule_files": [str(file) for file in RULE_FILES],
            "evaluation_interval": f"{EVALUATION}s",
            "group_eval_order": ["removit-recording", "removit-recording-long", "removit-alerts"],
            "tests": tests,
        }
        path = folder / "recorded.yml"
        path.write_text(yaml.safe_dump(document, width=1_000_000))
        command = [program("promtool", "prometheus"), "test", "rules", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[:20_000]

    def _words(self, values: dict[int, float]) -> Iterable[str]:
        for at in range(self.count):
            ended = at not in values and at - 1 in values
            yield f"{values[at]:.9g}" if at in values else "stale" if ended else "_"


@asynccontextmanager
async def scraping(exporter: Exporter) -> AsyncIterator[Scrapes]:
    """Scrape an exporter, as a Prometheus with the shipped intervals does."""
    scrapes = Scrapes(exporter)

    async def scrape() -> None:
        while True:
            scrapes.scrape()
            await pass_time(SCRAPE)

    task = asyncio.create_task(scrape())
    try:
        yield scrapes
    finally:
        task.cancel()


def never(expression: str, begin: float, end: float) -> Check:
    """Return the check that an expression has no result at any scrape between two times."""
    found = f"count_over_time(({expression})[{end - begin:.0f}s:{SCRAPE}s])"
    return {"expr": found, "eval_time": f"{end:.0f}s", "exp_samples": []}


def always(expression: str, begin: float, end: float) -> list[Check]:
    """Return the checks that an expression has results, each minute between two times."""
    assert begin <= end, "nothing would be checked"
    found = [{"labels": "{}", "value": 1}]
    counted = f"count({expression}) > bool 0"
    return [
        {"expr": counted, "eval_time": f"{at:.0f}s", "exp_samples": found}
        for at in range(math.ceil(begin), math.floor(end) + 1, 60)
    ]


def firing(alert: str = ".+", severity: str = ".+") -> str:
    """Return the selector of the alerts that fire, of these names and severities."""
    return f'ALERTS{{alertname=~"{alert}",alertstate="firing",severity=~"{severity}"}}'
