"""One exporter: all its parts, made and connected here. It has no logic of its own."""

import contextlib
import random
from importlib.metadata import version
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from .clock import SystemClock, Timer
from .config import Config, ConfigFile, LiveConfig
from .config.reload import Reloader
from .config.secrets import Secrets
from .configured.jobs import ConfiguredJobs
from .core.health.health import Health
from .core.job import JobState
from .core.tally import LabelBounds, Tally
from .gauges import make_gauges
from .housekeeping import Chore, Housekeeping
from .logs import EventLog, make_logger
from .metrics.census import Census
from .metrics.collector import JobMetrics
from .metrics.exposition import Exposition
from .metrics.instruments import Instruments
from .metrics.per_job import PerJobSeries
from .metrics.totals import Totals
from .polling.poller import Poller
from .polling.protocols import Asker
from .polling.status_cache import StatusCache
from .polling.upstream_record import UpstreamRecord
from .registry.commit import GroupCommit
from .registry.limits import RegistryLimits
from .registry.registry import Registry
from .stop import State, Stop
from .storage.sqlite import SqliteStore
from .storage.store import SUM, Snapshot, Store
from .upstream.client import Client
from .web.context import Context
from .web.discovery import DiscoveryRoutes
from .web.events import EventRoutes
from .web.failures import FailureRoutes
from .web.jobs import JobRoutes
from .web.lifecycle import LifecycleRoutes
from .web.logins import Logins
from .web.metrics import MetricsRoute
from .web.openapi import OpenApiRoutes
from .web.page_files import PageRoutes
from .web.probe import ProbeRoutes
from .web.status import StatusRoutes
from .web.summary import SummaryRoute
from .web.upload import UploadRoutes

_VERSION: Final = version("removit-exporter")

JOB_FILE_SECONDS: Final = 2.0
"""How long the start waits for the job files. Reading them goes on after that."""


class Exporter:
    """The exporter of one upstream, from `start` to `stop`.

    `config_file` is what a reload reads. Tests that run under simulated time give their own
    `clock`, `store`, `rng` and `asker`.
    """

    def __init__(
        self,
        config: Config,
        *,
        prefix: str = "",
        clock: Timer | None = None,
        store: Store | None = None,
        rng: random.Random | None = None,
        asker: Asker | None = None,
        config_file: ConfigFile | None = None,
    ) -> None:
        self.config = LiveConfig(config)
        self._limits = _limits(config)
        self.clock = clock or SystemClock()
        self.secrets = Secrets(self.config)
        self.logins = Logins({})
        """The users who may read; the command fills it from its web config file."""
        self.metrics = CollectorRegistry()
        rules = config.metrics
        bounds = LabelBounds(rules.max_label_values, rules.known_values.model_dump())
        self.tally = Tally(bounds, rules.group_labels)
        self.instruments = Instruments(self.metrics, _VERSION, bounds.admit)
        self.log = make_logger(self.instruments.logged, config.upstream.name)
        self.store = store or SqliteStore(config.storage.path, self.log)
        self.health = Health(
            config.judgement,
            config.polling,
            steady=self.clock.monotonic(),
            heartbeat=config.upstream.heartbeat,
        )
        self.client = Client(
            lambda: self.config().upstream,
            self.secrets.key_text,
            f"removit-exporter/{_VERSION}",
            self.log,
        )
        self.registry = self._make_registry()
        self.job_metrics = JobMetrics(
            self.tally,
            Totals(),
            Census(self.tally, config.polling.stalled_after),
            self.health,
            self.clock.time,
            lambda: self.config().polling,
        )
        self.registry.listen(self.job_metrics.published)
        self.registry.listen(EventLog(self.log).published)
        self.poller = Poller(
            self.registry,
            asker or self.client,
            self.health,
            self.clock,
            rng or random.Random(),  # noqa: S311 - jitter
            self.config,
            self.instruments,
            self.log,
            self.secrets.key_version,
        )
        self.upstream_record = UpstreamRecord(
            self.poller.admission,
            self.store,
            self.clock,
            lambda: self.config().upstream.base_url,
            self.log,
        )
        self.configured = ConfiguredJobs(self.registry, self.instruments, self.log, self.config)
        self.reloader = Reloader(
            self.config,
            config_file,
            self.configured.reload,
            self.instruments,
            self.log,
            self.clock.time,
        )
        self.housekeeping = self._make_housekeeping()
        self.stopping = Stop(
            self.poller,
            self.housekeeping,
            self.registry,
            self.client,
            self.upstream_record,
            self.log,
        )
        self.context = self._make_context(prefix)
        self.metrics.register(self.job_metrics)
        make_gauges(self.instruments, self.poller, self.registry)
        self.config.subscribe(self._reconfigure)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of every subject, without prefix."""
        subjects = (
            *(MetricsRoute, JobRoutes, FailureRoutes, EventRoutes),
            *(StatusRoutes, UploadRoutes, ProbeRoutes, DiscoveryRoutes, OpenApiRoutes),
            *(LifecycleRoutes, SummaryRoute, PageRoutes),
        )
        return [route for subject in subjects for route in subject(self.context).routes()]

    async def start(self) -> None:
        """Load what is stored, register the jobs that the config names, and begin to poll.

        Raises `StoreUnusableError` when the store cannot be opened. A start that fails leaves
        nothing open.
        """
        async with contextlib.AsyncExitStack() as opened:
            damaged = await self.store.open()
            opened.push_async_callback(self.store.close)
            if damaged is not None:
                self.log.error(
                    "the database is damaged and was set aside; a new one was begun",
                    damage=damaged.damage,
                    path=damaged.path,
                    set_aside=damaged.moved_to,
                )
            snapshot = await self.registry.load()
            self._restore(snapshot)
            await opened.enter_async_context(self.client)
            self.registry.start(snapshot)
            opened.push_async_callback(self.registry.commit.close)
            await self.reloader.start()
            await self.configured.take_config()
            self.housekeeping.start()
            opened.push_async_callback(self.housekeeping.close)
            await self.housekeeping.begin("job_files", JOB_FILE_SECONDS)
            self.poller.start()
            self.stopping.state = State.RUNNING
            opened.pop_all()
        self.log.info(
            "exporter started",
            version=_VERSION,
            base_url=str(self.config().upstream.base_url),
            pending=self.registry.pending,
            database=str(self.config().storage.path.absolute()),
        )

    def begin_stop(self) -> None:
        """Let everyone go who waits for something; see `stop.py`."""
        self.stopping.begin()

    async def stop(self) -> None:
        """Store everything and close; see `stop.py`."""
        await self.stopping.finish()
        self.log.info("exporter stopped", pending=self.registry.pending)

    def _restore(self, snapshot: Snapshot) -> None:
        """Give each part what is stored of it; the jobs themselves are the registry's."""
        self.health.restore(snapshot.healthy_time)
        self.tally.bounds.restore(snapshot.admitted)
        self.job_metrics.restore(
            ((one.name, one.labels, one.bucket, one.amount) for one in snapshot.totals),
            SUM,
            snapshot.unresolved,
        )
        self.poller.load_pace(snapshot.kept)
        self.configured.restore(snapshot.kept)
        self.upstream_record.load(snapshot.kept, self.config().storage.counter_resume_within)
        for job in snapshot.jobs:
            if job.state is JobState.DONE:
                self.health.control.remember_finished(job.job_id)

    def _reconfigure(self, config: Config) -> None:
        """Tell the parts that have to do something when the config changes."""
        self._limits = _limits(config)
        values = config.metrics.known_values.model_dump()
        self.tally.bounds.change(config.metrics.max_label_values, values)
        self.job_metrics.census.set_stalled_after(config.polling.stalled_after)
        self.poller.reconfigure()

    async def _report_secrets(self) -> None:
        for problem in self.secrets.new_problems():
            self.log.error("a secret cannot be read", error=problem)

    def _make_registry(self) -> Registry:
        commit = GroupCommit(
            self.store, self.instruments, self.clock.monotonic, self.clock.sleep, self.log
        )
        return Registry(
            *(self.store, commit, self.tally),
            lambda: self._limits,
            lambda: self.poller.now(),
            self.log,
        )

    def _make_housekeeping(self) -> Housekeeping:
        return Housekeeping(
            (
                Chore(1, "evict", self.registry.upkeep.evict),
                Chore(5, "flush", self.registry.upkeep.flush),
                Chore(5, "reload", self.reloader.check, may_hang=True),
                Chore(5, "job_files", self.configured.check, may_hang=True),
                Chore(5, "ca_file", self.client.trust.check, may_hang=True),
                Chore(5, "secrets", self._report_secrets),
                Chore(5, "upstream", self.upstream_record.keep_if_changed),
                Chore(60, "prune", self.registry.upkeep.prune),
                # The store's alive stamp: counters resume after a restart if it is young.
                Chore(300, "stamp", self.registry.upkeep.stamp),
                Chore(300, "pacing", self.poller.keep_pace),
            ),
            self.clock,
            self.instruments,
            self.log,
        )

    def _make_context(self, prefix: str) -> Context:
        return Context(
            registry=self.registry,
            poller=self.poller,
            exposition=self._make_exposition(),
            instruments=self.instruments,
            job_metrics=self.job_metrics,
            config=self.config,
            client=self.client,
            status_cache=StatusCache(
                self.registry, self.poller, self.clock, self.config, self.instruments, self.log
            ),
            token=self.secrets.token,
            api_key=self.secrets.key,
            log=self.log,
            reload=self.reloader.reload,
            stop=self.stopping,
            tasks={
                "group commit": self.registry.commit,
                "poller": self.poller,
                "housekeeping": self.housekeeping,
            },
            version=_VERSION,
            started_at=self.clock.time(),
            prefix=prefix,
            logins=self.logins,
        )

    def _make_exposition(self) -> Exposition:
        config = self.config()
        const_labels = {"upstream": config.upstream.name, **config.metrics.const_labels}
        per_job = PerJobSeries(
            self.registry.jobs,
            lambda: self.config().metrics.per_job,
            lambda: self.config().registration.allowed_labels,
            const_labels,
            self.clock.time,
        )
        self.registry.listen(per_job.published)
        return Exposition(self.metrics, per_job, const_labels)


def _limits(config: Config) -> RegistryLimits:
    return RegistryLimits(
        max_pending=config.registration.max_pending,
        retention=config.storage.retention,
        history_events=config.storage.history_events,
        resume_within=config.storage.counter_resume_within,
        linger=config.metrics.per_job.linger,
        linger_failed=config.metrics.per_job.linger_failed,
        recheck_after=config.polling.recheck_after,
    )
