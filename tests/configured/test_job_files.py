"""Job files: reading them, their errors, and how the registry follows them."""

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Open, Site, until
from databases import execute
from hypothesis import given
from hypothesis import strategies as st
from support import fuzzed

from exporter import daemon_threads
from exporter.config import ConfigError
from exporter.config.registration import RegistrationRules
from exporter.configured import job_files
from exporter.configured.job_files import find, read_job_file
from exporter.daemon_threads import LimitedCalls

REFUSED = 'removit_exporter_registrations_refused_total{{reason="{}"}}'
RULES = RegistrationRules(allowed_labels=["shop"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the job files that `QUIET` names."""
    made = tmp_path / "jobs.d"
    made.mkdir()
    return made


def read(path: Path, content: str | bytes) -> tuple[list[str], list[str]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = asyncio.run(read_job_file(path, RULES, LimitedCalls()))
    return [one.job_id for one in found.registrations], found.errors


async def test_groups_of_targets_with_labels_and_a_key(tmp_path: Path) -> None:
    groups = [
        {"targets": ["a", "b"], "labels": {"shop": "eu", "__key__": "sku"}},
        {"targets": ["c"]},
    ]
    for name, text in (("a.yaml", yaml.safe_dump(groups)), ("a.json", json.dumps(groups))):
        path = tmp_path / name
        path.write_text(text)
        content = await read_job_file(path, RULES, LimitedCalls())
        assert content.errors == []
        assert [(one.job_id, dict(one.labels), one.key) for one in content.registrations] == [
            ("a", {"shop": "eu"}, "sku"),
            ("b", {"shop": "eu"}, "sku"),
            ("c", {}, None),
        ]


def test_errors_name_their_line_and_valid_targets_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    text = """\
- targets:
    - good
    - not/good
    - 12
- targets: [lost]
  labels: {colour: red}
- targets: [keyed]
  labels: {__key__: ""}
- target: [x]
- targets: [fine]
  label: {shop: eu}
"""
    names, errors = read(path, text)
    assert names == ["good", "fine"]
    assert [error.removeprefix(f"{path}:").split(" ")[0:2] for error in errors] == [
        ["3:", "0.targets.1:"],
        ["4:", "0.targets.2:"],
        ["6:", "1.labels.colour:"],
        ["8:", "2.labels.__key__:"],
        ["9:", "3:"],
        ["11:", "4.label:"],
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.yaml", "- targets: [a", "a.yaml:[12]: not YAML"),
        ("a.json", '[{"targets":\n["a"', "a.json:2: not JSON"),
        ("a.json", "[" * 100_000, "too deep"),
        ("a.yaml", b"- targets: [a]\n# \xff", "a.yaml:2: not UTF-8"),
        ("a.yaml", "- &a {targets: [b]}\n- *a", "aliases"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        read(tmp_path / name, content)
    with pytest.raises(ConfigError, match="cannot be read"):
        asyncio.run(read_job_file(tmp_path / "none.yaml", RULES, LimitedCalls()))


@pytest.mark.parametrize("content", ["{}", "text", "- 1", "[{targets: a}]"])
def test_an_error_shows_what_a_list_of_groups_looks_like(tmp_path: Path, content: str) -> None:
    names, errors = read(tmp_path / "a.yaml", content)
    assert names == []
    assert "targets" in errors[0]


def test_an_empty_file_names_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "a.yaml", "") == ([], [])
    assert read(tmp_path / "b.json", "[]") == ([], [])


@pytest.mark.fuzz
@fuzzed(100)
@given(
    groups=st.lists(
        st.one_of(
            st.fixed_dictionaries(
                {"targets": st.lists(st.one_of(st.text(max_size=5), st.integers(), st.none()))},
                optional={
                    "labels": st.one_of(
                        st.none(),
                        st.dictionaries(
                            st.sampled_from(["shop", "__key__", "job", "x"]), st.text(max_size=5)
                        ),
                        st.integers(),
                    )
                },
            ),
            st.integers(),
            st.lists(st.integers()),
        )
    ),
    suffix=st.sampled_from([".yaml", ".json"]),
)
def test_no_content_raises_and_every_valid_target_is_kept(
    tmp_path: Path, groups: list[Any], suffix: str
) -> None:
    text = json.dumps(groups) if suffix == ".json" else yaml.safe_dump(groups, allow_unicode=True)
    names, errors = read(tmp_path / f"a{suffix}", text.encode("utf-8", "replace"))
    good = [
        target
        for group in groups
        if isinstance(group, dict)
        for target in group["targets"]
        if not RULES.check(
            target,
            {n: v for n, v in group["labels"].items() if n != "__key__"}
            if isinstance(group.get("labels"), dict)
            else group.get("labels") or {},
            group["labels"].get("__key__") if isinstance(group.get("labels"), dict) else None,
        )
    ]
    assert names == good
    wrong = sum(len(group["targets"]) if isinstance(group, dict) else 1 for group in groups)
    assert bool(errors) is (wrong > len(good))


@pytest.mark.fuzz
@fuzzed(100)
@given(content=st.binary(max_size=200), suffix=st.sampled_from([".yaml", ".json"]))
def test_any_bytes_give_jobs_or_an_error_that_names_the_file(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    try:
        _, errors = read(tmp_path / f"a{suffix}", content)
    except ConfigError as error:
        errors = error.errors
    assert all(line.startswith(str(tmp_path)) for line in errors)


def test_globs_find_files_with_their_stamps(folder: Path, tmp_path: Path) -> None:
    (folder / "a.yaml").write_text("[]")
    (folder / "b.json").write_text("[]")
    found = find([folder / "*.yaml", folder / "*"])
    assert [path.name for path in found] == ["a.yaml", "b.json"]
    assert all(found.values())
    assert find([tmp_path / "nowhere" / "*"]) == {}


def test_a_glob_finds_every_file_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for number in range(1500):
        (tmp_path / f"{number}.yaml").touch()
    assert len(find([tmp_path / "*"])) == 1500


async def test_a_pipe_is_an_error_and_nobody_waits_for_its_other_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "jobs.yaml")
    with pytest.raises(ConfigError, match=r"jobs\.yaml: not a regular file"):
        await read_job_file(tmp_path / "jobs.yaml", RULES, LimitedCalls())


async def check_files(site: Site, times: int = 2) -> None:
    for _ in range(times):
        await site.exporter.configured.check()


def names(site: Site) -> set[str]:
    return set(site.exporter.registry.jobs)


QUIET: dict[str, Any] = {
    "upstream": {"base_url": "http://127.0.0.1:9", "rate": 0.001, "burst": 1},
    "job_files": ["jobs.d/*"],
}
"""The upstream does not answer, so no job changes by itself."""


async def test_jobs_follow_files_that_appear_change_and_disappear(
    open_site: Open, folder: Path
) -> None:
    (folder / "one.yaml").write_text("- targets: [a, b]")
    site = await open_site(**QUIET)
    assert names(site) == {"a", "b"}
    assert (await site.job("a"))["source"] == "file"
    (folder / "two.json").write_text('[{"targets": ["b", "c"]}]')
    await check_files(site)
    assert names(site) == {"a", "b", "c"}
    await site.put("c")
    (folder / "one.yaml").write_text("- targets: [d]")
    await check_files(site)
    assert names(site) == {"b", "c", "d"}  # b is in the other file
    (folder / "two.json").unlink()
    await check_files(site, 3)
    assert names(site) == {"b", "c", "d"}  # that a file is absent removes nothing
    assert await site.value('removit_jobs_forgotten_total{reason="file"}') == 1
    assert await site.value("removit_exporter_job_file_errors") == 1
    assert (await site.client.delete("/api/v1/jobs/b")).status == 204
    assert (await site.client.delete("/api/v1/jobs/c")).status == 204
    await check_files(site, 1)
    assert await site.value("removit_exporter_job_file_errors") == 0
    refused = await site.client.delete("/api/v1/jobs/d")
    assert refused.status == 409


async def test_a_half_written_file_removes_no_job(
    open_site: Open, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "one.yaml"
    path.write_text("- targets: [a, b]")
    site = await open_site(**QUIET)
    path.write_text("- targets: [a, c")
    await check_files(site, 4)
    assert names(site) == {"a", "b"}
    assert await site.value("removit_exporter_job_file_errors") == 1
    said = [record for record in caplog.records if "job file has errors" in record.getMessage()]
    assert len(said) == 1
    path.write_text("- targets: [a, c]")
    await check_files(site, 1)
    assert names(site) == {"a", "b"}  # it may still be being written
    await check_files(site, 1)
    assert names(site) == {"a", "c"}
    assert await site.value("removit_exporter_job_file_errors") == 0


async def test_a_job_that_files_stopped_naming_during_a_restart_is_forgotten(
    open_site: Open, folder: Path
) -> None:
    (folder / "one.yaml").write_text("- targets: [a, b]")
    first = await open_site(**QUIET, jobs=["c"])
    await first.put("b")
    await first.client.close()
    (folder / "one.yaml").write_text("- targets: [d")
    second = await open_site(**QUIET, jobs=["c"])
    assert names(second) == {"a", "b", "c"}  # nothing is forgotten while a file is bad
    await second.client.close()
    (folder / "one.yaml").write_text("- targets: [d]")
    third = await open_site(**QUIET)
    assert names(third) == {"b", "d"}
    assert await third.value('removit_jobs_forgotten_total{reason="file"}') == 1  # a
    assert await third.value('removit_jobs_forgotten_total{reason="config"}') == 1  # c


async def test_a_folder_that_is_away_for_a_while_changes_nothing(
    open_site: Open, folder: Path, tmp_path: Path
) -> None:
    (folder / "one.yaml").write_text("- targets: [a, b]")
    first = await open_site(**QUIET)
    folder.rename(tmp_path / "elsewhere")
    await check_files(first, 3)
    assert names(first) == {"a", "b"}
    await first.client.close()
    second = await open_site(**QUIET)
    assert names(second) == {"a", "b"}
    (tmp_path / "elsewhere").rename(folder)
    await check_files(second, 3)
    assert names(second) == {"a", "b"}
    assert await second.value('removit_jobs_registered_total{source="file"}') == 2
    (folder / "one.yaml").write_text("- targets: [a]")
    await check_files(second, 3)
    assert names(second) == {"a"}
    assert (await second.client.delete("/api/v1/jobs/a")).status == 409


async def test_a_job_file_absent_at_a_restart_removes_no_job_and_other_files_do(
    open_site: Open, folder: Path, tmp_path: Path
) -> None:
    (folder / "one.yaml").write_text("- targets: [a, b]")
    (folder / "two.yaml").write_text("- targets: [c]")
    (folder / "three.yaml").write_text("- targets: [d]")
    first = await open_site(**QUIET, jobs=["e"])
    await first.client.close()
    (folder / "one.yaml").rename(tmp_path / "one.yaml")
    (folder / "two.yaml").rename(tmp_path / "two.yaml")
    second = await open_site(**QUIET)
    assert names(second) == {"a", "b", "c", "d"}  # the config can be read, and names e no more
    assert await second.value("removit_exporter_job_file_errors") == 2
    assert (await second.client.delete("/api/v1/jobs/b")).status == 204
    assert (await second.client.delete("/api/v1/jobs/d")).status == 409
    (folder / "three.yaml").write_text("- targets: [f]")
    await check_files(second, 2)
    assert names(second) == {"a", "c", "f"}
    await second.client.close()
    third = await open_site(**QUIET)
    assert names(third) == {"a", "c", "f"}
    (folder / "one.yaml").write_text("- targets: [g]")
    await check_files(third, 2)
    assert names(third) == {"a", "c", "f", "g"}  # two.yaml may name a
    (tmp_path / "two.yaml").rename(folder / "two.yaml")
    await check_files(third, 2)
    assert names(third) == {"c", "f", "g"}
    assert await third.value("removit_exporter_job_file_errors") == 0


async def test_a_file_broken_at_a_restart_removes_a_job_once_it_can_be_read(
    open_site: Open, folder: Path
) -> None:
    (folder / "one.yaml").write_text("- targets: [a, b]")
    first = await open_site(**QUIET)
    await first.client.close()
    (folder / "one.yaml").write_text("- targets: [a")
    second = await open_site(**QUIET)
    assert names(second) == {"a", "b"}
    (folder / "one.yaml").write_text("- targets: [a]")
    await check_files(second, 2)
    assert names(second) == {"a"}


async def test_the_first_start_that_does_not_know_the_former_files_removes_no_job(
    open_site: Open, folder: Path, tmp_path: Path
) -> None:
    (folder / "one.yaml").write_text("- targets: [a]")
    first = await open_site(**QUIET)
    await first.client.close()
    execute(tmp_path / "jobs.db", "DELETE FROM meta WHERE name = 'kept:job_files'")
    (folder / "one.yaml").rename(folder / "two.yaml")
    (folder / "two.yaml").write_text("- targets: [b]")
    second = await open_site(**QUIET)
    assert names(second) == {"a", "b"}


async def test_a_file_that_hangs_holds_up_neither_the_start_nor_other_files(
    open_site: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("hangs", "one"):
        (folder / f"{name}.yaml").write_text(f"- targets: [{name}]")
    released = threading.Event()

    def read(path: Path, limit: int) -> str:
        if path.stem == "hangs":
            released.wait(60)
        return path.read_text()

    monkeypatch.setattr(job_files, "read_text", read)
    monkeypatch.setattr(daemon_threads, "HANG_SECONDS", 0.05)
    site = await open_site(**QUIET)
    assert names(site) == {"one"}
    assert await site.value("removit_exporter_job_file_errors") == 1
    await check_files(site)
    hanging = [one.name for one in threading.enumerate() if one.name.endswith("hangs.yaml")]
    assert len(hanging) == 1
    released.set()

    async def read_again() -> bool:
        await check_files(site)
        return names(site) == {"one", "hangs"}

    await until(read_again)
    assert await site.value("removit_exporter_job_file_errors") == 0


async def test_a_file_with_too_many_targets_is_an_error_before_it_is_parsed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text("- targets:\n" + "    - a\n" * 100_001)
    with pytest.raises(ConfigError, match="more than 100,000 lines or commas; split the file"):
        await read_job_file(path, RULES, LimitedCalls())


async def test_files_that_the_config_no_longer_names_name_no_job(
    open_site: Open, folder: Path
) -> None:
    (folder / "one.yaml").write_text("- targets: [a, b]")
    site = await open_site(**QUIET)
    site.exporter.config.apply(site.exporter.config().model_copy(update={"job_files": []}))
    await check_files(site, 1)
    assert names(site) == set()


async def test_a_conflict_between_files_is_logged_once_and_the_stored_value_stays(
    open_site: Open, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "a.yaml").write_text("- targets: [a, b]\n  labels: {__key__: one}")
    (folder / "b.yaml").write_text("- targets: [a, b]\n  labels: {__key__: two}")
    site = await open_site(**QUIET)
    await check_files(site, 3)
    assert (await site.job("a"))["key"] == "one"
    said = [r for r in caplog.records if "which stay" in r.getMessage()]
    assert len(said) == 1
    assert await site.value(REFUSED.format("conflict")) == 2


async def test_a_job_that_a_file_names_cannot_be_deleted_over_http(
    open_site: Open, folder: Path
) -> None:
    (folder / "a.yaml").write_text("- targets: [a]")
    site = await open_site(**QUIET)
    async with site.client.delete("/api/v1/jobs/a") as response:
        assert response.status == 409
        assert "in the config or in a job file" in (await response.json())["message"]
    assert names(site) == {"a"}


async def test_jobs_above_max_pending_are_registered_once_there_is_room(
    open_site: Open, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "a.yaml").write_text("- targets: [b, c]\n- targets: [a]\n  labels: {__key__: other}")
    site = await open_site(
        **QUIET, jobs=[{"job_id": "a", "key": "k"}], registration={"max_pending": 2}
    )
    assert names(site) == {"a", "b"}
    await check_files(site, 3)
    assert await site.value(REFUSED.format("full")) == 2  # tried again, but counted once
    assert caplog.text.count("registration.max_pending reached") == 1
    site.change_config("registration", max_pending=3)
    await check_files(site)
    assert names(site) == {"a", "b", "c"}
    assert await site.value(REFUSED.format("conflict")) == 1
    assert caplog.text.count("differ from the stored ones") == 1


async def test_new_label_rules_make_the_files_be_read_again(
    open_site: Open, write_config: Any, folder: Path
) -> None:
    (folder / "a.yaml").write_text("- targets: [a]\n  labels: {shop: eu}")
    site = await open_site(config_file=write_config(**QUIET))
    assert names(site) == set()
    write_config(**QUIET, registration={"allowed_labels": ["shop"]})
    async with site.client.post("/-/reload") as response:
        assert response.status == 200
    assert names(site) == {"a"}
    assert await site.value("removit_exporter_job_file_errors") == 0
