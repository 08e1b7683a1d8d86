"""The reference of the config: its page, its schema, and the estimate."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prometheus_client import generate_latest
from pydantic import BaseModel
from simulated_time import SimulatedUpstream, exporting, pass_time, simulate, tell

from exporter.commands.estimate import estimate
from exporter.config import Config
from exporter.config.loading import parse_config
from exporter.config.reference import main, page, schema
from exporter.metrics.catalogue import Part
from exporter.simulator.script import Script
from exporter.storage.memory import MemoryStore

ROOT = Path(__file__).parent.parent.parent
PAGE = page()
EXAMPLE = (ROOT / "config.example.yaml").read_text()


def fields(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        yield f"{path}{name}", field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{path}{name}.")


@pytest.mark.parametrize("name", [name for name, _ in fields(Config)])
def test_every_key_is_explained_in_the_reference(name: str) -> None:
    field = dict(fields(Config))[name]
    assert field.description
    assert field.description in PAGE
    assert f"`{name.rpartition('.')[2]}`" in PAGE or f"`{name}`" in PAGE


def test_the_generated_pages_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    for what, path in (("page", "configuration.md"), ("schema", "config.schema.json")):
        main([what])
        assert capsys.readouterr().out == (ROOT / "docs" / path).read_text()
    with pytest.raises(SystemExit):
        main([])


def test_the_schema_admits_the_example_and_has_the_codes_defaults() -> None:
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    jsonschema.validate(yaml.safe_load(EXAMPLE), made)
    assert EXAMPLE.startswith("# yaml-language-server: $schema=docs/config.schema.json\n")

    def defaults(node: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for name, shown in node["properties"].items():
            if "$ref" in shown:
                inner = defaults(made["$defs"][shown["$ref"].rpartition("/")[2]])
                found[name] = inner
            elif shown.get("default") is not None:
                found[name] = shown["default"]
        return found

    text = yaml.safe_dump(defaults(made))
    assert parse_config(text, directory=Path(), environ={"REMOVIT_API_KEY": "k"}) == Config()


@pytest.mark.parametrize(
    "text",
    [
        "polling: {min_interval: soon}",
        "nonsense: 1",
        "upstream: {rate: fast}",
        "jobs: [{labels: {}}]",
        "log: {level: loud}",
        "registration: {allowed_labels: [a-b]}",
        "web: {listen_address: nowhere}",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema())


def make(text: str = "") -> Config:
    return parse_config(text, directory=Path(), environ={"REMOVIT_API_KEY": "k"})


def test_series_that_the_config_excludes_cost_nothing() -> None:
    usual = estimate(make(), 10_000, 120)
    assert usual.left_out_jobs == 0
    assert "new series a day" in usual.text()
    none = estimate(make("metrics: {per_job: {enabled: false}}"), 10_000, 120)
    assert (none.shown_jobs, none.new_series_per_day) == (0, 0)
    capped = estimate(make("metrics: {per_job: {max_jobs: 10}}"), 10_000, 120)
    assert capped.shown_jobs == 10
    assert capped.left_out_jobs == pytest.approx(usual.shown_jobs - 10)
    assert capped.new_series_per_day < usual.new_series_per_day
    old = estimate(make("metrics: {per_job: {after: 1h}}"), 10_000, 120)
    assert old.shown_jobs < usual.shown_jobs
    grouped = make("registration: {allowed_labels: [shop]}\nmetrics: {group_labels: [shop]}")
    assert estimate(grouped, 10_000, 120).series_per_group > 20
    assert "group labels" in estimate(grouped, 10_000, 120).text()


def test_the_estimate_equals_the_cost_of_a_real_day(tmp_path: Path) -> None:
    a_day, seconds = 3000, 200.0
    said = estimate(make(), a_day, seconds)

    async def hour_and_more() -> None:
        upstream, rng = SimulatedUpstream(), random.Random(3)
        names: set[str] = set()
        sizes: list[tuple[int, int]] = []
        async with exporting(upstream, MemoryStore(), tmp_path) as exporter:
            page = exporter.context.exposition.page
            interval = 86400 / a_day
            for at in range(int(4500 / interval)):
                length = seconds * rng.uniform(0.8, 1.2)
                await tell(exporter, upstream.add(f"{at:036}", Script.sound(length, "params")))
                await pass_time(interval)
                if at * interval >= 900:
                    text = page(generate_latest, (Part.JOBS,)).read().decode()
                    lines = [line for line in text.splitlines() if not line.startswith("#")]
                    whole = page(generate_latest).read()
                    sizes.append((len(lines), len(whole)))
                    names.update(line.rpartition(" ")[0] for line in lines)
        series = sum(size for size, _ in sizes) / len(sizes)
        length_ = sum(size for _, size in sizes) / len(sizes)
        assert series == pytest.approx(said.job_series, rel=0.1)
        assert length_ == pytest.approx(said.bytes_per_scrape, rel=0.2)
        # Those of an hour, and those that existed at its start.
        assert len(names) == pytest.approx(said.new_series_per_day / 24 + series, rel=0.2)

    simulate(hour_and_more)


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["schema"])
    assert json.loads(capsys.readouterr().out)["title"] == "removit-exporter"
