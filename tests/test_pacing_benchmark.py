"""`benchmarks/pacing.py`: laws of one's own, and the policy that it compares with."""

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAWS = """
def draw(rng):
    return rng.uniform(20, 40), lambda share: ("step", int(share * 100))

LAWS = {"short jobs": draw}
"""
SMALL = ("--jobs", "60", "--warm-up", "40")


def benchmark(*flags: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / "pacing.py"), *SMALL, *flags]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_laws_of_ones_own_are_compared_and_drawn(tmp_path: Path) -> None:
    module, picture = tmp_path / "laws.py", tmp_path / "plot.svg"
    module.write_text(LAWS)
    said = benchmark("--part", "table", "--others", "--laws", str(module), "--plot", str(picture))
    assert said.startswith("60 jobs for each of 1 seeds, after 40 to learn from")
    assert re.search(r"^short jobs +own +- +0\.\d\d", said, re.MULTILINE)
    assert "short jobs" in picture.read_text()


def test_the_policy_that_knows_the_law_checks_exponential_jobs_at_a_fixed_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from pacing_optimum import optimum

    rng = random.Random(1)
    memoryless = sorted(rng.expovariate(1 / 60) for _ in range(20_000))
    certain = sorted(rng.uniform(59.0, 61.0) for _ in range(20_000))
    assert optimum([memoryless], 3.4) == pytest.approx(1.0, abs=0.03)
    assert optimum([certain], 0.5) < 0.05
