"""The table of all rules, and the files that Prometheus loads."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import yaml

from .alert import Alert, Block
from .delivery_alerts import delivery_alerts
from .exporter_alerts import exporter_alerts
from .job_alerts import job_alerts
from .promql import Promql
from .recording import recordings
from .upstream_alerts import upstream_alerts

HEADER: Final = (
    "# Made by `removit-exporter rules` from a file of thresholds; change that file instead.\n"
)

RECORDING_FILE: Final = "removit-recording.yml"
ALERTS_FILE: Final = "removit-alerts.yml"
OFF_BY_DEFAULT_FILE: Final = "optional/removit-nothing-registered.yml"
"""In a folder of its own, so that `rules/*.yml` does not load it."""


def alerts(ql: Promql) -> list[Alert]:
    """Return every alert there is."""
    return [*upstream_alerts(ql), *job_alerts(ql), *delivery_alerts(ql), *exporter_alerts(ql)]


def rule_files(ql: Promql) -> Mapping[str, str]:
    """Return the text of each file by its name."""
    table = {
        ALERTS_FILE: _alert_groups(ql, [alert for alert in alerts(ql) if not alert.off_by_default]),
        OFF_BY_DEFAULT_FILE: _alert_groups(ql, [one for one in alerts(ql) if one.off_by_default]),
        RECORDING_FILE: _recording_groups(ql),
    }
    return {name: write(groups) for name, groups in table.items()}


def drill_rules(ql: Promql) -> str:
    """Return all rules as one file, also those that are off by default."""
    return write([*_recording_groups(ql), *_alert_groups(ql, alerts(ql))])


def _recording_groups(ql: Promql) -> list[Mapping[str, Any]]:
    short, long = (
        [
            {"record": rule.record, "expr": Block(rule.expr)}
            for rule in recordings(ql)
            if rule.long is long
        ]
        for long in (False, True)
    )
    values = ql.thresholds
    return [
        _group(ql, "removit-recording", values.interval, short),
        _group(ql, "removit-recording-long", values.long_interval, long),
    ]


def _alert_groups(ql: Promql, table: Iterable[Alert]) -> list[Mapping[str, Any]]:
    rules = [alert.rule(ql) for alert in table]
    return [_group(ql, "removit-alerts", ql.thresholds.interval, rules)]


def _group(
    ql: Promql, name: str, interval: float, rules: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    return {"name": name, "interval": ql.span(interval), "rules": rules}


def write(groups: Sequence[Mapping[str, Any]]) -> str:
    """Return a rule file, with expressions as blocks."""
    document = {"groups": list(groups)}
    return HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes blocks unchanged."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never write an anchor."""
        return True


def _block(dumper: _Dumper, text: Block) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")


_Dumper.add_representer(Block, _block)
