"""The judgement compared with drawn histories, as `benchmarks/judgement.py` prints it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "judgement.py"
OWN = """
from exporter.simulator.script import Script
from histories import Bounds, History, JobHistory, Span

SOUND = [JobHistory(f"job-{at}", 2.0 * at, Script.sound(60.0)) for at in range(9)]
STUCK = [JobHistory(f"stuck-{at}", 1.0 * at, Script.stuck(5.0)) for at in range(3)]
SPAN = Span(100.0, 400.0)

def outage(job, time):
    return (503, b"") if 100 < time < 400 else None

def weekend(rng):
    jobs = [JobHistory(f"job-{at}", rng.uniform(0, 600), Script.sound(60.0)) for at in range(9)]
    return History("weekend", True, 600.0, jobs, outage)

def blamed(rng):
    jobs = [*STUCK, JobHistory("blamed", 0.0, Script.sound(5000.0))]
    fails = lambda job, time: (500, b"{}") if job and job.job_id == "blamed" else None
    return History("blamed", True, 1200.0, jobs, fails)

def hurried(rng):
    jobs = [*STUCK, JobHistory("bad", 0.0, Script.failing(20.0))]
    return History("hurried", True, 600.0, jobs, lambda job, time: None, bounds=Bounds(call=9.0))

def seen(rng):
    return History("seen", True, 400.0, [*SOUND, *STUCK], outage, spans=[SPAN])

def late(rng):
    bounds = Bounds(state=-1.0)
    return History("late", True, 400.0, [*SOUND, *STUCK], outage, spans=[SPAN], bounds=bounds)

def hidden(rng):
    return History("hidden", True, 400.0, STUCK, outage, bounds=Bounds(never_down=True))

def restarted(rng):
    restarts = [(200.0, 30.0), (500.0, 3600.0)]
    return History("restarted", True, 600.0, SOUND, lambda job, time: None, restarts=restarts)

def asked(rng):
    return History("asked", True, 600.0, STUCK, lambda job, time: None, asked_every=1.0)

def unasked(rng):
    return History("unasked", True, 600.0, STUCK, lambda job, time: None)
"""


async def judge(*arguments: str, directory: Path | None = None) -> tuple[int, str]:
    """Run it, without coverage's tracer, which would make it take several times as long."""
    untraced = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), *arguments),
        cwd=directory,
        env=untraced,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def judge_own(directory: Path, name: str, histories: int = 1) -> tuple[int, str]:
    (directory / "own.py").write_text(OWN)
    return await judge(
        *("--histories", str(histories), "--seed", "7", "--processes", "1"),
        *("--generator", f"own:{name}"),
        directory=directory,
    )


def rows(out: str, shape: str) -> list[list[str]]:
    """Return the words of a shape's row in both tables."""
    return [line.split()[1:] for line in out.splitlines() if line.startswith(f"  {shape} ")]


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_no_promise_is_broken_where_it_can_be_kept() -> None:
    # `make judgement` draws a seed; here the outcome must not depend on luck.
    code, out = await judge("--histories", "184", "--seed", "1")
    assert code == 0, out
    assert "0 verdicts without evidence" in out


async def test_histories_of_your_own_plug_in(tmp_path: Path) -> None:
    code, out = await judge_own(tmp_path, "weekend", histories=2)
    assert code == 0, out
    assert out.startswith("seed 7, 2 histories")
    verdicts, _ = rows(out, "weekend")
    assert verdicts[:7] == ["2", "18", "0", "0", "0", "0", "0"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("blamed", "wrong: blamed failed at "),
        ("hurried", "late: bad called after "),
        ("late", "late: down shown "),
        ("hidden", "false down: for "),
    ],
)
async def test_a_broken_promise_is_printed_with_its_seed_and_fails_the_run(
    tmp_path: Path, name: str, reason: str
) -> None:
    code, out = await judge_own(tmp_path, name)
    assert code == 1, out
    assert f"seed 7, own:{name}: {reason}" in out


async def test_the_time_until_an_outage_is_shown_is_printed(tmp_path: Path) -> None:
    code, out = await judge_own(tmp_path, "seen")
    assert code == 0, out
    false_downs, minutes, median, *_ = rows(out, "seen")[1]
    assert (false_downs, minutes) == ("0", "0.0")
    assert 0 < float(median.rstrip(",")) <= 65


async def test_a_history_goes_on_after_its_restarts(tmp_path: Path) -> None:
    code, out = await judge_own(tmp_path, "restarted")
    assert code == 0, out
    assert rows(out, "restarted")[0][:7] == ["1", "9", "0", "0", "0", "0", "0"]


async def test_somebody_who_asks_costs_requests(tmp_path: Path) -> None:
    _, asked = await judge_own(tmp_path, "asked")
    _, unasked = await judge_own(tmp_path, "unasked")
    assert float(rows(asked, "asked")[1][-1]) > 3 * float(rows(unasked, "unasked")[1][-1])
