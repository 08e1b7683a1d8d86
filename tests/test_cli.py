"""The command as people run it: real processes, their output and exit codes."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from conftest import BEARER, KEY, TOKEN, until
from databases import opened, put
from system_ports import free_port

from exporter.cli import main
from exporter.commands.demo_comparison import Row, compare, read_totals
from exporter.simulator import Script, Simulator

COMMAND = [sys.executable, "-m", "exporter"]


class Process:
    """A running command and its output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out, self.err = "", ""
        self._readers = [
            asyncio.create_task(self._read(process.stdout, "out")),
            asyncio.create_task(self._read(process.stderr, "err")),
        ]

    async def _read(self, stream: asyncio.StreamReader | None, name: str) -> None:
        assert stream is not None
        while chunk := await stream.read(65536):
            setattr(self, name, getattr(self, name) + chunk.decode())

    async def ends(self, seconds: float = 60) -> int:
        code = await asyncio.wait_for(self.process.wait(), seconds)
        await asyncio.gather(*self._readers)
        return code

    async def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.ends()


@pytest.fixture
async def command(tmp_path: Path) -> AsyncIterator[Any]:
    started: list[Process] = []

    async def start(*arguments: str, **environ: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            cwd=tmp_path,
            env={**os.environ, **environ},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(Process(process))
        return started[-1]

    yield start
    for process in started:
        await process.stop(signal.SIGKILL)


@pytest.fixture
def write_config(tmp_path: Path, simulator: Simulator) -> Any:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "api.key").write_text(KEY)

    def write(port: int = 0, more: str = "") -> None:
        (tmp_path / "config.yaml").write_text(
            f"upstream: {{base_url: '{simulator.url}', api_key_file: api.key}}\n"
            "polling: {min_interval: 50ms, max_interval: 200ms}\n"
            "registration: {token_file: token}\n"
            f"web: {{listen_address: '127.0.0.1:{port}'}}\n"
            f"log: {{level: debug}}\n{more}"
        )

    return write


async def url_of(process: Process) -> str:
    def listening() -> str | None:
        for line in process.err.splitlines():
            entry = json.loads(line)
            if entry["event"] == "listening":
                return str(entry["url"])
        assert process.process.returncode is None, process.err
        return None

    return str(await until(listening))


async def test_run_serves_polls_and_logs_json_without_the_key(
    command: Any, write_config: Any, simulator: Simulator
) -> None:
    write_config()
    process = await command("run")
    url = await url_of(process)
    pages = []
    async with aiohttp.ClientSession(headers=BEARER) as session:
        for script in (Script.sound(0.2), Script.warned(0.2)):
            async with session.put(f"{url}/api/v1/jobs/{simulator.add(script)}") as response:
                pages.append(await response.text())
        with simulator.faults.revoked_key():
            await until(lambda: "key rejected" in process.err)

        async def seen() -> str | None:
            async with session.get(f"{url}/metrics") as response:
                page = await response.text()
                return page if "process_cpu_seconds_total" in page else None

        pages.append(await until(seen))
        async with session.get(f"{url}/api/v1/jobs") as response:
            pages.append(await response.text())
    assert await process.stop() == 0
    lines = [json.loads(line) for line in process.err.splitlines()]
    assert {"listening", "job registered", "key rejected"} <= {line["event"] for line in lines}
    [started] = [line for line in lines if line["event"] == "exporter started"]
    assert Path(started["database"]).is_absolute()
    assert KEY not in process.err + process.out + "".join(pages)
    assert process.out == ""


async def test_the_key_is_never_stored(
    command: Any, write_config: Any, simulator: Simulator, tmp_path: Path
) -> None:
    write_config()
    process = await command("run")
    url = await url_of(process)
    async with aiohttp.ClientSession(headers=BEARER) as session:
        await session.put(f"{url}/api/v1/jobs/{simulator.add(Script.sound(0.1))}")
    await until(lambda: "job finished" in process.err)
    await process.stop()
    for path in tmp_path.glob("removit-exporter.db*"):
        assert KEY.encode() not in path.read_bytes()
    assert (tmp_path / "removit-exporter.db").exists()


async def test_a_restart_continues_every_unfinished_job_where_it_was(
    command: Any, write_config: Any, simulator: Simulator
) -> None:
    write_config(more="jobs: []\n")
    process = await command("run")
    url = await url_of(process)
    job_id = simulator.add(Script.stuck(0.1))
    async with aiohttp.ClientSession(headers=BEARER) as session:
        await session.put(f"{url}/api/v1/jobs/{job_id}", json={"key": "sku"})
        await until(lambda: simulator.ledger.jobs[job_id].polls > 2)
        await process.stop()
        polls = simulator.ledger.jobs[job_id].polls
        process = await command("run")
        url = await url_of(process)
        await until(lambda: simulator.ledger.jobs[job_id].polls > polls)
        async with session.get(f"{url}/api/v1/jobs/{job_id}") as response:
            shown = await response.json()
    assert (shown["state"], shown["key"], shown["progress"]) == ("pending", "sku", 99)
    assert [event["type"] for event in shown["events"]].count("registered") == 1


async def test_jobs_of_the_config_are_polled_and_forgotten_once_removed(
    command: Any, write_config: Any, simulator: Simulator, tmp_path: Path
) -> None:
    job_id = simulator.add(Script.stuck(0.1))
    shared = simulator.add(Script.stuck(0.1))
    write_config(more=f"jobs: ['{job_id}', '{shared}']\n")
    process = await command("run")
    url = await url_of(process)
    async with aiohttp.ClientSession(headers=BEARER) as session:
        await session.put(f"{url}/api/v1/jobs/{shared}")
        await until(lambda: simulator.ledger.jobs[job_id].polls)
        await process.stop()
        write_config()
        process = await command("run")
        url = await url_of(process)
        async with session.get(f"{url}/api/v1/jobs/{job_id}") as response:
            assert response.status == 404
        async with session.get(f"{url}/api/v1/jobs/{shared}") as response:
            assert (await response.json())["sources"] == ["config", "api"]
        async with session.get(f"{url}/metrics") as response:
            assert 'jobs_forgotten_total{reason="config",upstream="removit"} 1' in (
                await response.text()
            )


async def test_a_conflicting_config_gives_one_warning_and_the_stored_value_stays(
    command: Any, write_config: Any, simulator: Simulator
) -> None:
    job_id = simulator.add(Script.stuck(0.1))
    write_config(more=f"jobs: [{{job_id: '{job_id}', key: one}}]\n")
    process = await command("run")
    await url_of(process)
    await process.stop()
    write_config(more=f"jobs: [{{job_id: '{job_id}', key: two}}]\n")
    process = await command("run")
    await url_of(process)
    await process.stop()
    lines = [json.loads(line) for line in process.err.splitlines()]
    [warning] = [line for line in lines if "which stay" in line["event"]]
    assert warning["messages"] == [f"{job_id}: key: registered as 'one', cannot become 'two'"]


async def test_all_config_errors_go_to_stderr_with_exit_code_1(
    command: Any, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(
        "upstrem: {}\npolling: {min_interval: soon}\nupstream: {api_key: secret}\n"
    )
    process = await command("check-config")
    assert await process.ends() == 1
    assert process.err.splitlines() == [
        "config.yaml:1: upstrem: unknown key; did you mean 'upstream'?",
        'config.yaml:2: polling.min_interval: expected a duration such as "2s", got "soon"'
        " (units: y, w, d, h, m, s, ms)",
        "config.yaml:3: upstream.api_key: unknown key; did you mean 'api_key_file' or"
        " 'api_key_env'?",
    ]


async def test_token_prints_where_the_token_is_and_warns_where_there_is_none(
    command: Any, write_config: Any, tmp_path: Path
) -> None:
    write_config()
    process = await command("token")
    assert (await process.ends(), process.out, process.err) == (0, "token\n", "")
    (tmp_path / "token").unlink()
    process = await command("token")
    assert (await process.ends(), process.out) == (0, "token\n")
    assert process.err.startswith("no such file yet: the exporter creates it at its first start")


async def test_check_config_prints_ok(command: Any, write_config: Any) -> None:
    write_config()
    process = await command("check-config", "--log.level", "error")
    assert (await process.ends(), process.out, process.err) == (0, "OK\n", "")


async def test_check_config_warns_of_job_files_that_run_would_leave_out(
    command: Any, write_config: Any, tmp_path: Path
) -> None:
    write_config(more="job_files: [gone/*.yaml, jobs.*]\n")
    (tmp_path / "jobs.yaml").write_text("- targets: a\n")
    (tmp_path / "jobs.json").write_text("{")
    process = await command("check-config")
    assert (await process.ends(), process.out) == (0, "OK\n")
    assert [line.partition(" (")[0] for line in process.err.splitlines()] == [
        "warning: job_files: gone/*.yaml matches no file",
        f"warning: {tmp_path}/jobs.json:1: not JSON: Expecting property name enclosed in double"
        " quotes",
        f'warning: {tmp_path}/jobs.yaml:1: 0: expected a group such as {{"targets": ["…"],'
        ' "labels": {}}',
    ]


async def test_check_config_refuses_what_run_would_refuse(
    command: Any, write_config: Any, tmp_path: Path
) -> None:
    write_config()
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: a.pem, key_file: a.key}")
    process = await command("check-config", "--storage.path=.", "--web.config.file=web.yml")
    assert (await process.ends(), process.out) == (1, "")
    assert process.err.splitlines() == [
        "web.yml: tls_server_config.cert_file: a.pem: cannot be read: No such file or directory",
        f"{tmp_path}: a folder; storage.path must name a file",
    ]


async def test_check_config_warns_of_a_database_that_may_exist_elsewhere(
    command: Any, write_config: Any, tmp_path: Path
) -> None:
    write_config()
    process = await command("check-config", "--storage.path=gone/jobs.db")
    assert (await process.ends(), process.out) == (0, "OK\n")
    folder = tmp_path / "gone"
    assert process.err == (
        f"warning: {folder}/jobs.db: No such file or directory: the folder {folder} does not exist;"
        " create it, or change storage.path\n"
    )


@pytest.mark.parametrize("verb", ["run", "check-config", "healthcheck", "watch"])
async def test_a_config_that_cannot_be_looked_for_is_an_error(command: Any, verb: str) -> None:
    path = "long" * 100
    process = await command(verb, "--config.file", path)
    assert await process.ends() == 1
    assert process.err == f"{path}: cannot be read: File name too long\n"


async def test_a_missing_config_or_key_is_an_error_with_a_remedy(
    command: Any, tmp_path: Path
) -> None:
    process = await command("run", "--config.file", "no.yaml")
    assert await process.ends() == 1
    assert process.err == (
        "no.yaml: cannot be read: No such file or directory; create it, or name another with"
        " --config.file\n"
    )
    (tmp_path / "config.yaml").write_text("upstream: {api_key_file: no.key}\n")
    process = await command("run")
    assert await process.ends() == 1
    expected = (
        "config.yaml:1: upstream.api_key_file: no.key: cannot be read: No such file or directory"
    )
    assert process.err == expected + "\n"


async def test_a_port_in_use_is_an_error_before_a_file_is_made(
    command: Any, write_config: Any, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        write_config(port)
        files = set(tmp_path.iterdir())
        process = await command("run")
        assert await process.ends() == 1
    assert set(tmp_path.iterdir()) == files
    assert f"web.listen_address: cannot listen on 127.0.0.1:{port}" in process.err
    assert "is another exporter running?" in process.err
    assert "Traceback" not in process.err


async def test_an_address_that_this_machine_lacks_is_an_error_without_a_wrong_hint(
    command: Any, write_config: Any
) -> None:
    write_config()
    process = await command("run", "--web.listen-address", "192.0.2.1:10977")
    assert await process.ends() == 1
    assert "192.0.2.1:10977: Cannot assign requested address\n" in process.err


async def test_a_foreign_database_is_an_error(
    command: Any, write_config: Any, tmp_path: Path
) -> None:
    write_config()
    database = sqlite3.connect(tmp_path / "other.db")
    database.execute("CREATE TABLE theirs (x)")
    database.close()
    process = await command("run", "--storage.path", "other.db")
    assert await process.ends() == 1
    assert "other.db: a database of another program" in process.err
    assert "Traceback" not in process.err


async def test_a_wrong_flag_is_a_usage_error_of_the_process(command: Any) -> None:
    process = await command("run", "--no-such-flag")
    assert await process.ends() == 2
    assert process.err.startswith("Usage: ")
    assert "--no-such-flag" in process.err.splitlines()[-1]
    assert "Traceback" not in process.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--no-such-flag"),
        ("demo", "--for", "soon"),
        ("demo", "--web.listen-address", "nowhere"),
        ("simulate", "--fault", "gremlins"),
        ("simulate", "--fault", "slow=very"),
        ("simulate", "--speed", "0"),
        ("demo", "--rate", "0"),
        ("simulate", "--api-key-file", "nowhere"),
    ],
    ids=" ".join,
)
def test_wrong_flags_are_usage_errors(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.output.startswith("Usage: ")


async def test_simulate_serves_with_faults_and_its_own_key(command: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("other")
    port = free_port()
    process = await command(
        "simulate",
        "--listen-address",
        f"127.0.0.1:{port}",
        "--api-key-file",
        "key",
        "--fault",
        "outage=502",
    )
    await until(lambda: process.out == f"simulator http://127.0.0.1:{port}\n")
    async with (
        aiohttp.ClientSession(headers=BEARER) as session,
        session.get(f"http://127.0.0.1:{port}/api/v1/status") as response,
    ):
        assert response.status == 502
    second = await command("simulate", "--listen-address", f"127.0.0.1:{port}")
    assert await second.ends() == 1
    assert f"cannot listen on 127.0.0.1:{port}" in second.err
    assert await process.stop(signal.SIGINT) == 0


@pytest.mark.slow
async def test_the_demos_totals_equal_the_simulators_ledger(command: Any) -> None:
    process = await command("demo", "--for", "4s", "--rate", "20", "--seed", "5", "--json")
    assert await process.ends(100) == 0, process.out
    lines = process.out.splitlines()
    assert lines[0].startswith("exporter http://127.0.0.1:")
    assert lines[1].startswith("simulator http://127.0.0.1:")
    result = json.loads(lines[-1])
    assert result["equal"]
    assert result["rows"][0][1] > 50


async def test_the_demo_can_be_interrupted(command: Any) -> None:
    process = await command("demo", "--web.listen-address", f"127.0.0.1:{free_port()}")
    await until(lambda: "polls/s" in process.out)
    assert await process.stop(signal.SIGINT) == 0


@pytest.mark.slow
async def test_twenty_seconds_of_demo_show_every_final_state(command: Any) -> None:
    process = await command("demo", "--for", "20s")
    assert await process.ends(110) == 0, process.out
    table = dict(
        line.rsplit(maxsplit=2)[:2] for line in process.out.splitlines() if "finished" in line
    )
    for state in ("done", "failed", "not_found", "invalid", "expired"):
        assert float(table[f"finished {state}"]) > 0
    registered = next(line for line in process.out.splitlines() if line.startswith("registered"))
    assert float(registered.split()[1]) >= 200


def test_a_difference_between_ledger_and_totals_is_found() -> None:
    truth = {
        "registered": 2,
        "finished": {"done": 1, "failed": 1},
        "done_without_result": 0,
        "warnings": {"a": 1},
        "ignored_variations": {},
    }
    page = (
        'removit_jobs_registered_total{source="api"} 2\n'
        'removit_jobs_finished_total{state="done"} 2\n'
        'removit_job_warnings_total{variation="a"} 1\n'
    )
    wrong = [row for row in compare(truth, read_totals(page)) if not row.equal]
    assert wrong == [Row("finished done", 2, 1), Row("finished failed", 0, 1)]


async def test_check_storage_reports_ok_or_errors_and_changes_nothing(
    command: Any, write_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config()
    path = tmp_path / "other.db"

    monkeypatch.chdir(tmp_path)

    def check(code: int) -> str:
        result = CliRunner().invoke(main, ["check-storage", "--storage.path", "other.db"])
        assert result.exit_code == code
        return result.output

    assert check(1) == f"{path}: no such file\n"
    path.touch()
    assert check(1) == f"{path}: the file is empty\n"
    path.unlink()
    store = await opened(path)
    await put(store, "a")
    await store.close()
    assert check(0) == "OK\n"
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE jobs SET document = '{'")
    database.close()
    before = path.read_bytes()
    process = await command("check-storage", "--storage.path", "other.db")
    assert await process.ends() == 1
    assert process.err.startswith(f"{path}: jobs, row 1: job a: damaged: ")
    assert path.read_bytes() == before


def test_the_version_is_printed_without_importing_the_program() -> None:
    code = (
        "import sys; from exporter.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: print(sorted({'aiohttp', 'pydantic', 'uvloop'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["[]"]
