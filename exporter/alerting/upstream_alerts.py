"""Alerts about the upstream: it does not answer, rejects the key, or has no credits left."""

from .alert import UPSTREAM_TROUBLE, Alert
from .job_alerts import COUNT, UPSTREAM
from .promql import Promql

REQUESTS = "removit_upstream_requests_total"


def upstream_alerts(ql: Promql) -> list[Alert]:
    """Return the alerts about the upstream."""
    return [*_states(ql), *_uploads(ql), *_answers(ql)]


def _state(ql: Promql, state: str) -> str:
    return ql.over("max", f'removit_upstream_state{{state="{state}"}}') + " == 1"


def _states(ql: Promql) -> list[Alert]:
    return [
        Alert(
            "RemovitUpstreamDown",
            "upstream_down",
            _state(ql, "down"),
            f"The API of {UPSTREAM} is down",
            "Nearly all requests fail or go unanswered. No job is counted as failed because of it;"
            " pending jobs resume by themselves afterwards. Check the vendor's status page and our"
            " own egress (proxy, DNS): the dashboard shows which codes come back. Pause large"
            " uploads. There is nothing to restart here.",
            silenced_by=("RemovitKeyRejected",),
        ),
        Alert(
            "RemovitKeyRejected",
            "key_rejected",
            _state(ql, "key_rejected"),
            f"The API key for {UPSTREAM} is rejected",
            "All polling is suspended: no result is seen, and nothing is counted as failed. Was the"
            " key rotated or revoked, or the account closed? Write the valid key to"
            " upstream.api_key_file: it is tried at once, without a restart or reload.",
        ),
        Alert(
            "RemovitUpstreamBlocked",
            "upstream_blocked",
            _state(ql, "blocked"),
            f"A firewall or proxy in front of the API of {UPSTREAM} blocks us",
            "Requests are answered 403 with a page that is not the API's: a firewall, not the key."
            " Has our outgoing address changed, or did we send too many requests? Ask the vendor to"
            " allow the address; a lower upstream.rate may help meanwhile.",
        ),
        *_suspect(ql),
        _throttled(ql),
    ]


def _suspect(ql: Promql) -> list[Alert]:
    values = ql.thresholds.alerts.jobs_turning_bad
    window = ql.span(values.window)
    suspected = ql.total("removit_jobs_suspected")
    before = ql.total(f"removit_jobs_suspected offset {window}")
    failed = ql.grown('removit_jobs_finished_total{state="failed"}', values.window)
    return [
        Alert(
            "RemovitUpstreamSuspect",
            "upstream_suspect",
            _state(ql, "suspect"),
            f"{UPSTREAM} may be failing: jobs turn bad, and none that is pending is served",
            "Finished jobs are still served, so either these images are bad or the API's workers"
            " have stopped; the exporter cannot tell yet, and goes on asking. At the end of a batch"
            " bad images look like this, and are decided within an hour or so. If new jobs are"
            " affected too, ask the vendor and hold back large uploads.",
            silenced_by=("RemovitJobsTurningBad",),
        ),
        Alert(
            "RemovitJobsTurningBad",
            "jobs_turning_bad",
            f"(\n{suspected}\n- {before}\n+\n{failed}\n)\n>= {values.at_least:g}"
            f"\nand\n{_state(ql, 'suspect')}",
            f"{COUNT} more jobs of {UPSTREAM} turned bad in {window}, and none is served",
            "One job after the other is answered 5xx, while finished jobs are still served. This is"
            " an outage that creeps in (workers that die one by one), or a batch of bad images."
            " Hold back uploads, compare the affected images, and ask the vendor. If jobs were"
            " called failed by mistake, the rechecks will correct that by themselves.",
        ),
    ]


def _throttled(ql: Promql) -> Alert:
    values = ql.thresholds.alerts.throttled
    window = ql.span(values.window)
    share = ql.over("max", f'avg_over_time(removit_upstream_state{{state="throttled"}}[{window}])')
    return Alert(
        "RemovitThrottled",
        "throttled",
        f"{share} > {values.share:g}",
        f"{UPSTREAM} throttles us {{{{ $value | humanizePercentage }}}} of the time (429)",
        f"Over the last {window}. Results are seen late. Something else may use the same key, or"
        " upstream.rate is above what the contract allows: compare it with the rate limit on the"
        " dashboard, lower it, or agree on a higher limit with the vendor.",
        silenced_by=UPSTREAM_TROUBLE,
        outlasts=True,
    )


def _uploads(ql: Promql) -> list[Alert]:
    unpaid, errors = ql.thresholds.alerts.credits_exhausted, ql.thresholds.alerts.upload_errors
    refused = ql.grown(f'{REQUESTS}{{endpoint="upload",code="402"}}', unpaid.window)
    bad = ql.grown(f'{REQUESTS}{{endpoint="upload",code!~"2..|402"}}', errors.window)
    every = ql.grown(f'{REQUESTS}{{endpoint="upload"}}', errors.window)
    return [
        Alert(
            "RemovitCreditsExhausted",
            "credits_exhausted",
            f"{refused} > 0",
            f"The credits for {UPSTREAM} are used up: {COUNT} uploads were refused",
            f"In the last {ql.span(unpaid.window)} uploads were answered 402. Nothing new is"
            " processed until someone buys credits in the vendor's console; jobs already accepted"
            " continue. Refused uploads must be sent again by whoever sent them.",
        ),
        Alert(
            "RemovitUploadErrors",
            "upload_errors",
            f"(\n{bad}\n> {errors.share:g} * {every}\n)\n>= {errors.at_least:g}",
            f"{COUNT} uploads to {UPSTREAM} were refused or failed",
            f"In the last {ql.span(errors.window)}, more than {errors.share:.0%} of all uploads"
            " through the exporter. Check the codes on the dashboard: 4xx means our requests (a"
            " changed importer, a bad batch), 5xx and timeouts mean the API. The uploaders got the"
            " errors, and must retry.",
            silenced_by=(*UPSTREAM_TROUBLE, "RemovitThrottled"),
            outlasts=True,
        ),
    ]


def _answers(ql: Promql) -> list[Alert]:
    slow, drift = ql.thresholds.alerts.status_latency, ql.thresholds.alerts.contract_drift
    window = ql.span(slow.window)
    name = "removit_upstream_request_duration_seconds"
    buckets = ql.total(f'rate({name}_bucket{{endpoint="status"}}[{window}])', "le")
    asked = ql.total(f'increase({name}_count{{endpoint="status"}}[{window}])')
    unread = ql.grown(f'{REQUESTS}{{endpoint="status",code="invalid_body"}}', drift.window)
    every = ql.grown(f'{REQUESTS}{{endpoint="status"}}', drift.window)
    return [
        Alert(
            "RemovitStatusLatency",
            "status_latency",
            f"histogram_quantile(0.95,\n  {buckets}\n) > {slow.seconds:g}"
            f"\nand\n{asked} >= {slow.at_least:g}",
            f"Status requests to {UPSTREAM} are slow: p95 {{{{ $value | humanizeDuration }}}}",
            f"One in twenty takes longer than {slow.seconds:g} s, over the last {window}. Ends are"
            " seen later, and past upstream.timeout requests count as unanswered. Compare with the"
            " vendor's status page and with our other outgoing traffic; if it grows, expect"
            " RemovitUpstreamDown.",
            silenced_by=UPSTREAM_TROUBLE,
            outlasts=True,
        ),
        Alert(
            "RemovitContractDrift",
            "contract_drift",
            f"(\n{unread}\n> {drift.share:g} * {every}\n)\n>= {drift.at_least:g}",
            f"{COUNT} answers from {UPSTREAM} could not be parsed",
            f"In the last {ql.span(drift.window)}, more than {drift.share:.0%} of the status"
            " answers were 200 but not JSON with a known state, or a 404 or 422 not given by the"
            " API. The affected jobs stay pending. The log line `contract drift` says what was"
            " received. If the vendor has changed the API, the exporter must be updated; a"
            " maintenance page goes away by itself; for a 404 or 422, check the gateway.",
            silenced_by=UPSTREAM_TROUBLE,
            outlasts=True,
        ),
    ]
