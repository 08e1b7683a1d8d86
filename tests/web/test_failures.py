"""The keys whose last job failed, over HTTP and in the metrics."""

from typing import Any

from conftest import Open, Site

from exporter.simulator import Script, Simulator


async def failures(site: Site, **parameters: str) -> list[dict[str, Any]]:
    async with site.client.get("/api/v1/failures", params=parameters) as response:
        assert response.status == 200, await response.text()
        shown = await response.json()
        assert set(shown) == {"failures", "next"}
        found: list[dict[str, Any]] = shown["failures"]
        return found


async def test_a_key_is_missing_until_a_later_job_of_it_is_done(
    open_site: Open, simulator: Simulator
) -> None:
    site = await open_site(
        registration={"allowed_labels": ["shop"]}, metrics={"group_labels": ["shop"]}
    )
    lost = simulator.add(Script.lost())
    await site.put(lost, key="sku-1", labels={"shop": "eu"})
    ended = await site.ends(lost, "not_found")
    [entry] = await failures(site)
    assert entry == {
        "key": "sku-1",
        "job_id": lost,
        "state": "not_found",
        "evidence": ended["evidence"],
        "labels": {"shop": "eu"},
        "finished_at": ended["finished_at"],
    }
    assert await site.value('removit_unresolved_failures{shop="eu"}') == 1
    sound = simulator.add(Script.sound(0.1))
    await site.put(sound, key="sku-1", labels={"shop": "eu"})
    await site.ends(sound, "done")
    assert await failures(site) == []
    assert await site.value('removit_unresolved_failures{shop="eu"}') == 0


async def test_acknowledging_closes_a_key(site: Site, simulator: Simulator) -> None:
    assert await site.value("removit_unresolved_failures") == 0
    lost = simulator.add(Script.lost())
    await site.put(lost, key="sku-1")
    await site.ends(lost, "not_found")
    assert await site.value("removit_unresolved_failures") == 1
    assert await failures(site, key="other") == []
    response = await site.client.post("/api/v1/failures/ack", json={"key": "sku-1"})
    assert (response.status, (await response.json())["job_id"]) == (200, lost)
    assert await site.value("removit_unresolved_failures") == 0
    again = await site.client.post("/api/v1/failures/ack", json={"key": "sku-1"})
    assert (again.status, (await again.json())["error"]) == (404, "not_found")


async def test_a_wrong_request_says_what_is_expected(site: Site) -> None:
    documents: list[Any] = [{}, [], {"key": 1}, {"key": "a", "more": 1}]
    for document in documents:
        response = await site.client.post("/api/v1/failures/ack", json=document)
        assert (response.status, (await response.json())["error"]) == (422, "validation")
    response = await site.client.get("/api/v1/failures?limit=0&shop=eu")
    assert response.status == 422
    assert set((await response.json())["details"]) == {"limit", "shop"}


async def test_open_failures_survive_a_restart(open_site: Open, simulator: Simulator) -> None:
    first = await open_site()
    lost = simulator.add(Script.lost())
    await first.put(lost, key="sku-1")
    await first.ends(lost, "not_found")
    await first.client.close()
    second = await open_site()
    assert [entry["key"] for entry in await failures(second)] == ["sku-1"]
    assert await second.value("removit_unresolved_failures") == 1
