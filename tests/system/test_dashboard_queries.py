"""Every query of every dashboard, put to a real Prometheus after a stream of jobs."""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from conftest import BEARER, KEY, TOKEN_FILE, until
from monitoring import FAST_SCRAPES, Prometheus, prometheus
from processes import in_background
from system_ports import free_port

from exporter.alerting.promql import Promql, for_drill
from exporter.alerting.rule_files import drill_rules
from exporter.alerting.thresholds import load_thresholds
from exporter.simulator import Kind, Script, Simulator

DASHBOARDS = Path(__file__).parent.parent.parent / "grafana" / "dashboards"
EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "monitoring.md"
JOBS = 140
FORGOTTEN = 2
NO_EXPORTER = 7
"""The number of an upstream's state on the overview when no exporter watches it."""
NO_ROW = "-2"
"""The number in a row that only says why a table has no other."""
HEATMAP = "Time to done, every job"
OF_RULES = {"Alerts", "Firing alerts", "Share that ends badly"}
"""Panels of what Prometheus's rules give, without an exporter too."""
OF_15_MINUTES = "Share failed or expired, by group"
"""This panel shows what it knows of the 15 minutes before, also after the exporter is gone."""
OVERVIEW_TILE = ("overview.json", "stat")
UPSTREAMS = "Upstreams, the worst first"
EXPORTERS = "Exporters, the gone ones first"
TABLES = (
    *(UPSTREAMS, EXPORTERS),
    *("Variations ignored or warned about", "Pending jobs that stand still"),
)
"""The tables whose columns come from several queries."""
PENDING = 3
SHOPS = ("eu", "us", "jp")
EMPTY = {
    "Errors of the store": "the store did not fail",
    "Registrations refused, by reason": "no registration was refused",
}
"""Panels that must have nothing to show after this stream, and why."""
MAY_BE_EMPTY = {"Control requests": "jobs answer all the time, so none may be needed"}


@dataclass
class Shop:
    """Uploads images and tells the exporter of the jobs, in each way there is."""

    simulator: Simulator
    url: str
    session: aiohttp.ClientSession
    keys: Counter[str] = field(default_factory=Counter)

    async def send(self, number: int, kind: Kind | None) -> None:
        script = self.simulator.draw(weights={kind.value: 1.0} if kind else None)
        await self.tell(
            f"no-uuid-{number}" if number % 20 == 0 else self.simulator.add(script), number
        )

    async def tell(self, job_id: str, number: int) -> None:
        document = {"labels": {"shop": SHOPS[number % 3]}, "key": f"sku-{number}"}
        async with self.session.put(f"{self.url}/api/v1/jobs/{job_id}", json=document) as response:
            assert response.status == 201

    async def add_endless(self, number: int) -> list[str]:
        """Jobs that stay pending for as long as anyone looks."""
        added = [self.simulator.add(Script.stuck(0.1)) for _ in range(number)]
        for at, job_id in enumerate(added):
            await self.tell(job_id, 1000 + at)
        return added

    async def forget_some(self) -> None:
        for job_id in await self.add_endless(FORGOTTEN):
            async with self.session.delete(f"{self.url}/api/v1/jobs/{job_id}") as response:
                assert response.status == 204

    async def overturn_one(self) -> None:
        """A job that is not found, is given up, and is found after all."""
        job_id = self.simulator.add(Script.sound(0.1))
        with self.simulator.faults.override(job_id, 404, b'{"error": "not_found"}'):
            await self.tell(job_id, 2000)
            await until(lambda: self.is_among(job_id, "not_found"), 60)
        await until(lambda: self.is_among(job_id, "done"), 60)

    async def is_among(self, job_id: str, state: str) -> bool:
        return any(job["job_id"] == job_id for job in await self.jobs(state))

    async def upload_through(self, number: int) -> None:
        headers = {
            "X-API-Key": KEY,
            "Removit-Exporter-Label-Shop": SHOPS[number % 3],
            "Removit-Exporter-Key": f"sku-uploaded-{number}",
        }
        document = {"file_url": "https://images.example.com/1.jpg", "mode": "clipping"}
        url = f"{self.url}/api/v1/upload"
        async with self.session.post(url, json=document, headers=headers) as response:
            job_id = (await response.json())["job_id"]
        url = f"{self.url}/api/v1/status?job_id={job_id}"
        async with self.session.get(url, headers=headers) as response:
            await response.read()

    async def jobs(self, state: str) -> list[dict[str, Any]]:
        url = f"{self.url}/api/v1/jobs?state={state}&limit=1000"
        async with self.session.get(url) as response:
            found: list[dict[str, Any]] = (await response.json())["jobs"]
            return found


@asynccontextmanager
async def exporter(folder: Path, simulator: Simulator) -> AsyncIterator[str]:
    """`removit-exporter run`, with thresholds small enough that every end comes in seconds."""
    (folder / "api.key").write_text(KEY)
    address = f"127.0.0.1:{free_port()}"
    config = {
        "upstream": {"base_url": simulator.url, "api_key_file": "api.key", "rate": 400},
        "polling": {
            "min_interval": "250ms",
            "max_interval": "1s",
            "give_up_after": "15s",
            "stalled_after": "3s",
            "overdue_samples": 10,
            "recheck_after": ["2s", "8s", "30s"],
        },
        "judgement": {
            "failed_after": "1s",
            "gateway_failed_after": "2s",
            "weak_after": "20s",
            "chance": 0.001,
            "not_found_grace": "2s",
            "lost_after": "3s",
        },
        "registration": {"token_file": str(TOKEN_FILE), "allowed_labels": ["shop"]},
        "metrics": {"group_labels": ["shop"]},
        "storage": {"path": "jobs.db"},
        "web": {"listen_address": address},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    command = (sys.executable, "-m", "exporter", "run", f"--config.file={path}")
    async with in_background(*command):
        yield f"http://{address}"


@dataclass(frozen=True)
class Seen:
    """A Prometheus that saw it all: before the first job, when it began, when jobs were pending,
    and when only endless ones were."""

    server: Prometheus
    fresh: float
    began: float
    busy: float
    ended: float
    job_id: str

    def filled(self, text: str, *, group: str = 'upstream!=""') -> str:
        """Put in what Grafana would for its variables."""
        values = {
            "job": ".+",
            "instance": ".+",
            "upstream": ".+",
            "group:raw": group,
            "job_id": self.job_id,
            "__rate_interval": "20s",
            "__interval": "1s",
            "__range": "2m",
            "__range_s": "120",
        }
        for name, value in values.items():
            text = text.replace(f"${{{name}}}", value)
            text = re.sub(rf"\${name}\b", value.replace("\\", r"\\"), text)
        assert "$" not in text.replace('"$1"', ""), text
        return text

    async def answers(self, target: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the answer to a panel's query, at the end or while jobs were pending."""
        expression = self.filled(target["expr"])
        if target["instant"]:
            for at in (self.ended, self.busy):
                if found := await self.asked("/api/v1/query", expression, time=str(at)):
                    return found
            return []
        span = {"start": str(self.began), "end": str(self.ended), "step": "1"}
        return await self.asked("/api/v1/query_range", expression, **span)

    async def asked(self, path: str, expression: str, **when: str) -> list[dict[str, Any]]:
        answer = await self.server.data(path, query=expression, **when)
        assert answer is not None, f"does not parse: {expression}"
        found: list[dict[str, Any]] = answer["result"]
        return found

    async def by(self, label: str, expression: str) -> dict[str, float]:
        """Return a panel's numbers at the end by one label, those that are not 0."""
        found = await self.asked("/api/v1/query", self.filled(expression), time=str(self.ended))
        numbers = {one["metric"].get(label, ""): float(one["value"][1]) for one in found}
        return {name: number for name, number in numbers.items() if number}


async def run(simulator: Simulator, folder: Path, url: str, server: Prometheus) -> Seen:
    began = time.time()
    async with aiohttp.ClientSession(headers=BEARER) as session:
        shop = Shop(simulator, url, session)
        await until(lambda: server.query('up{job="removit"} == 1'), 60)
        await until(lambda: server.query("upstream:removit_exporters:count"), 60)
        a_pace = 'rate(process_cpu_seconds_total{job="removit"}[4s])'
        await until(lambda: server.query(a_pace), 60)
        fresh = time.time()
        kinds = dict(enumerate(Kind))  # one of each kind, then as they are drawn
        for number in range(1, JOBS):
            await shop.send(number, kinds.get(number))
            if number % 10 == 0:
                await shop.upload_through(number)
            await asyncio.sleep(0.04)

        async def warned() -> str | None:
            jobs = await shop.jobs("done")
            return next((job["job_id"] for job in jobs if job["ignored_variations"]), None)

        async def scraped() -> Any:
            wanted = (
                f'removit_job_finished_timestamp_seconds{{job_id="{job_id}"}}',
                "sum(removit_jobs_overdue) > 0",
                "sum(removit_jobs_stalled) > 0",
            )
            return all([await server.query(one) for one in wanted])

        await shop.forget_some()
        await shop.overturn_one()
        job_id = await until(warned, 60)
        await until(scraped, 60)
        busy = time.time()
        await until(lambda: server.query("sum(removit_jobs_pending) == 0"), 90)
        await shop.add_endless(PENDING)
        await until(lambda: server.query(f"sum(removit_jobs_pending) == {PENDING}"), 60)
        ended = time.time()
    return Seen(server, fresh, began, busy, ended, job_id)


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            shown = [panel] if panel["type"] != "row" else panel.get("panels") or []
            yield from ((path.name, one) for one in shown)


def says_why(target: dict[str, Any]) -> bool:
    """Whether a query is that of a line which says why a graph has no other (`panels.Quiet`)."""
    return target.get("legendFormat") == "{{text}}"


def expression(title: str, of: str = "overview.json") -> str:
    [panel] = [panel for name, panel in panels() if panel["title"] == title and name == of]
    text: str = panel["targets"][0]["expr"]
    return text


async def check_every_panel(seen: Seen) -> None:
    wrong = []
    for name, panel in panels():
        for target in panel["targets"]:
            if says_why(target):
                continue
            found = await seen.answers(target)
            if panel["type"] == "table":
                found = [one for one in found if one["value"][1] != NO_ROW]
            as_expected = bool(found) is not (panel["title"] in EMPTY)
            if not as_expected and panel["title"] not in MAY_BE_EMPTY:
                wrong.append((name, panel["title"], target["expr"]))
            labels = {label for series in found for label in series["metric"]}
            legend = set(re.findall(r"{{(\w+)}}", target.get("legendFormat") or ""))
            assert not found or legend <= labels, (panel["title"], legend, labels)
    assert wrong == []


async def check_one_group(seen: Seen) -> None:
    """`${group}` is a matcher that the variable's own query gives."""
    question = json.loads((DASHBOARDS / "overview.json").read_text())["templating"]["list"][4]
    text = question["query"]["query"].removeprefix("query_result(").removesuffix(")")
    found = await seen.asked("/api/v1/query", seen.filled(text), time=str(seen.busy))
    assert {tuple(one["metric"].items()) for one in found} == {(("shop", shop),) for shop in SHOPS}
    every = await seen.by(
        "", seen.filled(expression("Ended, in all")).replace("sum by (state)", "sum")
    )
    parts = 0.0
    for shop in SHOPS:
        one = seen.filled(expression("Ended, in all"), group=f'shop="{shop}"')
        parts += (await seen.by("", one.replace("sum by (state)", "sum")))[""]
    assert every == {"": parts}


async def check_the_numbers(seen: Seen, simulator: Simulator) -> None:
    """Ten panels by name, against what the simulator knows to be true."""
    truth = simulator.ledger.totals()
    modes = Counter(
        entry.script.mode
        for entry in simulator.ledger.jobs.values()
        if entry.script.kind is Kind.RESULTLESS
    )
    uploads = simulator.ledger.requests["POST", "/api/v1/upload", 200]
    ended = Counter(truth["finished"])
    ended["expired"] -= PENDING + FORGOTTEN  # they would have been
    badly = ended.total() - ended["done"]
    ever_ended = ended + Counter(not_found=1)  # and was overturned
    assert await seen.by("source", expression("Registered, in all")) == {
        "api": truth["registered"] - uploads,
        "upload": uploads,
    }
    assert await seen.by("state", expression("Ended, in all")) == ever_ended
    stored = ended + Counter(pending=PENDING)
    assert await seen.by("state", expression("Jobs in the store", "exporter.json")) == stored
    ignored = await seen.by("variation", expression("Ignored variations, in all"))
    assert ignored == truth["ignored_variations"]
    assert await seen.by("variation", expression("Warnings, in all")) == truth["warnings"]
    assert await seen.by("mode", expression("Done without result, in all")) == modes
    overturned = await seen.by("from", expression("Verdicts overturned, in all"))
    assert overturned == {"not_found": 1}
    forgotten = await seen.by("reason", expression("Forgotten while pending, in all"))
    assert forgotten == {"deleted": FORGOTTEN}
    assert await seen.by("", expression("Pending")) == {"": PENDING}
    causes = f"sum by (cause) ({expression('To send again, by cause')})"
    lost = await seen.by("cause", causes)
    assert lost["ended badly, unresolved"] == badly
    assert await seen.by("", expression("To send again")) == {"": sum(lost.values())}


async def empty_panels(seen: Seen, at: float) -> set[str]:
    """The panels of the overview and of the exporter's dashboard that show nothing at a time."""
    empty = set()
    for name, panel in panels():
        if name != "job.json":
            texts = [seen.filled(target["expr"]) for target in panel["targets"]]
            found = [await seen.asked("/api/v1/query", text, time=str(at)) for text in texts]
            if not any(found):
                empty.add(f"{name}: {panel['title']}")
    return empty


async def check_no_panel_is_empty_while_an_exporter_reports(seen: Seen) -> None:
    """Without a job, a panel says that nothing happened. Only an empty one knows nothing."""
    for at in (seen.fresh, seen.busy, seen.ended):
        assert await empty_panels(seen, at) <= {f"overview.json: {HEATMAP}"}


async def check_every_graph_is_empty_without_an_exporter(seen: Seen) -> None:
    """Those of the overview, except what Prometheus's rules give."""
    graphs = {
        f"overview.json: {panel['title']}"
        for name, panel in panels()
        if name == "overview.json" and panel["title"] not in {*OF_RULES, OF_15_MINUTES, UPSTREAMS}
    }

    deadline = time.monotonic() + 60  # a pace looks some seconds back
    while full := graphs - await empty_panels(seen, time.time()):
        assert time.monotonic() < deadline, full


async def check_an_outage_names_its_error(seen: Seen, simulator: Simulator) -> None:
    [panel] = [one for _, one in panels() if one["title"] == UPSTREAMS]
    [text] = [seen.filled(one["expr"]) for one in panel["targets"] if '"why"' in one["expr"]]

    async def reason() -> str:
        [one] = await seen.asked("/api/v1/query", text, time=str(time.time()))
        return str(one["metric"]["why"])

    assert await reason() == "it answers"
    with simulator.faults.outage():
        down = 'removit_upstream_state{state="down"} == 1'
        await until(lambda: seen.server.query(down), 60)
        assert await reason() == "503 server_error"


async def check_foreign_targets_are_not_shown(seen: Seen) -> None:
    """All jobs and instances are chosen, and Prometheus scrapes something else as well."""
    assert len(await seen.asked("/api/v1/query", "up == 1", time=str(seen.ended))) == 2
    [up] = (await seen.by("instance", expression(EXPORTERS, "exporter.json"))).values()
    assert up == 1
    found = await seen.by("instance", expression("Series", "exporter.json"))
    assert len(found) == 1


async def check_the_exporters_labels_are_kept(seen: Seen) -> None:
    """The target has a label `endpoint` of its own, as the Prometheus Operator gives it one."""
    found = await seen.by("endpoint", "sum by (endpoint) (removit_upstream_requests_total)")
    assert found.keys() == {"status", "upload"}


async def check_stuck_jobs_of_one_group(seen: Seen) -> None:
    [panel] = [one for _, one in panels() if one["title"] == "Pending jobs that stand still"]
    for target in panel["targets"]:
        found = Counter[str]()
        for shop in SHOPS:
            text = seen.filled(target["expr"], group=f'shop="{shop}"')
            of_shop = f'removit_job_info{{shop="{shop}"}}'
            jobs = await seen.asked("/api/v1/query", of_shop, time=str(seen.ended))
            ids = {one["metric"]["job_id"] for one in jobs}
            stuck = await seen.asked("/api/v1/query", text, time=str(seen.ended))
            found[shop] = sum(one["metric"]["job_id"] in ids for one in stuck)
            assert found[shop] == len(stuck) > 0
        every = await seen.asked("/api/v1/query", seen.filled(target["expr"]), time=str(seen.ended))
        assert found.total() == len(every) == PENDING


async def check_no_column_of_a_table_vanishes(seen: Seen, at: float, *titles: str) -> None:
    """Grafana has no column for a query without any value, and moves those after it."""
    for _, panel in panels():
        if panel["type"] == "table" and panel["title"] in titles:
            texts = [seen.filled(target["expr"]) for target in panel["targets"]]
            found = [await seen.asked("/api/v1/query", text, time=str(at)) for text in texts]
            assert len(found) > 1
            assert {len(rows) for rows in found} == {len(found[0])}, panel["title"]
            assert found[0], panel["title"]


async def check_an_unknown_cell_has_its_column(seen: Seen) -> None:
    """Before the first answer, some metrics of an upstream do not exist."""
    [panel] = [one for _, one in panels() if one["title"] == UPSTREAMS]
    for name in ("last_success", "jobs_pending", "oldest_pending"):
        [text] = [
            seen.filled(one["expr"]) for one in panel["targets"] if f"removit_{name}" in one["expr"]
        ]
        text = text.replace(f"removit_{name}", "removit_no_such")
        assert len(await seen.asked("/api/v1/query", text, time=str(seen.ended))) == 1, name


async def check_annotations(seen: Seen) -> None:
    found = json.loads((DASHBOARDS / "overview.json").read_text())["annotations"]["list"]
    exprs = {one["name"]: seen.filled(one["expr"]) for one in found}
    span = {"start": str(seen.began), "end": str(seen.ended), "step": "1"}
    assert await seen.asked("/api/v1/query_range", exprs["Outages"], **span) == []
    [series] = await seen.asked("/api/v1/query_range", exprs["Config reloads"], **span)
    assert abs(float(series["values"][0][1]) / 1000 - seen.began) < 60
    # Jobs were done without a result, which is an alert; each is marked where it begins to fire.
    fired = await seen.asked("/api/v1/query_range", exprs["Firing alerts"], **span)
    assert "RemovitDoneWithoutResult" in {one["metric"]["alertname"] for one in fired}
    [outages] = json.loads((DASHBOARDS / "job.json").read_text())["annotations"]["list"]
    assert await seen.asked("/api/v1/query_range", seen.filled(outages["expr"]), **span) == []


async def check_a_tile_tells_nothing_from_unknown(seen: Seen) -> None:
    """Before the first scrape nothing is known; with an exporter and no job it is -1, "none"."""
    for title in ("Oldest", "Uploads failed", "Credits"):
        text = seen.filled(expression(title))
        assert await seen.asked("/api/v1/query", text, time=str(seen.began - 600)) == [], title
    oldest = seen.filled(expression("Oldest"))
    no_job = oldest.replace("removit_oldest_pending", "removit_no_such")
    [one] = await seen.asked("/api/v1/query", no_job, time=str(seen.ended))
    assert float(one["value"][1]) == -1
    enough = seen.filled(expression("Credits"))
    [one] = await seen.asked("/api/v1/query", enough, time=str(seen.ended))
    assert float(one["value"][1]) == 0


async def check_what_is_shown_after_the_exporter_is_gone(seen: Seen) -> None:
    """All series have ended. No tile of the overview knows anything; the job's tiles still do."""

    async def asked_now(title: str, of: str) -> list[dict[str, Any]]:
        text = seen.filled(expression(title, of))
        return await seen.asked("/api/v1/query", text, time=str(time.time()))

    [state] = await asked_now(UPSTREAMS, "overview.json")
    assert float(state["value"][1]) == NO_EXPORTER
    await check_no_column_of_a_table_vanishes(seen, time.time(), UPSTREAMS, EXPORTERS)
    tiles = [one["title"] for name, one in panels() if (name, one["type"]) == OVERVIEW_TILE]
    assert len(tiles) == 8
    for title in tiles:
        assert title == "Alerts" or await asked_now(title, "overview.json") == [], title
    [own_faults] = [await asked_now("Own faults", "exporter.json")]
    assert own_faults == []
    for title in ("State", "Step"):
        [one] = await asked_now(title, "job.json")
        assert one["metric"][title.lower()] == "done"
    for title in ("Took", "Usual at most", "Took, of usual", "Registered", "Ended"):
        assert await asked_now(title, "job.json"), title


@asynccontextmanager
async def foreign_target() -> AsyncIterator[str]:
    """Something else that Prometheus scrapes; yields its address."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="something_total 5\nprocess_cpu_seconds_total 5\n")

    app = web.Application()
    app.router.add_get("/metrics", page)
    async with TestServer(app) as server:
        yield f"127.0.0.1:{server.port}"


def example_config(address: str, foreign: str, rules: Path) -> dict[str, Any]:
    """The docs' config for Prometheus, with more labels and targets, as operators add them."""
    [text] = re.findall(
        r"<!-- file: prometheus\.yml -->\n```yaml\n(.*?)```", EXAMPLE.read_text(), re.DOTALL
    )
    config: dict[str, Any] = yaml.safe_load(text)
    [scrape] = config["scrape_configs"]
    labels = {"endpoint": "http", "namespace": "prod", "pod": "removit-0"}
    scrape["static_configs"] = [{"targets": [address], "labels": labels}]
    other = {"job_name": "other", "static_configs": [{"targets": [foreign]}]}
    return {
        "global": FAST_SCRAPES,
        "rule_files": [str(rules)],
        "scrape_configs": [scrape, other],
    }


@pytest.mark.slow
async def test_prometheus_answers_every_panel_and_counts_what_happened(
    tmp_path: Path,
) -> None:
    (tmp_path / "rules.yml").write_text(drill_rules(Promql(load_thresholds(), for_drill)))
    async with (
        Simulator(api_key=KEY, seed=5, speed=15.0) as simulator,
        foreign_target() as foreign,
        AsyncExitStack() as running,
        AsyncExitStack() as stack,
    ):
        url = await running.enter_async_context(exporter(tmp_path, simulator))
        address = url.removeprefix("http://")
        config = example_config(address, foreign, tmp_path / "rules.yml")
        server = await stack.enter_async_context(prometheus(tmp_path, config))
        seen = await run(simulator, tmp_path, url, server)
        await check_every_panel(seen)
        await check_one_group(seen)
        await check_the_numbers(seen, simulator)
        await check_foreign_targets_are_not_shown(seen)
        await check_the_exporters_labels_are_kept(seen)
        await check_stuck_jobs_of_one_group(seen)
        await check_no_column_of_a_table_vanishes(seen, seen.ended, *TABLES)
        await check_an_unknown_cell_has_its_column(seen)
        await check_annotations(seen)
        await check_a_tile_tells_nothing_from_unknown(seen)
        await check_no_panel_is_empty_while_an_exporter_reports(seen)
        await check_an_outage_names_its_error(seen, simulator)
        await running.aclose()
        await until(lambda: server.query('up{job="removit"} == 0'), 60)
        await check_what_is_shown_after_the_exporter_is_gone(seen)
        await check_every_graph_is_empty_without_an_exporter(seen)
