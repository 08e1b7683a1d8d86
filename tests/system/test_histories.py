"""The judgement against drawn histories, as `benchmarks/judgement.py` prints it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "judgement.py"
OWN = """
from exporter.simulator.script import Script
from histories import History, JobHistory

def weekend(rng):
    jobs = [JobHistory(f"job-{at}", rng.uniform(0, 600), Script.sound(60.0)) for at in range(9)]
    outage = lambda job, time: (503, b"") if 100 < time < 400 else None
    return History("weekend", decidable=True, seconds=600.0, jobs=jobs, trouble=outage)

def blamed(rng):
    jobs = [JobHistory(f"job-{at}", 0.0, Script.sound(60.0)) for at in range(3)]
    jobs.append(JobHistory("blamed", 0.0, Script.sound(5000.0)))
    jobs.append(JobHistory("witness", 0.0, Script.stuck(5.0)))
    fails = lambda job, time: (500, b"{}") if job and job.job_id == "blamed" else None
    return History("blamed", decidable=True, seconds=1200.0, jobs=jobs, trouble=fails)
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


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_no_verdict_is_wrong_and_no_failure_missed_where_it_can_be_decided() -> None:
    code, out = await judge("--histories", "160")
    assert code == 0, out
    assert "0 verdicts without evidence" in out


async def test_histories_of_ones_own_plug_in(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    arguments = ("--histories", "2", "--seed", "7", "--processes", "1", "--generator")
    code, out = await judge(*arguments, "own:weekend", directory=tmp_path)
    assert code == 0, out
    assert out.startswith("seed 7, 2 histories")
    [line] = [line for line in out.splitlines() if line.startswith("  weekend")]
    assert line.split()[1:7] == ["2", "18", "0", "0", "0", "0"]


async def test_a_wrong_verdict_where_it_can_be_decided_is_told_with_its_seed_and_fails_the_run(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    arguments = ("--histories", "1", "--seed", "7", "--processes", "1", "--generator")
    code, out = await judge(*arguments, "own:blamed", directory=tmp_path)
    assert code == 1, out
    assert "seed 7: wrong: blamed blamed failed at " in out
