"""`thresholds.yml` as types: the numbers of the alerts. The values are only in the file."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..config import ConfigError
from ..config.document import Document, read_document
from ..config.values import Duration, HttpUrl

SHIPPED: Final = Path(__file__).parent / "thresholds.yml"

Label = Annotated[str, Field(pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")]
Number = Annotated[float, Field(gt=0)]
NEEDED_IDENTITY: Final = ("namespace", "job", "upstream", "drill", "drill_page")
"""The shipped inhibitions use the first three labels, and the shipped routing the others."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Alert(_Part):
    """One alert's values; those that it does not use are None. Times are in seconds."""

    severity: Literal["critical", "warning", "info"]
    for_: Annotated[Duration, Field(alias="for")]
    keep_firing_for: Duration = 0.0
    window: Duration = 0.0
    at_least: Number = 0.0
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    seconds: Number = 0.0
    times: Number = 0.0
    rise: Annotated[float, Field(ge=0, le=1)] = 0.0


class FailureBudget(_Part):
    """The share of jobs that should end well, and how fast the rest may be used up."""

    objective: Annotated[float, Field(gt=0, lt=1)]
    at_least: Number
    burn_rate_1h: Number
    burn_rate_6h: Number
    burn_rate_1d: Number
    burn_rate_3d: Number


class Alerts(_Part):
    """Every alert's values, by its key in the file."""

    jobs_stalled: Alert
    jobs_overdue: Alert
    failure_budget_fast: Alert
    failure_budget_slow: Alert
    done_without_result: Alert
    credits_exhausted: Alert
    upload_errors: Alert
    upstream_down: Alert
    key_rejected: Alert
    upstream_blocked: Alert
    upstream_suspect: Alert
    jobs_turning_bad: Alert
    status_latency: Alert
    throttled: Alert
    poll_demand: Alert
    jobs_suspected: Alert
    verdicts_overturned: Alert
    jobs_not_found: Alert
    ignored_variations: Alert
    variation_warnings: Alert
    unresolved_failures: Alert
    jobs_undecided: Alert
    contract_drift: Alert
    nothing_finished: Alert
    nothing_registered: Alert
    exporter_down: Alert
    exporter_lagging: Alert
    store_not_writable: Alert
    series_left_out: Alert
    config_reload_failed: Alert
    job_file_errors: Alert


class Thresholds(_Part):
    """The whole file."""

    runbook_base_url: HttpUrl
    dashboard_base_url: HttpUrl
    identity_labels: list[Label]
    interval: Duration
    long_interval: Annotated[Duration, Field(lt=300)]
    failure_budget: FailureBudget
    alerts: Alerts


def load_thresholds(path: Path = SHIPPED) -> Thresholds:
    """Read a file of thresholds; raises `ConfigError` with all errors, by line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from None
    document = read_document(text, str(path))
    thresholds = None
    try:
        thresholds = Thresholds.model_validate(document.data)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            of_key = problem["type"] == "extra_forbidden"
            message = "unknown key" if of_key else problem["msg"].removeprefix("Value error, ")
            document.error(problem["loc"], message, of_key=of_key)
    if thresholds is not None:
        _check_identity(thresholds, document)
    document.raise_errors()
    assert thresholds is not None  # noqa: S101 - else its errors were raised
    return thresholds


def _check_identity(thresholds: Thresholds, document: Document) -> None:
    missing = [name for name in NEEDED_IDENTITY if name not in thresholds.identity_labels]
    if missing:
        document.error(("identity_labels",), f"{', '.join(missing)} must be among them")
    if "job_id" in thresholds.identity_labels:
        document.error(("identity_labels",), "job_id would make an alert of every job")
