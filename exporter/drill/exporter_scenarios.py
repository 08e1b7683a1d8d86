"""Scenarios about the exporter itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ..simulator import Script
from .sandbox import Sandbox
from .scenario import Scenario


@asynccontextmanager
async def _gone(sandbox: Sandbox) -> AsyncIterator[None]:
    sandbox.muted = True
    yield
    sandbox.muted = False


@asynccontextmanager
async def _too_many(sandbox: Sandbox, jobs: int = 40) -> AsyncIterator[None]:
    await sandbox.add(*[Script.stuck(0.1)] * jobs)
    yield
    await sandbox.forget()


@asynccontextmanager
async def _one_at_a_time(sandbox: Sandbox) -> AsyncIterator[None]:
    with sandbox.simulator.faults.slow(1.0):
        async with _too_many(sandbox, 100):
            yield


@asynccontextmanager
async def _disk_gone(sandbox: Sandbox) -> AsyncIterator[None]:
    database, elsewhere = sandbox.folder / "jobs.db", sandbox.folder / "elsewhere.db"
    database.rename(elsewhere)
    yield
    elsewhere.rename(database)


@asynccontextmanager
async def _broken_config(sandbox: Sandbox) -> AsyncIterator[None]:
    text = sandbox.config_path.read_text()
    sandbox.config_path.write_text(text + "nonsense: true\n")
    yield
    sandbox.config_path.write_text(text)


@asynccontextmanager
async def _broken_job_file(sandbox: Sandbox) -> AsyncIterator[None]:
    path = sandbox.folder / "import.yaml"
    path.write_text("- targets: [one, two\n")
    yield
    path.unlink()


FLAT: Final = {"min_interval": "1s", "max_interval": "1s"}

EXPORTER_SCENARIOS: Final = (
    Scenario(
        "exporter_down",
        "the exporter no longer answers",
        "Exporter: Exporters up",
        _gone,
    ),
    Scenario(
        "poll_demand",
        "forty jobs need forty polls a second, and ten are allowed",
        "Exporter: Demand against the limit",
        _too_many,
        {"upstream": {"rate": 10, "burst": 1}, "polling": FLAT},
    ),
    Scenario(
        "exporter_lagging",
        "a hundred jobs are polled one at a time, and each answer takes a second",
        "Exporter: Most overdue poll over time",
        _one_at_a_time,
        {"upstream": {"concurrency": 1}, "polling": FLAT},
    ),
    Scenario(
        "store_not_writable",
        "the database file is missing",
        "Exporter: Store writable: NO; Errors of the store",
        _disk_gone,
    ),
    Scenario(
        "series_left_out",
        "forty jobs are pending, and only thirty may have per-job series",
        "Exporter: Without series",
        _too_many,
        {"metrics": {"per_job": {"max_jobs": 30, "linger": "1s", "linger_failed": "1s"}}},
    ),
    Scenario(
        "config_reload_failed",
        "the config file is changed and has an error",
        "Exporter: Config valid: NO",
        _broken_config,
    ),
    Scenario(
        "job_file_errors",
        "a job file is written that is not YAML",
        "Exporter: Bad job files",
        _broken_job_file,
        {"job_files": ["import.yaml"]},
    ),
)
