"""Every code block of the README and the docs is run, in its order, against a real exporter."""

import asyncio
import os
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from conftest import KEY, program, until_ready
from promql import strangers
from support import JOB_ID
from system_ports import free_port

from exporter.alerting.promql import Promql
from exporter.alerting.recording import recordings
from exporter.alerting.thresholds import load_thresholds
from exporter.cli import main
from exporter.config import load_config
from exporter.metrics.catalogue import FAMILIES
from exporter.simulator import Script, Simulator
from exporter.simulator.ledger import Entry

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES = [*TOP, *sorted((ROOT / "docs").glob("*.md"))]
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
RECORDED = {rule.record for rule in recordings(Promql(load_thresholds()))}
DEFAULT_ADDRESS = "127.0.0.1:10977"
OTHER_ADDRESSES = ("127.0.0.1:10978", "127.0.0.1:9090", "127.0.0.1:9093")
"""The simulated API, Prometheus and Alertmanager of the tutorial."""
SERVER = re.compile(
    r"(?:removit-exporter (?:run|simulate)|prometheus(?:-alertmanager)? --config.*)$"
)
INSTALLING = re.compile(r"(?:python3 -m venv|venv/bin/pip install) ")
"""Commands that are run by `tests/test_package.py`, without a network."""
AUTHORIZED = '-H "Authorization: Bearer $(cat removit-exporter.db.token)"'
_BLOCK = re.compile(
    r"(?:<!-- (?P<note>[^>]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    note: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [
        Block(match["note"] or "", match["language"], match["text"])
        for match in _BLOCK.finditer(page.read_text())
    ]


class Reader:
    """Does what a page says, in a folder of its own; the exporter it talks to is real."""

    def __init__(self, folder: Path, address: str, upstream: str) -> None:
        self.folder = folder
        self.address = address
        self.upstream = upstream
        self.said = ""
        self.places = {name: f"127.0.0.1:{free_port()}" for name in OTHER_ADDRESSES}
        self.places[DEFAULT_ADDRESS] = address
        self.running: list[asyncio.subprocess.Process] = []

    async def read(self, block: Block) -> None:
        handlers: dict[str, Callable[[Block], Any]] = {
            "yaml": self._file,
            "sh": self._shell,
            "python": self._python,
            "text": self._text,
            "promql": self._promql,
        }
        assert block.language in handlers, f"nothing runs this block: {block}"
        await handlers[block.language](block)

    async def prepare(self) -> None:
        """Do what the README says first, as the other pages assume."""
        await self.read(Block("file: config.yaml", "yaml", "upstream: {api_key_file: api.key}\n"))
        await self.read(Block("", "sh", "removit-exporter run\n"))

    async def close(self) -> None:
        for process in self.running:
            process.terminate()
            await process.wait()
        self.running.clear()

    async def _file(self, block: Block) -> None:
        """A file of that name; a config is one that loads, Prometheus's one that promtool takes."""
        kind, _, name = block.note.partition(": ")
        assert kind == "file", f"a block of YAML that is no file: {block}"
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(self._placed(block.text))
        if name == "config.yaml":
            if not (self.folder / "api.key").exists():
                (self.folder / "api.key").write_text(KEY)
            load_config(path)
            document = yaml.safe_load(path.read_text())
            document["upstream"].setdefault("base_url", self.upstream)
            document["web"] = {"listen_address": self.address}
            document["job_files"] = ["jobs.d/*.yaml"]
            path.write_text(yaml.safe_dump(document))
        elif name.startswith("prometheus"):
            promtool = program("promtool", "prometheus")
            process = await asyncio.create_subprocess_exec(promtool, "check", "config", str(path))
            assert await process.wait() == 0
        elif name == "servicemonitor.yaml":
            [endpoint] = yaml.safe_load(block.text)["spec"]["endpoints"]
            assert endpoint["honorLabels"]
        elif name.startswith("jobs.d/"):
            reload = f"curl -X POST {AUTHORIZED} http://{DEFAULT_ADDRESS}/-/reload"
            assert await self._call(reload) == 0

    async def _shell(self, block: Block) -> None:
        for line in block.text.splitlines():
            if line.startswith("make "):
                # What it does is tested elsewhere; here, that there is such a target.
                assert await self._call(f"make -n -C {ROOT} {line.removeprefix('make ')}") == 0
            elif line.startswith("deploy/"):
                # `tests/test_image.py` runs it.
                assert os.access(ROOT / line, os.X_OK)
            elif SERVER.search(line):
                await self._run(line)
            elif line == "systemctl start removit-exporter":
                await self._run("removit-exporter run")
            elif line == "systemctl stop removit-exporter":
                await self.close()
            elif not INSTALLING.match(line):
                assert await self._call(line) == 0, (line, self.said)
                assert not self.said.startswith('{"error"') or "/failures/ack" in line, (
                    line,
                    self.said,
                )

    async def _python(self, block: Block) -> None:
        if block.note.startswith("file: "):
            (self.folder / block.note.removeprefix("file: ")).write_text(self._placed(block.text))
            return
        assert await self._exec(sys.executable, "-c", self._placed(block.text)) == 0, self.said

    async def _text(self, block: Block) -> None:
        """The output of the block before, or samples of metrics that exist."""
        if "removit_" not in block.text:
            assert self.said.strip() == block.text.strip()
            return
        for line in block.text.splitlines():
            name, _, labels = line.partition("{")
            family = FAMILIES[name]
            used = set(re.findall(r"(\w+)=", labels)) - {"upstream"}
            assert used <= set(family.labels), line

    async def _promql(self, block: Block) -> None:
        """A question for Prometheus: promtool takes it, and it names nothing that there is not."""
        assert strangers(block.text, {*RECORDED, "up"}) == set(), block
        path = self.folder / "question.yml"
        rule = {"record": "question", "expr": block.text}
        path.write_text(yaml.safe_dump({"groups": [{"name": "question", "rules": [rule]}]}))
        promtool = program("promtool", "prometheus")
        assert await self._exec(promtool, "check", "rules", str(path)) == 0, self.said

    async def _run(self, line: str) -> None:
        """Start a server that the page would start in a terminal of its own."""
        process = await asyncio.create_subprocess_shell(
            "exec " + self._placed(line),
            cwd=self.folder,
            env=environment(),
            stderr=asyncio.subprocess.DEVNULL,
        )
        self.running.append(process)
        if line.endswith("removit-exporter run"):
            await until_ready(self.address)

    def _placed(self, text: str) -> str:
        """Put the test's own addresses into a page's text."""
        simulator = self.places["127.0.0.1:10978"]
        text = re.sub(r"exporter simulate$", rf"\g<0> --listen-address {simulator}", text)
        for shown, used in self.places.items():
            text = text.replace(shown, used)
        return text

    async def _call(self, line: str) -> int:
        return await self._exec("bash", "-c", self._placed(line).replace("curl ", "curl -sS "))

    async def _exec(self, *command: str) -> int:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(),
        )
        out, _ = await asyncio.wait_for(process.communicate(), 400)
        self.said = out.decode()
        assert process.returncode is not None
        return process.returncode


def environment() -> dict[str, str]:
    """The test's environment, with the commands of its interpreter first on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"}


def assumes_an_exporter(page: Path) -> bool:
    """Whether a page talks to an exporter that it does not start itself."""
    said = [block for block in blocks(page) if block.language in ("sh", "python", "yaml")]
    uses = any(DEFAULT_ADDRESS in block.text or "config.yaml" in block.text for block in said)
    return uses and not any("removit-exporter run\n" in block.text for block in said)


@pytest.fixture
async def reader(tmp_path: Path, simulator: Simulator) -> AsyncIterator[Reader]:
    # The job of the vendor's examples, which the README's commands name.
    simulator.ledger.jobs[JOB_ID] = Entry(Script.stuck(0.0), time.monotonic())
    made = Reader(tmp_path, f"127.0.0.1:{free_port()}", simulator.url)
    yield made
    await made.close()


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL], ids=name_of)
async def test_the_examples_of_a_page_work(page: Path, reader: Reader) -> None:
    assert shutil.which("curl"), "curl is missing; on Debian: apt-get install curl"
    if assumes_an_exporter(page):
        await reader.prepare()
    for block in blocks(page):
        await reader.read(block)


@pytest.mark.slow
@pytest.mark.timeout(900)  # the alert resolves three minutes after the repair
async def test_the_tutorial_leads_to_an_alert(reader: Reader) -> None:
    for name in ("prometheus", "prometheus-alertmanager"):
        program(name, name)
    for block in blocks(TUTORIAL):
        await reader.read(block)


async def test_the_examples_of_the_runbooks_work(reader: Reader) -> None:
    await reader.prepare()
    for page in RUNBOOKS:
        for block in blocks(page):
            await reader.read(block)


@pytest.mark.parametrize("page", [*PAGES, *RUNBOOKS], ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target, _, place in re.findall(r"\]\(([^)#]*)(#([^)]*))?\)", page.read_text()):
        if not target.startswith("http"):
            found = page.parent / target if target else page
            assert found.exists(), target
            assert not place or place in places(found), (target, place)


def places(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and most renderers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_links_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = re.findall(r"\]\(([^)#]+)\)", index.read_text())
    reached = {(index.parent / target).resolve() for target in linked}
    assert {page for page in PAGES if page != index} <= reached


def test_the_readme_can_be_read_in_five_minutes() -> None:
    prose = re.sub(
        r"^```.*?^```$", "", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL
    )
    assert len(prose.split()) < 5 * 200


def test_the_reference_names_every_command_and_route() -> None:
    commands = (ROOT / "docs" / "command.md").read_text()
    for verb in main.list_commands(click.Context(main)):
        assert f"`removit-exporter {verb}`" in commands, verb
    routes = (ROOT / "docs" / "routes.md").read_text()
    paths = yaml.safe_load((ROOT / "exporter" / "web" / "openapi.yaml").read_text())["paths"]
    for path, methods in paths.items():
        for method in methods.keys() - {"parameters"}:
            assert f"| `{method.upper()} {path}` |" in routes, (method, path)
