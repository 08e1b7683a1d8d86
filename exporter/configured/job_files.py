"""Files that name jobs, in the form of Prometheus's `file_sd`: reading them, and seeing changes.

Each is a list of groups in YAML or JSON: `targets` are job ids, `labels` go with all of them, and
the label `__key__` is the key. (Prometheus, "Configuration", `<file_sd_config>`.)
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import yaml

from ..config import ConfigError
from ..config.document import MAX_FILE_BYTES, Document, read_document
from ..registry.staging import Registration

KEY_LABEL: Final = "__key__"
MAX_FILES: Final = 1000
TARGETS_PER_STEP: Final = 250
"""So many are checked before others have their turn on the loop."""

Stamp = tuple[int, int, int]
"""Inode, size and mtime: what tells one content from the next."""

_YAML_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class TargetRules(Protocol):
    """The config's `registration`."""

    def check(self, job_id: object, labels: object, key: object) -> Mapping[str, Sequence[str]]:
        """Say what is wrong with a job to register, by field."""
        ...


@dataclass(slots=True)
class JobFile:
    """What one file names, and what is wrong with it, a line each; good targets count anyhow."""

    registrations: list[Registration] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def find(patterns: Sequence[Path]) -> dict[Path, Stamp | None]:
    """Return the files that the globs match; None for one that cannot be looked at."""
    found: dict[Path, Stamp | None] = {}
    for pattern in patterns:
        pattern = pattern.absolute()
        beneath = Path(pattern.anchor)
        for path in sorted(beneath.glob(str(pattern.relative_to(beneath))))[:MAX_FILES]:
            try:
                status = path.stat()
                found[path] = (status.st_ino, status.st_size, status.st_mtime_ns)
            except FileNotFoundError:  # gone between two calls
                continue
            except OSError:
                found[path] = None
    return found


async def read_job_file(path: Path, rules: TargetRules) -> JobFile:
    """Read a file; raises `ConfigError` when it cannot be read at all."""
    document = await asyncio.to_thread(_load, path)
    content = JobFile()
    for at, read in enumerate(_targets(document, rules)):
        if isinstance(read, Registration):
            content.registrations.append(read)
        if at % TARGETS_PER_STEP == TARGETS_PER_STEP - 1:
            await asyncio.sleep(0)
    content.errors = document.messages()
    return content


def _load(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError([f"{path}: longer than {MAX_FILE_BYTES} bytes"])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: not UTF-8"]) from None
    if path.suffix == ".json":
        return _load_json(text, str(path))
    return read_document(text, str(path), loader=_YAML_LOADER, expected=list)


def _load_json(text: str, name: str) -> Document:
    """JSON has a reader in C of its own; it gives no lines, so a place is named by its path."""
    try:
        return Document(name, json.loads(text))
    except json.JSONDecodeError as error:
        raise ConfigError([f"{name}:{error.lineno}: not JSON: {error.msg}"]) from None
    except (RecursionError, ValueError):
        raise ConfigError([f"{name}: not JSON that can be read: too deep or too long"]) from None


def _targets(document: Document, rules: TargetRules) -> Iterator[Registration | None]:
    """Yield each target; None for one that is wrong, which the document then says."""
    groups = document.data
    if not isinstance(groups, list):
        document.error((), 'expected a list of groups such as [{"targets": ["…"]}]')
        return
    for at, group in enumerate(groups):
        if not isinstance(group, dict) or not isinstance(group.get("targets"), list):
            document.error((at,), 'expected a group such as {"targets": ["…"], "labels": {}}')
            continue
        for name in group.keys() - {"targets", "labels"}:
            document.error((at, name), "unknown key; known here: targets, labels", of_key=True)
        labels, key = _labels(group.get("labels") or {})
        for index, job_id in enumerate(group["targets"]):
            yield _target(document, (at, index), rules, job_id, labels, key)


def _labels(labels: Any) -> tuple[Any, Any]:
    """Part the key from the labels."""
    if not isinstance(labels, dict):
        return labels, None
    return {name: labels[name] for name in labels if name != KEY_LABEL}, labels.get(KEY_LABEL)


def _target(
    document: Document,
    place: tuple[int, int],
    rules: TargetRules,
    job_id: Any,
    labels: Any,
    key: Any,
) -> Registration | None:
    details = rules.check(job_id, labels, key)
    at, index = place
    for name, texts in details.items():
        if name == "job_id":
            document.error((at, "targets", index), "; ".join(texts))
        else:
            path = ("labels", KEY_LABEL) if name == "key" else tuple(name.split(".", 1))
            document.error((at, *path), "; ".join(texts))
    return None if details else Registration(job_id, labels, key)
