"""Slices as one gzip stream."""

import gzip
import zlib

from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.slices import Deflater, GzipStream, Slice


def packed(slices: list[Slice]) -> bytes:
    stream = GzipStream()
    return b"".join((stream.HEADER, *stream.add(slices), stream.end()))


@given(st.lists(st.binary(max_size=200)))
def test_the_stream_is_one_gzip_member_with_all_slices(texts: list[bytes]) -> None:
    body = packed([Slice(text) for text in texts])
    assert gzip.decompress(body) == b"".join(texts)
    unpacker = zlib.decompressobj(31)
    assert unpacker.decompress(body) == b"".join(texts)
    assert (unpacker.eof, unpacker.unused_data) == (True, b"")


def test_a_slice_is_deflated_once_and_fits_into_any_page() -> None:
    kept = Slice(b"kept" * 100)
    deflated = kept.deflated(Deflater())
    for before in (b"", b"kept" * 50, b"another"):
        body = packed([Slice(before), kept])
        assert gzip.decompress(body) == before + kept.plain
        assert kept.deflated(Deflater()) is deflated


@given(st.lists(st.binary(max_size=200)))
def test_slices_that_were_inflated_again_give_the_same_page(texts: list[bytes]) -> None:
    slices = [Slice(text) for text in texts]
    body = packed(slices)
    assert [one.plain for one in slices] == texts
    assert packed(slices) == body


@given(st.lists(st.binary(max_size=200), min_size=1))
def test_a_slice_is_deflated_as_if_nothing_had_been_deflated_before_it(texts: list[bytes]) -> None:
    used = Deflater()
    for text in texts * 2:
        assert used.deflate(text) == Deflater().deflate(text)


def test_a_slice_larger_than_the_zeros_of_the_checksum_is_in_the_stream() -> None:
    text = bytes(range(256)) * 1000
    assert gzip.decompress(packed([Slice(b"before"), Slice(text)])) == b"before" + text


def test_a_slice_keeps_the_forms_that_are_asked_for() -> None:
    kept = Slice(b"kept" * 100)
    deflated = kept.deflated(Deflater())
    assert (kept._plain, kept._deflated) == (None, deflated)
    plain = kept.plain
    kept.deflated(Deflater())
    assert (kept._plain, kept._deflated) == (plain, deflated)
    kept.deflated(Deflater())
    assert (kept._plain, kept._deflated) == (None, deflated)
