"""Acts about the exporter itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ..simulator import Script
from .act import Act
from .scene import Scene


@asynccontextmanager
async def _gone(scene: Scene) -> AsyncIterator[None]:
    scene.muted = True
    yield
    scene.muted = False


@asynccontextmanager
async def _too_many(scene: Scene, jobs: int = 40) -> AsyncIterator[None]:
    await scene.add(*[Script.stuck(0.1)] * jobs)
    yield
    await scene.forget()


@asynccontextmanager
async def _one_at_a_time(scene: Scene) -> AsyncIterator[None]:
    with scene.simulator.faults.slow(1.0):
        async with _too_many(scene, 100):
            yield


@asynccontextmanager
async def _disk_gone(scene: Scene) -> AsyncIterator[None]:
    database, elsewhere = scene.folder / "jobs.db", scene.folder / "elsewhere.db"
    database.rename(elsewhere)
    yield
    elsewhere.rename(database)


@asynccontextmanager
async def _broken_config(scene: Scene) -> AsyncIterator[None]:
    text = scene.config_path.read_text()
    scene.config_path.write_text(text + "nonsense: true\n")
    yield
    scene.config_path.write_text(text)


@asynccontextmanager
async def _broken_job_file(scene: Scene) -> AsyncIterator[None]:
    path = scene.folder / "import.yaml"
    path.write_text("- targets: [one, two\n")
    yield
    path.unlink()


FLAT: Final = {"min_interval": "1s", "max_interval": "1s"}

EXPORTER_ACTS: Final = (
    Act(
        "exporter_down",
        "the exporter no longer answers",
        "Exporter: Exporters up",
        _gone,
    ),
    Act(
        "poll_demand",
        "forty jobs ask for forty polls a second, and ten are allowed",
        "Exporter: Demand against the limit",
        _too_many,
        {"upstream": {"rate": 10, "burst": 1}, "polling": FLAT},
    ),
    Act(
        "exporter_lagging",
        "a hundred jobs are asked about one at a time, and each answer takes a second",
        "Exporter: Most overdue poll over time",
        _one_at_a_time,
        {"upstream": {"concurrency": 1}, "polling": FLAT},
    ),
    Act(
        "store_not_writable",
        "the database's file is gone",
        "Exporter: Store writable: NO; Errors of the store",
        _disk_gone,
    ),
    Act(
        "series_left_out",
        "forty jobs are pending, and thirty may have series of their own",
        "Exporter: Jobs without series",
        _too_many,
        {"metrics": {"per_job": {"max_jobs": 30, "linger": "1s", "linger_failed": "1s"}}},
    ),
    Act(
        "config_reload_failed",
        "the config file is changed, and wrong",
        "Exporter: Config in force: NO",
        _broken_config,
    ),
    Act(
        "job_file_errors",
        "a job file is written that is no YAML",
        "Exporter: Broken job files",
        _broken_job_file,
        {"job_files": ["import.yaml"]},
    ),
)
