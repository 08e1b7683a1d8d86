"""`removit-exporter failures`: the list of missing pictures, its exit codes, acknowledging."""

import json
from pathlib import Path

from called import called
from conftest import TOKEN, Site

from exporter.simulator import Script, Simulator


async def failures(site: Site | str, *arguments: str) -> tuple[int, str, str]:
    """Run the verb; return its exit code and output."""
    url = site if isinstance(site, str) else site.url
    return await called("failures", "--exporter.url", url, *arguments)


async def lose(site: Site, simulator: Simulator, key: str | None = None) -> str:
    """Let a job end badly; return its id."""
    job_id = simulator.add(Script.lost())
    await site.put(job_id, **({} if key is None else {"key": key}))
    await site.ends(job_id, "not_found")
    return job_id


async def test_missing_pictures_are_listed_newest_first_with_exit_code_1(
    site: Site, simulator: Simulator
) -> None:
    assert await failures(site) == (0, "nothing is missing\n", "")
    keyed, plain = await lose(site, simulator, "sku-1"), await lose(site, simulator)
    code, out, _ = await failures(site)
    first, second, last = out.splitlines()
    assert (code, last) == (1, "2 missing")
    assert first.startswith(f"{plain}  not_found")
    assert second.startswith("sku-1  not_found")
    assert f"job {keyed}" in second
    code, out, _ = await failures(site, "--json")
    entries = [json.loads(line) for line in out.splitlines()]
    assert (code, [one["key"] for one in entries]) == (1, [plain, "sku-1"])


async def test_acknowledged_keys_are_missing_no_longer(
    site: Site, simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    token = ("--exporter.token-file", str(tmp_path / "token"))
    plain = await lose(site, simulator)
    await lose(site, simulator, "sku-1")
    code, out, _ = await failures(site, *token, "--ack", plain, "--ack", "sku-1")
    assert (code, out) == (0, f"acknowledged {plain}\nacknowledged sku-1\n")
    code, out, err = await failures(site, *token, "--ack", "sku-1")
    assert (code, out) == (1, "")
    assert "sku-1 is not open" in err
    assert (await failures(site))[0] == 0


async def test_a_wrong_token_and_an_unreachable_exporter_are_errors(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("wrong")
    code, _, err = await failures(
        site, "--ack", "a", "--exporter.token-file", str(tmp_path / "token")
    )
    assert (code, "unauthorized" in err) == (1, True)
    assert (await failures("http://127.0.0.1:9", "--patience", "100ms"))[0] == 3
