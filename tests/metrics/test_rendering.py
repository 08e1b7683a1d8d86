"""Scrapes at the same time share a rendering, and none gets an older page than one before."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from conftest import Site

from exporter.metrics.rendering import Renderings


class Pages:
    """Makes pages of three pieces that name their page."""

    def __init__(self) -> None:
        self.begun = 0
        self.pieces = 0

    def make(self) -> Iterator[bytes]:
        self.begun += 1
        number = self.begun

        def pieces() -> Iterator[bytes]:
            for at in range(3):
                self.pieces += 1
                yield b"%d%d" % (number, at)

        return pieces()


def test_a_reader_that_joins_reads_the_same_pieces_from_the_first() -> None:
    renderings, pages = Renderings[bytes](), Pages()
    with renderings.join("text", pages.make) as first:
        assert [next(first), next(first)] == [b"10", b"11"]
        with renderings.join("text", pages.make) as second:
            assert list(second) == [b"10", b"11", b"12"]
        assert list(first) == [b"12"]
    assert (pages.begun, pages.pieces, len(renderings)) == (1, 3, 0)


def test_a_reader_after_completion_gets_a_new_rendering() -> None:
    renderings, pages = Renderings[bytes](), Pages()
    with renderings.join("text", pages.make) as slow, renderings.join("text", pages.make) as fast:
        assert len(list(fast)) == 3
        with renderings.join("text", pages.make) as later:
            assert next(later) == b"20"
        assert next(slow) == b"10"


def test_formats_are_made_apart() -> None:
    renderings, pages = Renderings[bytes](), Pages()
    with renderings.join("text", pages.make) as text, renderings.join("gzip", pages.make) as packed:
        assert (next(text), next(packed)) == (b"10", b"20")


def test_no_reader_joins_a_rendering_older_than_a_complete_one() -> None:
    times = itertools.count(0.0, 0.1)
    renderings, pages = Renderings[bytes](lambda: next(times)), Pages()
    with renderings.join("text", pages.make) as slow:
        next(slow)
        with renderings.join("gzip", pages.make) as newer:
            list(newer)
        with renderings.join("text", pages.make) as later:
            assert next(later) == b"30"
        assert list(slow) == [b"11", b"12"]
    assert len(renderings) == 0


def test_no_reader_joins_a_rendering_that_is_read_slowly() -> None:
    now = 0.0
    renderings, pages = Renderings[bytes](lambda: now), Pages()
    with renderings.join("text", pages.make) as slow:
        next(slow)
        now = 1.0
        with renderings.join("text", pages.make) as soon:
            assert next(soon) == b"10"
        now = 1.1
        with renderings.join("text", pages.make) as later:
            assert next(later) == b"20"
        assert list(slow) == [b"11", b"12"]
    assert len(renderings) == 0


def test_no_reader_joins_an_abandoned_rendering() -> None:
    renderings, pages = Renderings[bytes](), Pages()
    with renderings.join("text", pages.make) as gone:
        next(gone)
    assert len(renderings) == 0
    with renderings.join("text", pages.make) as later:
        assert next(later) == b"20"


def test_a_failed_rendering_fails_for_its_readers_only() -> None:
    def broken() -> Iterator[bytes]:
        yield b"0"
        raise LookupError

    renderings, pages = Renderings[bytes](), Pages()
    with renderings.join("text", broken) as first, renderings.join("text", broken) as second:
        for reader in (first, second):
            assert next(reader) == b"0"
            with pytest.raises(LookupError):
                next(reader)
    with renderings.join("text", pages.make) as later:
        assert len(list(later)) == 3


async def test_concurrent_scrapes_are_complete_and_share_pages(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    exposition, made = site.exporter.context.exposition, 0
    page = exposition.page

    def counted(*arguments: object) -> object:
        nonlocal made
        made += 1
        return page(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(exposition, "page", counted)
    await site.put("a")

    async def scrape(encoding: str) -> bytes:
        headers = {"Accept-Encoding": encoding, "Accept": "application/openmetrics-text"}
        async with site.client.get("/metrics", headers=headers) as response:
            assert response.status == 200
            return await response.read()  # unpacked by the client

    bodies = await asyncio.gather(*(scrape(("gzip", "identity")[at % 2]) for at in range(40)))
    assert all(body.endswith(b"# EOF\n") and b'job_id="a"' in body for body in bodies)
    assert len(set(bodies)) <= made < 40
