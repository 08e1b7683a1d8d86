"""The config's reference, made from its types: a page for people and a JSON Schema for editors.

python -m exporter.config.reference page    # docs/configuration.md
python -m exporter.config.reference schema  # docs/config.schema.json
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from .config import Config
from .durations import write_duration
from .live import NEEDS_RESTART
from .values import write_codes

_HEAD: Final = """\
# Configuration

Generated from `sections.py`, `registration.py` and `config.py` in `exporter/config/` by
`make docs`; a test checks that. [`config.example.yaml`](../config.example.yaml) shows every
key with its default, and [`config.schema.json`](config.schema.json) lets an editor check it.

Durations are written as in Prometheus (`500ms`, `30s`, `5m`, `1h30m`, `1d`), sizes as `1MiB`.
Relative paths are relative to the config file. An unknown key is an error. Flags
(`--web.listen-address`, `--storage.path`, …) take precedence over the file.

`removit-exporter check-config` reports all errors at once, each with file and line. The file is
reloaded on `SIGHUP`, on `POST /-/reload`, or when it changes; if it has any error, nothing changes.
Keys marked with ⟳ take effect only after a restart.
"""


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the file."""
    made = Config.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "removit-exporter"
    jobs = made["properties"]["jobs"]
    jobs["items"] = {"anyOf": [{"type": "string"}, jobs["items"]]}
    _write_defaults(made, Config, made["$defs"])
    return made


def page() -> str:
    """Return the reference for people, in Markdown."""
    return _HEAD + "".join(_sections(Config(), ()))


def _sections(model: BaseModel, path: tuple[str, ...]) -> Iterator[str]:
    rows = []
    inner = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            inner.append((name, value, field.description))
            continue
        key = ".".join((*path, name))
        mark = " ⟳" if key in NEEDS_RESTART or (path and path[0] in NEEDS_RESTART) else ""
        form = _form(type(model).model_json_schema()["properties"][name])
        meaning = field.description
        rows.append(f"| `{name}`{mark} | {form} | {_default(value, form)} | {meaning} |\n")
    if rows:
        if path:
            yield f"\n## `{'.'.join(path)}`\n"
        yield "\n| key | form | default | meaning |\n| --- | --- | --- | --- |\n"
        yield from rows
    for name, value, description in inner:
        made = list(_sections(value, (*path, name)))
        yield made[0]
        if made[0].startswith("\n## "):
            yield f"\n{description}\n"
        yield from made[1:]


def _form(schema: Mapping[str, Any]) -> str:
    """Return the name of a value's form."""
    if "anyOf" in schema:
        return _form(schema["anyOf"][0])
    if schema.get("title") == "codes":
        return "list of codes"
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return "list" if "enum" in items or "$ref" in items else f"list of {_form(items)}"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    named = {"duration", "size", "URL", "address", "path", "label name"}
    if schema.get("title") in named or "pattern" in schema:
        return str(schema["title"])
    forms = {
        "integer": "whole number",
        "boolean": "true or false",
        "object": "mapping",
        "string": "text",
    }
    return forms.get(str(schema.get("type")), "number")


def _default(value: Any, form: str) -> str:
    if value is None:
        return "none"
    return f"`{json.dumps(_written(value, form), ensure_ascii=False)}`".replace('`"', "`").replace(
        '"`', "`"
    )


def _written(value: Any, form: str) -> Any:
    """Return a default as in a config file."""
    if isinstance(value, frozenset):
        return write_codes(value)
    if isinstance(value, list):
        return [_written(item, form.removeprefix("list of ")) for item in value]
    if form == "duration":
        return write_duration(value)
    if form == "size" and value % 1024**2 == 0:
        return f"{value // 1024**2}MiB"
    return str(value) if isinstance(value, Path) else value


def _write_defaults(node: dict[str, Any], model: type[BaseModel], defs: Mapping[str, Any]) -> None:
    """Write defaults as in a config file, and remove bounds, which are in seconds."""
    for name, field in model.model_fields.items():
        shown = node["properties"][name]
        for part in (shown, shown.get("items", {}), *shown.get("anyOf", ())):
            if part.get("type") == "string":
                for bound in ("minimum", "maximum", "exclusiveMinimum"):
                    part.pop(bound, None)
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            shown.pop("default", None)
            _write_defaults(defs[annotation.__name__], annotation, defs)
        elif "default" in shown:
            shown["default"] = _written(field.default, _form(shown))


def main(arguments: list[str]) -> None:
    """Print the page or the schema."""
    if arguments == ["schema"]:
        sys.stdout.write(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
    elif arguments == ["page"]:
        sys.stdout.write(page())
    else:
        sys.exit("usage: python -m exporter.config.reference page|schema")


if __name__ == "__main__":
    main(sys.argv[1:])
