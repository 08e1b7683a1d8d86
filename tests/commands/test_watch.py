"""`removit-exporter watch`: shows jobs until they end, in a terminal or a pipe."""

import asyncio
import json
import os
import pty
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from called import called
from conftest import KEY, Open, Site, until
from system_ports import free_port

from exporter.client import AsyncClient, RefusedError, UnreachableError
from exporter.commands.ages import write_age
from exporter.commands.watching import from_exporter
from exporter.simulator import Script, Simulator


async def watch(*arguments: str, **options: Any) -> tuple[int, str, str]:
    """Run the verb; return its exit code and output."""
    process = await start(*arguments, **options)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def start(*arguments: str, **options: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "watch", *arguments),
        **({"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE} | options),
    )


@contextmanager
def held(simulator: Simulator, *job_ids: str) -> Iterator[None]:
    """Keep jobs pending, so that a watch that starts slowly still sees them pending."""
    with ExitStack() as stack:
        for job_id in job_ids:
            body = b'{"job_id": "%s", "state": "pending", "status": "queued"}' % job_id.encode()
            stack.enter_context(simulator.faults.override(job_id, 200, body))
        yield


async def watch_from_the_beginning(
    site: Site, simulator: Simulator, job_ids: list[str], *arguments: str
) -> tuple[int, str]:
    """Register jobs and run the verb; the jobs continue once it has shown each."""
    with held(simulator, *job_ids):
        for job_id in job_ids:
            await site.put(job_id)
        process = await start("--exporter.url", site.url, *arguments)
        output = process.stdout
        assert output is not None
        said = ""
        while not all(job_id in said for job_id in job_ids):
            line = await asyncio.wait_for(output.readline(), 60)
            assert line, said
            said += line.decode()
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, said + out.decode()


async def test_jobs_are_watched_to_their_end_a_line_for_each_change(
    site: Site, simulator: Simulator
) -> None:
    sound, warned = simulator.add(Script.sound(0.0)), simulator.add(Script.warned(0.0))
    jobs = [sound, warned]
    code, out = await watch_from_the_beginning(site, simulator, jobs, *jobs, sound)
    assert code == 0, out
    lines = out.splitlines()
    assert lines[-1] == "done 2"
    assert f"{warned}  warning of shadow_wall: params not provided" in lines
    assert lines.count(f"{warned}  ignored variation shadow_wall") == 1
    ends = [line for line in lines if "  done " in line]
    assert len(ends) == 2
    assert all("100 %" in line for line in ends)
    assert any(f"{sound}  pending" in line for line in lines)


async def test_without_ids_all_that_are_pending_are_watched(
    site: Site, simulator: Simulator
) -> None:
    jobs = [simulator.add(Script.sound(0.0)) for _ in range(3)]
    code, out = await watch_from_the_beginning(site, simulator, jobs)
    assert code == 0
    assert out.endswith("\ndone 3\n")
    await until(lambda: not site.exporter.registry.pending)
    assert await called("watch", "--exporter.url", site.url) == (0, "no job is pending\n", "")


async def test_a_failed_job_makes_watch_exit_with_1(site: Site, simulator: Simulator) -> None:
    bad, witness = simulator.add(Script.failing(0.0)), simulator.add(Script.stuck(0.0))
    for job_id in (bad, witness):
        await site.put(job_id)
    code, out, _ = await called("watch", "--exporter.url", site.url, bad)
    assert code == 1
    assert "failed" in out
    assert " s were 5xx, the last 500; meanwhile " in out  # the evidence
    hurried = ("--exporter.url", site.url, "--timeout", "3s")
    code, _, err = await called("watch", *hurried, witness)
    assert (code, err) == (1, "not all have ended in time\n")


async def test_a_timeout_before_any_answer_says_that_the_exporter_cannot_be_reached() -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    code, _, err = await called("watch", "--exporter.url", nowhere, "--timeout", "300ms")
    assert code == 3
    assert err == f"{nowhere}: no answer within 0.3 s; is the exporter running there?\n"


async def test_a_job_shows_its_key_its_age_and_what_a_suspicion_lacks(
    site: Site, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.stuck(0.0))
    ago = datetime.now(UTC) - timedelta(hours=2)
    await site.put(job_id, key="sku-7", registered_at=ago.isoformat())
    await until(lambda: site.exporter.registry.jobs[job_id].answered)
    with simulator.faults.override(job_id, 500, b'{"error": "internal"}'):
        await until(lambda: site.exporter.registry.jobs[job_id].suspicion is not None)
        patient = ("--exporter.url", site.url, "--timeout", "3s")
        _, out, _ = await called("watch", *patient, job_id)
    line = out.splitlines()[0]
    assert line.startswith(f"{job_id} (sku-7)  pending")
    assert "2:00:" in line
    assert "suspected; missing: " in line


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0:00"), (9.9, "0:09"), (61, "1:01"), (3600 * 26 + 65, "26:01:05")]
)
def test_ages_are_written_in_hours_minutes_and_seconds(seconds: float, text: str) -> None:
    assert write_age(seconds) == text


async def test_unknown_jobs_and_an_unreachable_exporter_are_errors(
    site: Site, tmp_path: Path
) -> None:
    code, _, err = await called("watch", "--exporter.url", site.url, "nobody")
    assert (code, "not known at" in err, "nobody" in err) == (1, True, True)
    nowhere = ("--exporter.url", "http://127.0.0.1:9", "--patience", "100ms")
    assert (await called("watch", "a", *nowhere))[0] == 3
    assert (await called("watch", "--upstream"))[0] == 2
    unread = ("--upstream", "--config.file", str(tmp_path / "none.yaml"))
    code, _, err = await called("watch", *unread, "a")
    assert (code, "cannot be read" in err) == (1, True)


async def test_the_upstream_can_be_watched_without_an_exporter(
    simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "api.key").write_text(KEY)
    (tmp_path / "config.yaml").write_text(
        f'upstream: {{base_url: "{simulator.url}", api_key_file: api.key, rate: 100}}\n'
        "polling: {min_interval: 50ms, max_interval: 100ms, recheck_after: []}\n"
        "jobs: [not-this-one]\n"
    )
    job_id = simulator.add(Script.warned(1.0))
    code, out, err = await watch(
        "--upstream", "--config.file", str(tmp_path / "config.yaml"), job_id, "no-uuid"
    )
    assert (code, err) == (1, "")
    assert out.splitlines()[-1] == "done 1, invalid 1"
    assert "ignored variation shadow_wall" in out
    assert [path.name for path in tmp_path.iterdir()] == ["api.key", "config.yaml"] or not (
        list(tmp_path.glob("*.db"))
    )


class Terminal:
    """The verb in a terminal, with its whole output."""

    def __init__(self) -> None:
        self.seen = b""
        self._ours, self._end = pty.openpty()

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        environ = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
        process = await start(*arguments, stdout=self._end, stderr=self._end, env=environ)
        os.close(self._end)
        return process

    async def read(self) -> bool:
        """Read more; return True once the other end is closed."""
        loop = asyncio.get_running_loop()
        try:
            piece = await loop.run_in_executor(None, os.read, self._ours, 65536)
        except OSError:
            return True
        self.seen += piece
        return not piece

    async def shows(self, text: str) -> None:
        """Read until a text appears, or to the end."""

        async def read() -> bool:
            return await self.read() or text.encode() in self.seen

        await until(read, 60)
        assert text.encode() in self.seen, self.seen

    async def ends(self) -> None:
        """Read to the end."""
        await until(self.read, 60)
        os.close(self._ours)


async def test_in_a_terminal_there_are_bars(site: Site, simulator: Simulator) -> None:
    jobs = [simulator.add(Script.warned(0.0)) for _ in range(25)]
    terminal = Terminal()
    with held(simulator, *jobs):
        for job_id in jobs:
            await site.put(job_id)
        process = await terminal.start("--exporter.url", site.url, *jobs)
        await terminal.shows("━")
    await terminal.ends()
    assert await process.wait() == 0
    text = terminal.seen.decode()
    assert "done 25" in text
    assert all(job_id in text for job_id in jobs)


STEP = "[/x] [red]no\x1b[2J"
"""A step that would be an error as rich's markup, and clear a terminal that obeyed it."""


@pytest.mark.parametrize("way", ["terminal", "pipe"])
async def test_texts_of_the_upstream_are_shown_literally(
    site: Site, simulator: Simulator, way: str
) -> None:
    job_id = simulator.add(Script.sound(0.0))
    shown = r"[/x] [red]no\x1b[2J"
    body = {"job_id": job_id, "state": "pending", "status": STEP, "warnings": {STEP: [STEP]}}
    terminal = Terminal()
    with simulator.faults.override(job_id, 200, json.dumps(body).encode()):
        await site.put(job_id)
        await until(lambda: site.exporter.registry.jobs[job_id].step)
        if way == "terminal":
            process = await terminal.start("--exporter.url", site.url, job_id)
            await terminal.shows("━")
        else:
            process = await start("--exporter.url", site.url, job_id)
            assert process.stdout is not None
            terminal.seen = await process.stdout.readline()
    if way == "terminal":
        await terminal.ends()
    else:
        terminal.seen += (await process.communicate())[0]
    assert await process.wait() == 0
    text = terminal.seen.decode()
    assert f"warning of {shown}: {shown}" in text
    assert text.count(shown) >= 3  # the step too
    assert "\x1b[2J" not in text


async def test_a_forgotten_job_ends_only_its_own_watch(site: Site, simulator: Simulator) -> None:
    stays, goes = (simulator.add(Script.sound(0.0)) for _ in range(2))
    with held(simulator, stays, goes):
        await site.put(stays)
        await site.put(goes)
        process = await start("--exporter.url", site.url)
        output = process.stdout
        assert output is not None
        said = ""

        async def says(*texts: str) -> None:
            nonlocal said
            while not all(text in said for text in texts):
                line = await asyncio.wait_for(output.readline(), 60)
                assert line, said
                said += line.decode()

        await says(stays, goes)
        async with site.client.delete(f"/api/v1/jobs/{goes}") as response:
            assert response.status == 204
        await says(f"{goes}  forgotten")
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, out.decode().splitlines()[-1]) == (1, "done 1, forgotten 1")


async def test_a_rejected_key_ends_a_watch_of_the_upstream(
    simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "api.key").write_text("another")
    (tmp_path / "config.yaml").write_text(
        f'upstream: {{base_url: "{simulator.url}", api_key_file: api.key, rate: 100}}\n'
    )
    job_id = simulator.add(Script.sound(0.0))
    code, _, err = await watch("--upstream", "--config.file", f"{tmp_path}/config.yaml", job_id)
    assert (code, err.startswith("key rejected: ")) == (1, True)
    assert len(err.splitlines()) == 1


def cut(site: Site) -> None:
    """Break every connection to a site."""
    for connection in list(site.client.server.handler.connections):
        connection.force_close()
        if connection.transport is not None:
            connection.transport.abort()


async def test_patience_starts_again_after_each_stream_that_lasted(site: Site) -> None:
    time = asyncio.get_running_loop().time

    async def lasts(seconds: float) -> None:
        end = time() + seconds
        await until(lambda: time() > end)

    async with AsyncClient(site.url, patience=1.5) as client:
        events = client.events()
        for _ in range(3):
            assert (await anext(events))["type"] == "connected"
            await lasts(2)
            cut(site)
        assert (await anext(events))["type"] == "connected"


async def test_a_lost_connection_misses_no_end(open_site: Open, simulator: Simulator) -> None:
    site = await open_site()
    job_id = simulator.add(Script.stuck(0.0))
    await site.put(job_id)
    async with AsyncClient(site.url, patience=20) as client:
        updates = from_exporter(client, [job_id])
        assert (await anext(updates)).state == "pending"
        cut(site)
        body = b'{"job_id": "%s", "state": "done", "status": "done"}' % job_id.encode()
        with simulator.faults.override(job_id, 200, body):
            async with asyncio.timeout(20):
                states = [update.state async for update in updates]
    assert states[-1] == "done"


async def test_the_client_resumes_events_where_it_was(site: Site, simulator: Simulator) -> None:
    job_id = simulator.add(Script.sound(0.3))
    await site.put(job_id)
    await site.ends(job_id, "done")
    async with AsyncClient(site.url, patience=0.5) as client:
        events = client.events(after=0, job_id=job_id)
        types = [(await anext(events))["type"] for _ in range(4)]
        assert types == ["connected", "registered", "progress", "first_answer"]
        assert [job["job_id"] async for job in client.jobs(state="done")] == [job_id]
        assert [job async for job in client.jobs(state="failed")] == []
        with pytest.raises(RefusedError) as refused:
            await anext(client.events(after=10**6))
        assert refused.value.status == 410
        site.exporter.registry.feed.close()
        with pytest.raises(UnreachableError):
            await _drain(client.events(job_id=job_id))


async def _drain(events: AsyncIterator[Any]) -> None:
    async for _ in events:
        pass
