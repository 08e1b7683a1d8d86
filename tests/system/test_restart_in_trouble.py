"""A restart of the exporter while the upstream is in trouble."""

import copy
from pathlib import Path

import pytest
from batches import HTML_502, Answer, upload, wait_for_state, watching
from simulated_time import MINUTE, SimulatedUpstream, exporting, pass_time, simulate, states

from exporter.simulator.script import Script
from exporter.storage.memory import MemoryStore

BAD: dict[str, Answer] = {
    "down": HTML_502,
    "blocked": (403, b"<html>blocked</html>"),
    "key_rejected": (401, b'{"error": "unauthorized"}'),
    "throttled": (429, b"{}"),
}


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize("state", BAD)
def test_a_bad_state_of_the_upstream_survives_a_restart(
    tmp_path: Path, state: str, killed: bool
) -> None:
    async def restart() -> None:
        upstream, store = SimulatedUpstream(), MemoryStore()
        async with exporting(upstream, store, tmp_path) as exporter:
            jobs = {f"job-{at}": Script.sound(300.0) for at in range(6)}
            await upload(upstream, exporter, jobs, 1.0)
            await pass_time(MINUTE)
            upstream.fault = lambda job_id: BAD[state]
            await wait_for_state(exporter, state, 5 * MINUTE)
            await pass_time(2 * MINUTE)
            await wait_for_state(exporter, state, 5 * MINUTE)
            as_killed = copy.deepcopy(store.tables)
        await pass_time(30)
        kept = MemoryStore(as_killed if killed else store.tables)
        async with exporting(upstream, kept, tmp_path) as exporter:
            assert exporter.health.state == state
            async with watching(exporter) as shown:
                await pass_time(4 * MINUTE)
                if state != "throttled":  # which ends with its wait, and is found again
                    assert set(shown.first) == {state}
            upstream.fault = lambda job_id: None
            await pass_time(10 * MINUTE)
            assert exporter.health.state == "well"
            assert set((await states(exporter)).values()) == {"done"}

    simulate(restart)
