"""Job files: finding the files that the globs match, and reading the jobs that one names.

A job file has the format of Prometheus's `file_sd`: a list of groups in YAML or JSON. `targets`
are job ids, `labels` apply to all of them, and the label `__key__` is the key. (Prometheus,
"Configuration", `<file_sd_config>`.)
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from ..config import ConfigError
from ..config.document import MAX_FILE_BYTES, Document, read_document
from ..config.files import FileError, Stamp, read_stamp, read_text
from ..config.registration import RegistrationRules
from ..daemon_threads import LimitedCalls, call_in_daemon
from ..registry.staging import Registration

KEY_LABEL: Final = "__key__"
MAX_ITEMS: Final = 100_000
"""The most lines, and the most commas, in a file: about the most targets."""
TARGETS_PER_STEP: Final = 250
"""After this many targets other tasks run."""

_YAML_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class JobFile:
    """The content of a file: the jobs of its valid targets, and one line for each error."""

    registrations: list[Registration] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


Found = Mapping[Path, Stamp | None]
"""Files with their stamps; a stamp is None where access is denied."""


def find(patterns: Sequence[Path]) -> Found:
    """Return the files that the globs match; folders do not count."""
    found: dict[Path, Stamp | None] = {}
    for pattern in patterns:
        pattern = pattern.absolute()
        root = Path(pattern.anchor)
        for path in sorted(root.glob(str(pattern.relative_to(root)))):
            try:
                if path.is_dir():  # such as Kubernetes's ..data
                    continue
                found[path] = read_stamp(path)
            except FileNotFoundError:  # deleted since the glob was expanded
                continue
            except OSError:
                found[path] = None
    return found


async def read_job_file(path: Path, rules: RegistrationRules, calls: LimitedCalls) -> JobFile:
    """Read a job file; raises `ConfigError` if none of it can be read, and `HangingError`."""
    text = await calls.call(lambda: _text(path), f"reading {path}")
    document = await call_in_daemon(lambda: _load(path, text), f"parse {path}")
    content = JobFile()
    for at, registration in enumerate(_targets(document, rules), 1):
        if registration is not None:
            content.registrations.append(registration)
        if at % TARGETS_PER_STEP == 0:
            await asyncio.sleep(0)
    content.errors = document.messages()
    return content


def _text(path: Path) -> str:
    try:
        text = read_text(path, MAX_FILE_BYTES)
    except FileError as error:
        raise ConfigError([str(error)]) from None
    # Parsed, each takes hundreds of bytes.
    if max(text.count("\n"), text.count(",")) > MAX_ITEMS:
        raise ConfigError([f"{path}: more than {MAX_ITEMS:,} lines or commas; split the file"])
    return text


def _load(path: Path, text: str) -> Document:
    if path.suffix == ".json":
        return _load_json(text, str(path))
    return read_document(text, str(path), loader=_YAML_LOADER, expected=list)


def _load_json(text: str, name: str) -> Document:
    """Read JSON with the fast parser. It gives no lines, so errors name a place by its path."""
    try:
        return Document(name, json.loads(text))
    except json.JSONDecodeError as error:
        raise ConfigError([f"{name}:{error.lineno}: not JSON: {error.msg}"]) from None
    except (RecursionError, ValueError):
        message = "the JSON cannot be read: it is nested too deeply or a number is too long"
        raise ConfigError([f"{name}: {message}"]) from None


def _targets(document: Document, rules: RegistrationRules) -> Iterator[Registration | None]:
    """Yield the registration of each target; None for an invalid one, which becomes an error."""
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
        labels, key = _split_labels(group.get("labels") or {})
        for index, job_id in enumerate(group["targets"]):
            details = rules.check(job_id, labels, key)
            _note_errors(document, (at, index), details)
            yield None if details else Registration(job_id, labels, key)


def _split_labels(labels: Any) -> tuple[Any, Any]:
    """Return the labels without the key, and the key."""
    if not isinstance(labels, dict):
        return labels, None
    return {name: labels[name] for name in labels if name != KEY_LABEL}, labels.get(KEY_LABEL)


def _note_errors(document: Document, place: tuple[int, int], details: dict[str, list[str]]) -> None:
    """Note what is wrong with a target where the file has it: at the target or at its group."""
    at, index = place
    for name, texts in details.items():
        if name == "job_id":
            path: tuple[str | int, ...] = ("targets", index)
        else:
            path = ("labels", KEY_LABEL) if name == "key" else tuple(name.split(".", 1))
        document.error((at, *path), "; ".join(texts))
