"""The judgement against drawn histories, as `benchmarks/judgement.py` prints it."""

import asyncio
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_no_verdict_is_wrong_and_no_failure_missed_where_it_can_be_decided() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(str(ROOT / "benchmarks" / "judgement.py"), "--histories", "130"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
