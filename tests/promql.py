"""Reads PromQL, as far as tests ask which metrics and labels an expression names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from exporter.alerting.thresholds import load_thresholds
from exporter.metrics.catalogue import FAMILIES, Family, Kind

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_DURATION = re.compile(r"\b(?:\d+(?:ms|[smhdwy]))+\b|\$__\w+")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_NAME = re.compile(r"[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])")
_KEYWORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan"}
_PARTS = {"_bucket": {"le"}, "_sum": set[str](), "_count": set[str]()}

GENERAL = {"instance", *load_thresholds().identity_labels}
"""Labels that Prometheus or the exporter puts on every series."""


@dataclass
class Named:
    """The names in an expression: metrics with the labels of their selectors, and groupings."""

    metrics: dict[str, set[str]] = field(default_factory=dict)
    groupings: set[str] = field(default_factory=set)


def read(expression: str) -> Named:
    named = Named()
    text = _DURATION.sub(" ", _TEXT.sub('""', expression))
    for labels in _GROUPING.findall(text):
        named.groupings |= {name.strip() for name in labels.split(",") if name.strip()}
    text = _GROUPING.sub(" ", text)
    for name, matchers in _SELECTOR.findall(text):
        labels = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)
        named.metrics.setdefault(name, set()).update(labels)
    for name in _NAME.findall(_SELECTOR.sub(" ", text)):
        if name not in _KEYWORDS:
            named.metrics.setdefault(name, set())
    return named


def family_of(metric: str) -> Family | None:
    """The catalogue's family of a metric, None where it has none."""
    if metric in FAMILIES and FAMILIES[metric].kind is not Kind.HISTOGRAM:
        return FAMILIES[metric]
    for suffix in _PARTS:
        family = FAMILIES.get(metric.removesuffix(suffix))
        if metric.endswith(suffix) and family is not None and family.kind is Kind.HISTOGRAM:
            return family
    return None


def strangers(expression: str, recorded: Iterable[str] = (), more: Iterable[str] = ()) -> set[str]:
    """Metrics and labels that neither the catalogue nor `recorded` and `more` have."""
    named, unknown = read(expression), set[str]()
    known = GENERAL | {"le", *more}
    for metric, labels in named.metrics.items():
        family = family_of(metric)
        if family is None:
            if metric not in recorded:
                unknown.add(metric)
            continue
        own = {*family.labels, *known}
        unknown |= {f"{metric}{{{label}}}" for label in labels - own}
    every = {label for family in FAMILIES.values() for label in family.labels}
    return unknown | (named.groupings - every - known)
