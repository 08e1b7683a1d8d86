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

import aiohttp
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
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
RECORDED = {rule.record for rule in recordings(Promql(load_thresholds()))}
DEFAULT_ADDRESS = "127.0.0.1:10977"
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

    async def close(self) -> None:
        for process in self.running:
            process.terminate()
            await process.wait()

    async def _file(self, block: Block) -> None:
        """A file of that name; a config is one that loads, Prometheus's one that promtool takes."""
        kind, _, name = block.note.partition(": ")
        assert kind == "file", f"a block of YAML that is no file: {block}"
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text)
        if name == "config.yaml":
            (self.folder / "api.key").write_text(KEY)
            load_config(path)
            document = yaml.safe_load(block.text)
            document["upstream"]["base_url"] = self.upstream
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
            reload = f"curl -X POST {AUTHORIZED} http://{self.address}/-/reload"
            assert await self._call(reload) == 0

    async def _shell(self, block: Block) -> None:
        for line in block.text.splitlines():
            if line.startswith("make "):
                # What it does is tested elsewhere; here, that there is such a target.
                assert await self._call(f"make -n -C {ROOT} {line.removeprefix('make ')}") == 0
            elif line.endswith("removit-exporter run"):
                await self._run(line)
            else:
                assert await self._call(line) == 0, (line, self.said)
                assert '"error"' not in self.said or "/failures/ack" in line, (line, self.said)

    async def _python(self, block: Block) -> None:
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
        process = await asyncio.create_subprocess_shell(
            "exec " + self._placed(line), cwd=self.folder, stderr=asyncio.subprocess.DEVNULL
        )
        self.running.append(process)
        async with aiohttp.ClientSession() as session:
            await until_ready(session, self.address)

    def _placed(self, text: str) -> str:
        """Put in the test's own address and interpreter."""
        text = text.replace(".venv/bin/removit-exporter", f"{sys.executable} -m exporter")
        for verb in ("register", "watch"):
            url = f"--exporter.url http://{self.address}"
            text = text.replace(f"-m exporter {verb}", f"-m exporter {verb} {url}")
        return text.replace(DEFAULT_ADDRESS, self.address)

    async def _call(self, line: str) -> int:
        return await self._exec("bash", "-c", self._placed(line).replace("curl ", "curl -sS "))

    async def _exec(self, *command: str) -> int:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        )
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        self.said = out.decode()
        assert process.returncode is not None
        return process.returncode


@pytest.fixture
async def reader(tmp_path: Path, simulator: Simulator) -> AsyncIterator[Reader]:
    # The job of the vendor's examples, which the README's commands name.
    simulator.ledger.jobs[JOB_ID] = Entry(Script.stuck(0.0), time.monotonic())
    made = Reader(tmp_path, f"127.0.0.1:{free_port()}", simulator.url)
    yield made
    await made.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_the_examples_of_a_page_work(page: Path, reader: Reader) -> None:
    assert shutil.which("curl"), "curl is missing; on Debian: apt-get install curl"
    for block in blocks(page):
        await reader.read(block)


async def test_the_examples_of_the_runbooks_work(reader: Reader) -> None:
    await reader.read(Block("file: config.yaml", "yaml", "upstream: {api_key_file: api.key}\n"))
    await reader.read(Block("", "sh", ".venv/bin/removit-exporter run\n"))
    for page in RUNBOOKS:
        for block in blocks(page):
            await reader.read(block)


@pytest.mark.parametrize(
    "page", [*PAGES, *RUNBOOKS, ROOT / "CHANGELOG.md"], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_readme_names_every_verb_and_route() -> None:
    text = (ROOT / "README.md").read_text()
    for verb in main.commands:
        assert f"removit-exporter {verb}" in text, verb
    for route in yaml.safe_load((ROOT / "exporter" / "web" / "openapi.yaml").read_text())["paths"]:
        named = rf"(?:[`0-9]|(?:GET|POST|PUT|DELETE) ){re.escape(route)}(?=[`?'\s])"
        assert re.search(named, text), route
