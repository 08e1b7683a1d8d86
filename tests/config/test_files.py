"""Files from outside are read up to a limit, and their stamps show a change."""

from pathlib import Path

import pytest

from exporter.config.files import FileError, read_limited, read_stamp, read_text


def test_a_file_may_have_exactly_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_limited(path, 5) == b"12345"
    with pytest.raises(FileError, match=r"a: longer than 4 bytes$"):
        read_limited(path, 4)


def test_an_error_names_the_file_and_the_reason(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none: cannot be read: No such file or directory$"):
        read_limited(tmp_path / "none", 1)
    with pytest.raises(FileError, match=r": not a regular file$"):
        read_limited(tmp_path, 1)


def test_a_folder_in_place_of_a_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = sorted(Path("/dev/fd").iterdir())
    for _ in range(3):
        with pytest.raises(FileError):
            read_limited(tmp_path, 1)
    assert sorted(Path("/dev/fd").iterdir()) == before


def test_a_byte_order_mark_is_not_part_of_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbfkey: \xc3\xa9\n")
    assert read_text(path, 100) == "key: é\n"


def test_an_error_of_encoding_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one\ntwo\nthr\xffee\n")
    with pytest.raises(FileError, match=r"a:3: not UTF-8$"):
        read_text(path, 100)


def test_a_stamp_changes_with_the_size_and_with_the_file(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("one")
    first = read_stamp(path)
    assert read_stamp(path) == first
    path.write_text("longer")
    longer = read_stamp(path)
    assert longer.size == 6
    assert longer != first
    other.write_text("others")
    other.replace(path)
    assert read_stamp(path).inode != longer.inode
