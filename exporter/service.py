"""One exporter: every room, wired, from its start to its stop. Only this module knows them all."""

import asyncio
import contextlib
import functools
import random
from collections.abc import Callable
from importlib.metadata import version
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from .clock import Clock, SystemClock
from .config import Config, ConfigFile, LiveConfig
from .config.credentials import Secret, SecretSource
from .config.reload import Reloader
from .configured.jobs import ConfiguredJobs
from .core.health.health import Health
from .core.job import JobState, Source
from .core.published import Published
from .core.reply import Reply
from .core.tally import LabelBounds, Tally
from .housekeeping import Chore, Housekeeping
from .logs import EventLog, make_logger
from .metrics.census import Census
from .metrics.collector import JobMetrics
from .metrics.exposition import Exposition
from .metrics.instruments import Instruments
from .metrics.totals import Totals
from .polling.poller import Poller
from .polling.protocols import Asker
from .polling.status_cache import StatusCache
from .registry.commit import GroupCommit
from .registry.limits import RegistryLimits
from .registry.registry import Registry
from .registry.staging import Registration, RegistryFullError
from .storage.sqlite import SqliteStore
from .storage.store import SUM, Store, StoreError
from .upstream.client import Client
from .web.context import Context
from .web.discovery import DiscoveryRoutes
from .web.events import EventRoutes
from .web.failures import FailureRoutes
from .web.jobs import JobRoutes
from .web.lifecycle import LifecycleRoutes
from .web.metrics import MetricsRoute
from .web.openapi import OpenApiRoutes
from .web.page_files import PageRoutes
from .web.probe import ProbeRoutes
from .web.status import StatusRoutes
from .web.summary import SummaryRoute
from .web.upload import UploadRoutes

_USER_AGENT: Final = f"removit-exporter/{version('removit-exporter')}"
GIVE_UP_SECONDS: Final = 4.5
"""How long what is under way may take when the exporter stops: polls, uploads, a locked file."""
ANSWER_SECONDS: Final = 5.0
"""How long answers may take then: those of what is given up as well."""
STOP_SECONDS: Final = 7.5
"""How long a stop may take in all, and a second for what cannot be hurried; `docker stop` kills
after 10 s."""


class Exporter:
    """One upstream's exporter: its rooms, from `start` to `stop`.

    `config_file` is read again by a reload; `clock`, `store`, `rng` and `asker` stand in for the
    real ones under simulated time.
    """

    def __init__(
        self,
        config: Config,
        *,
        prefix: str = "",
        listen_host: str | None = None,
        clock: Clock | None = None,
        store: Store | None = None,
        rng: random.Random | None = None,
        asker: Asker | None = None,
        config_file: ConfigFile | None = None,
    ) -> None:
        self.config = LiveConfig(config)
        self.clock = clock or SystemClock()
        self.store = store or SqliteStore(config.storage.path)
        self.metrics = CollectorRegistry()
        rules = config.metrics
        bounds = LabelBounds(rules.max_label_values, rules.known_values.model_dump())
        self.tally = Tally(bounds, rules.group_labels)
        self.instruments = Instruments(self.metrics, version("removit-exporter"), bounds.admit)
        self.log = make_logger(self.instruments.logged)
        self._key = config.upstream.key_source()
        self._token = config.registration.token_source()
        self.secrets: set[str] = set()
        """What no log line may show: key, token and the proxy's password, also former ones."""
        self._keep_secret(config)

        self.health = Health(
            config.judgement,
            config.polling,
            steady=self.clock.monotonic(),
            heartbeat=config.upstream.heartbeat,
        )
        self.client = Client(lambda: self.config.current.upstream, self._api_key, _USER_AGENT)
        commit = GroupCommit(
            self.store, self.instruments, self.clock.monotonic, self.clock.sleep, self.log
        )
        self.registry = Registry(
            self.store, commit, self.tally, _limits(config), lambda: self.poller.now()
        )
        census = Census(self.tally, config.polling.stalled_after)
        self.job_metrics = JobMetrics(
            *(self.tally, Totals(), census, self.health, self.clock.time),
            lambda: self.config.current.polling,
        )
        self.registry.listen(self._show)
        self.registry.listen(EventLog(self.log).published)
        self.poller = Poller(
            self.registry,
            asker or self.client,
            self.health,
            self.clock,
            rng or random.Random(),  # noqa: S311 - jitter
            lambda: self.config.current,
            self.instruments,
            self.log,
            lambda: self._key.version,
        )
        exposition = Exposition(
            self.metrics,
            self.registry.jobs,
            lambda: self.config.current.metrics.per_job,
            lambda: self.config.current.registration.allowed_labels,
            {"upstream": config.upstream.name, **rules.const_labels},
            self.clock.time,
        )
        self.configured = ConfiguredJobs(
            self.registry, self.instruments, self.log, lambda: self.config.current
        )
        self.reloader = Reloader(
            self.config,
            config_file,
            self._take_configured_jobs,
            self.instruments,
            self.log,
            self.clock.time,
        )
        self.config.subscribe(self._prepare)
        self._house = self._make_housekeeping()
        self.context = self._make_context(exposition, prefix, listen_host)
        self._stops_at = 0.0
        self._giving_up: asyncio.Task[None] | None = None
        self.metrics.register(self.job_metrics)
        self._make_gauges(commit)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of every subject, without prefix."""
        subjects = (
            *(MetricsRoute, JobRoutes, FailureRoutes, EventRoutes),
            *(StatusRoutes, UploadRoutes, ProbeRoutes, DiscoveryRoutes, OpenApiRoutes),
            *(LifecycleRoutes, SummaryRoute, PageRoutes),
        )
        return [route for subject in subjects for route in subject(self.context).routes()]

    async def start(self) -> None:
        """Load what is stored, take in the config's jobs, and begin to poll.

        Raises `StoreUnusableError` when the store cannot be opened. A start that fails leaves
        nothing open.
        """
        async with contextlib.AsyncExitStack() as opened:
            await self._start(opened)
            opened.pop_all()

    async def _start(self, opened: contextlib.AsyncExitStack) -> None:
        await self.store.open()
        opened.push_async_callback(self.store.close)
        if isinstance(self.store, SqliteStore) and self.store.set_aside is not None:
            self.log.error(
                "the database is damaged and was set aside; a new one was begun",
                damage=self.store.damage,
                path=str(self.store.path),
                set_aside=str(self.store.set_aside),
            )
        snapshot = await self.registry.load()
        self.health.restore(snapshot.healthy_time)
        self.tally.bounds.restore(snapshot.admitted)
        self.job_metrics.start_at_zero()
        self.job_metrics.totals.restore(
            ((one.name, one.labels, one.bucket, one.amount) for one in snapshot.totals), SUM
        )
        for labels, keys in snapshot.unresolved:
            self.job_metrics.census.count_unresolved(labels, keys)
        for job in snapshot.jobs:
            if job.state is JobState.DONE:
                self.health.control.remember_finished(job.job_id)
        await opened.enter_async_context(self.client)
        self.registry.start(snapshot)
        opened.push_async_callback(self.registry.commit.close)
        await self.configured.start()
        self.poller.start()
        self._house.start()
        self.context.ready = True

    async def stop(self) -> None:
        """Let polls under way finish within a bound, store everything, and close."""
        self.release()
        if self._giving_up is not None:
            self._giving_up.cancel()
        time = asyncio.get_running_loop().time
        # A host may have given its own answers longer than we would.
        stops_at = max(self._stops_at, time() + STOP_SECONDS - ANSWER_SECONDS)
        self._hurry_store(stops_at - time())
        await self.poller.close((stops_at - time()) / 2)  # the other half is for the store
        await self._house.close()
        try:
            await self.registry.close()
        except StoreError as error:
            self.log.error("store not written at the end", error=str(error))
        await self.client.__aexit__(None, None, None)
        await self.store.close()

    def _broken(self) -> list[str]:
        """Which of the tasks that must go on have ended: an error of ours that a restart mends."""
        tasks = {
            "group commit": self.registry.commit.alive,
            "poller": self.poller.alive,
            "housekeeping": self._house.alive,
        }
        return [name for name, alive in tasks.items() if not alive] if self.context.ready else []

    def release(self) -> None:
        """Let go of those who wait for something: the exporter is about to stop.

        What is under way has `GIVE_UP_SECONDS` to end.
        """
        if self.context.closing.is_set():
            return
        self.context.ready = False
        self.context.closing.set()
        self._stops_at = asyncio.get_running_loop().time() + STOP_SECONDS
        self._hurry_store(GIVE_UP_SECONDS)
        self.registry.release()
        self.poller.answers.changes.notify_all()
        self._giving_up = asyncio.create_task(self._give_up(), name="giving up")

    async def _give_up(self) -> None:
        """Poll no more, and once time is up give up what is still under way."""
        time = asyncio.get_running_loop().time
        ends_at = time() + GIVE_UP_SECONDS
        await self.poller.close(GIVE_UP_SECONDS)
        await asyncio.sleep(ends_at - time())
        self.context.give_up()

    def _hurry_store(self, seconds: float) -> None:
        if isinstance(self.store, SqliteStore):
            self.store.set_deadline(seconds)

    async def _track(self, job_id: str, reply: Reply) -> None:
        """Take in a job that someone asked about and the upstream knows, with its first answer."""
        registration = Registration(
            job_id, answered=lambda job: self.poller.first_answer(job, reply)
        )
        try:
            await self.registry.register([registration], Source.STATUS)
        except RegistryFullError:
            self.instruments.refused("full")
        except StoreError as error:
            self.instruments.refused("store")
            self.log.error("store unavailable", error=str(error))

    def _api_key(self) -> str:
        key = self._current(self._key)
        return "" if key is None else key.reveal()

    def _current(self, source: SecretSource) -> Secret | None:
        secret = source.current()
        if secret is not None:
            self.secrets.add(secret.reveal())
        return secret

    def _keep_secret(self, config: Config) -> None:
        self._current(self._key)
        self._current(self._token)
        if password := config.upstream.proxy_password:
            self.secrets.add(password)

    def _show(self, published: Published) -> None:
        """Show a change in the metrics; a listener of the registry."""
        time_ = published.events[0].time if published.events else 0.0
        self.job_metrics.published(
            published.before, published.after, published.deltas, time_, published.ledger
        )

    async def _take_configured_jobs(self) -> None:
        await self.configured.take_config()
        await self.configured.check()

    def _prepare(self, config: Config) -> Callable[[], None]:
        """Return how to go by another config; what reads it by reference needs nothing here."""

        def switch() -> None:
            self.registry.reconfigure(_limits(config))
            values = config.metrics.known_values.model_dump()
            self.tally.bounds.change(config.metrics.max_label_values, values)
            self.job_metrics.census.set_stalled_after(config.polling.stalled_after)
            upstream = config.upstream
            self._key.move(upstream.api_key_file, upstream.api_key_env)
            self._token.move(config.registration.token_file)
            self._keep_secret(config)
            self.poller.reconfigure()

        return switch

    def _make_housekeeping(self) -> Housekeeping:
        return Housekeeping(
            (
                Chore(5, "flush", self.registry.flush),
                Chore(5, "reload", self.reloader.check),
                Chore(5, "job_files", self.configured.check),
                Chore(60, "prune", self.registry.prune),
                # The store's sign of life, by which counters resume after a restart.
                Chore(300, "stamp", self.registry.stamp),
            ),
            self.registry.evict,
            self.clock,
            self.instruments,
            self.log,
        )

    def _make_context(
        self, exposition: Exposition, prefix: str, listen_host: str | None
    ) -> Context:
        status_cache = StatusCache(
            self.registry,
            self.poller,
            self.clock,
            lambda: self.config.current.status,
            lambda: self.config.current.upstream.timeout,
            self._track,
        )
        return Context(
            registry=self.registry,
            poller=self.poller,
            exposition=exposition,
            instruments=self.instruments,
            job_metrics=self.job_metrics,
            config=lambda: self.config.current,
            client=self.client,
            status_cache=status_cache,
            token=lambda: self._current(self._token),
            api_key=lambda: self._current(self._key),
            log=self.log,
            reload=self.reloader.reload,
            broken=self._broken,
            version=version("removit-exporter"),
            started_at=self.clock.time(),
            prefix=prefix,
            listen_host=listen_host,
        )

    def _make_gauges(self, commit: GroupCommit) -> None:
        make, poller = self.instruments.gauge, self.poller
        make("removit_exporter_polls_in_flight", lambda: poller.in_flight)
        make("removit_exporter_poll_demand_per_second", lambda: poller.queue.demand)
        make(
            "removit_exporter_rate_limit_per_second",
            lambda: poller.bucket.rate(self.clock.monotonic()),
        )
        make(
            "removit_exporter_oldest_due_timestamp_seconds",
            lambda: poller.oldest_due() or float("nan"),
        )
        make("removit_exporter_store_writable", lambda: commit.writable)
        for state in JobState:
            self.instruments.stored_jobs.labels(state.value).set_function(
                functools.partial(self.registry.by_state.__getitem__, state)
            )


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
