"""The release's checklist, as far as it releases nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from release import checklist, distribution
from release.distribution import ROOT, StepError


def test_the_steps_are_listed_and_none_is_done(tmp_path: Path) -> None:
    script = ROOT / "deploy" / "release" / "checklist.py"
    listed = distribution.call(sys.executable, script, "--list", cwd=tmp_path)
    assert [line.split(":")[0] for line in listed.splitlines()] == [
        "tree",
        "changelog",
        "tests",
        "packages",
        "image",
        "sums",
    ]


def test_a_step_that_fails_ends_the_release() -> None:
    def fails() -> None:
        raise StepError("the reason")

    with pytest.raises(SystemExit, match="1"):
        checklist._do(fails, "fails: a step")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "## [Unreleased]\n\n## [1.2.0] - 2026-01-02\n",
        "## [1.2.0]\n",
        "## [1.2.1] - 2026-01-02\n",
    ],
)
def test_a_changelog_without_this_version_on_top_is_refused(text: str) -> None:
    with pytest.raises(StepError, match=r"not with \[1.2.0\] - DATE; name"):
        checklist.check_changelog(text, "1.2.0")


def test_a_changelog_with_this_version_on_top_is_accepted() -> None:
    checklist.check_changelog("# Changelog\n\n## [1.2.0] - 2026-01-02\n", "1.2.0")


def test_uncommitted_changes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / "new").write_text("")
    monkeypatch.setattr(checklist, "ROOT", tmp_path)
    with pytest.raises(StepError, match=r"commit or remove these first:\n\?\? new"):
        checklist.tree()


def test_the_sums_are_those_that_sha256sum_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.whl").write_text("content")
    monkeypatch.setattr(checklist, "DIST", tmp_path)
    checklist.sums()
    distribution.call("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=tmp_path)
