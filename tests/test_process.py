"""The process of the command: signals during its start, and standard streams that do not work."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import until

SECONDS = 30
START = (
    "import sys; from exporter.process import end_on_signals; end_on_signals();"
    " print('ready', flush=True); sys.stdin.read()"
)
"""The first moment of the command, held for as long as the test needs it."""


@pytest.fixture(params=[{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> "Shell":
    (tmp_path / "config.yaml").write_text(
        'upstream: {base_url: "http://127.0.0.1:9", api_key_env: KEY}\n'
        'web: {listen_address: "127.0.0.1:0"}\n'
    )
    environ = {name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"}
    return Shell(tmp_path, environ | {"KEY": "k"} | request.param)


class Shell:
    """Runs `removit-exporter` (`$R`) in a shell, with redirections."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ | {"R": f"{sys.executable} -m exporter"}

    def run(self, line: str) -> tuple[int, str, str]:
        """Return the exit code, the output and the errors of a line of bash."""
        done = subprocess.run(
            ["/bin/bash", "-c", line],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("$R check-config", 0, "OK\n", ""),
        ("$R check-config >/dev/full", 1, "", "standard output: No space left on device\n"),
        ("$R --version >&-", 1, "", "standard output: Bad file descriptor\n"),
        ("$R --help >/dev/full", 1, "", "standard output: No space left on device\n"),
        ("$R check-config 2>&-", 0, "OK\n", ""),
        ("$R check-config --config.file nope 2>&-", 1, "", ""),
        ("$R check-config --config.file nope 2>/dev/full", 1, "", ""),
        ("$R --version >/dev/full 2>/dev/full", 1, "", ""),
        ("$R --version 0<&- 1>&- 2>&-", 1, "", ""),
        ("$R check-config 0<&-", 0, "OK\n", ""),
    ],
)
def test_a_stream_that_does_not_work_is_an_exit_code_and_no_traceback(
    shell: Shell, line: str, code: int, out: str, err: str
) -> None:
    assert shell.run(line) == (code, out, err)


def test_a_reader_that_has_left_is_an_exit_code_and_no_traceback(shell: Shell) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "assets"],
        env=shell.environ,
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "0<&- 1>&- 2>&-"])
async def test_an_exporter_whose_log_cannot_be_written_runs_and_stops(
    shell: Shell, redirection: str
) -> None:
    process = await asyncio.create_subprocess_shell(
        f"exec $R run {redirection}", cwd=shell.folder, env=shell.environ
    )
    token = shell.folder / "removit-exporter.db.token"  # created once it has started
    await until(lambda: token.exists() or process.returncode is not None)
    for number in range(3):
        target = Path(f"/proc/{process.pid}/fd/{number}").readlink()
        assert "removit-exporter.db" not in str(target)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), SECONDS) == 0


@pytest.fixture(params=[False, True], ids=["", "as process 1"])
def prefix(request: pytest.FixtureRequest) -> list[str]:
    """Return what to put before a command, so that it runs in its own namespace of processes."""
    if not request.param:
        return []
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no namespace of processes: {error}")
    return unshare


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_the_command_at_once(
    prefix: list[str], number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    [target] = children(process.pid) if prefix else [process.pid]
    os.kill(target, number)
    _, err = process.communicate(timeout=SECONDS)
    assert err == ""
    assert process.returncode in (-number, 128 + number)


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_handlers_come_before_everything_that_takes_long_to_import() -> None:
    script = (
        "import sys, exporter.__main__;"
        "print([name for name in ('aiohttp', 'pydantic', 'click') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
