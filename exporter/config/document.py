"""Reads YAML into plain data, with the line of each key and value."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
MAX_DEPTH: Final = 20
MAX_NUMBER_CHARS: Final = 100
"""YAML reads `1:59:59` as a number to the base 60; one of a megabyte takes minutes."""
MAX_ERRORS: Final = 100
"""The errors that are shown: each is also a part of a log line."""
MAX_ERROR_CHARS: Final = 1000
MAX_KEY_CHARS: Final = 100
"""The characters of a key that an error shows."""

_STANDARD_TAG: Final = "tag:yaml.org,2002:"

Path = tuple[str | int, ...]


class ConfigError(Exception):
    """The errors of a config, one line each: `config.yaml:12: polling.rate: expected …`."""

    def __init__(self, errors: list[str]) -> None:
        self.errors = [_cut(error, MAX_ERROR_CHARS) for error in errors[:MAX_ERRORS]]
        if len(errors) > MAX_ERRORS:
            self.errors.append(f"{len(errors) - MAX_ERRORS} further errors are not shown")
        super().__init__("\n".join(self.errors))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


@dataclass(slots=True)
class Document:
    """A file's data, and the line (counted from 1) of each value and key."""

    name: str
    data: Any = None
    value_lines: dict[Path, int] = field(default_factory=dict)
    key_lines: dict[Path, int] = field(default_factory=dict)
    flags: dict[Path, str] = field(default_factory=dict)
    """The flags of the command line that gave a value in place of the file."""
    errors: list[tuple[int, str]] = field(default_factory=list)
    """The line of each error and its text. Line 0 is the command line."""

    def line(self, path: Path, *, of_key: bool = False) -> int:
        """Return the line of a value or key; for a missing one, the line of its mapping or list."""
        lines = self.key_lines if of_key else self.value_lines
        while path and path not in lines:
            path = path[:-1]
        return lines.get(path, 1)

    def error(self, path: Path, message: str, *, of_key: bool = False) -> None:
        """Note an error at a place."""
        if flag := self.flags.get(path):
            self.errors.append((0, f"{flag}: {message}"))
            return
        self.errors.append((self.line(path, of_key=of_key), _placed(path, message)))

    def messages(self) -> list[str]:
        """Return the errors, one line each, in the order of their lines."""
        lines = sorted(dict.fromkeys(self.errors), key=lambda error: error[0])
        return [f"{self.name}:{line}: {text}" if line else text for line, text in lines]

    def raise_errors(self) -> None:
        """Raise `ConfigError` if there are errors."""
        if self.errors:
            raise ConfigError(self.messages())


def _placed(path: Path, message: str) -> str:
    """Return a message with the dotted key that it refers to."""
    keys = ".".join(_cut(str(key), MAX_KEY_CHARS) for key in path)
    return f"{keys}: {message}" if path else message


def read_document(
    text: str, name: str, *, loader: Any = yaml.SafeLoader, expected: type = dict
) -> Document:
    """Read YAML; raises `ConfigError`, also for aliases, duplicate keys and deep nesting.

    `loader` may be the faster one in C, whose messages differ slightly.
    """
    document = Document(name)
    try:
        for event in _checked_events(text, loader):
            document.errors.append((event[0], event[1]))
        document.raise_errors()
        node = yaml.compose(text, Loader=loader)
        if node is not None:
            document.data = _build(node, (), document)
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_not_yaml(name, error)]) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        reason = getattr(error, "reason", str(error))
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 1
        raise ConfigError([f"{name}:{line}: not YAML: {reason}"]) from None
    if document.data is None:
        document.data = expected()
    if expected is dict and not isinstance(document.data, dict):
        document.error((), "expected a mapping of sections such as `upstream:`")
    document.raise_errors()
    return document


def _not_yaml(name: str, error: yaml.MarkedYAMLError) -> str:
    """Return PyYAML's words, with the place where it stopped and the usual cause."""
    mark = error.problem_mark or error.context_mark
    context = error.context
    if context and error.context_mark and mark and error.context_mark.line != mark.line:
        context += f" (from line {error.context_mark.line + 1} on)"
    problem = " ".join(filter(None, (context, error.problem)))
    hint = next((hint for text, hint in _HINTS.items() if text in problem), "")
    return f"{name}:{mark.line + 1 if mark else 1}: not YAML: {problem}{hint}"


_HINTS: Final[Mapping[str, str]] = {
    "'\\t'": "; indent with spaces: YAML takes no tabs",
    "mapping values are not allowed": "; a line above may lack its colon, or a text its quotes",
    "expected <block end>": "; is each key of the section indented alike?",
    "scanning a quoted scalar": "; a closing quote is missing",
}
"""The usual cause of an error, by a part of PyYAML's words."""


def _checked_events(text: str, loader: Any) -> Iterator[tuple[int, str]]:
    """Yield errors for content that would be costly or ambiguous to build."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            yield line, "aliases (`*name`) are not read; write the value out"
            return
        tag = getattr(event, "tag", None)
        if tag is not None and not tag.startswith(_STANDARD_TAG):
            yield line, f"tags are not read: {tag[:80]}"
            return
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            yield line, f"nested deeper than {MAX_DEPTH} levels"
            return


def _build(node: yaml.Node, path: Path, document: Document) -> Any:
    document.value_lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, at), document) for at, item in enumerate(node.value)]
    try:
        return _scalar(node)
    except (yaml.YAMLError, ValueError, OverflowError, KeyError):
        document.error(path, f"cannot be read: {str(node.value)[:80]!r}")
        return None


def _build_mapping(node: yaml.MappingNode, path: Path, document: Document) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            document.errors.append((line, _placed(path, "expected a name as key")))
            continue
        key = str(key_node.value)
        place = (*path, key)
        if place in document.key_lines:
            first = document.key_lines[place]
            document.errors.append((line, _placed(place, f"given twice, first on line {first}")))
            continue
        document.key_lines[place] = line
        data[key] = _build(value_node, place, document)
    return data


_CONSTRUCTOR: Final = yaml.constructor.SafeConstructor()
_CONSTRUCT: Final[dict[str, Callable[[Any], Any]]] = {
    "tag:yaml.org,2002:null": _CONSTRUCTOR.construct_yaml_null,
    "tag:yaml.org,2002:bool": _CONSTRUCTOR.construct_yaml_bool,
    "tag:yaml.org,2002:int": _CONSTRUCTOR.construct_yaml_int,
    "tag:yaml.org,2002:float": _CONSTRUCTOR.construct_yaml_float,
}


def _scalar(node: yaml.Node) -> Any:
    """Return a plain scalar. Other tags, such as dates, stay text."""
    construct = _CONSTRUCT.get(node.tag)
    if construct is None:
        return str(node.value)
    if len(node.value) > MAX_NUMBER_CHARS:
        raise ValueError("not a number that anything here could be")
    return construct(node)
