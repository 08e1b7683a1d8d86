"""Which request goes next."""

import math
from dataclasses import replace
from typing import Any

import pytest

from exporter.core.health.circuit import Circuit, Probe
from exporter.core.pacing.turns import Situation, Turn, next_turn

CLOSED = Circuit(True)


@pytest.mark.parametrize(
    ("changes", "turn"),
    [
        ({}, (Turn.WAIT, math.inf)),
        ({"next_due": 10.0}, (Turn.POLL, 10.0)),
        ({"next_due": 3.0}, (Turn.POLL, 10.0)),
        ({"next_due": 12.0}, (Turn.WAIT, 12.0)),
        ({"next_due": 10.0, "control_at": 10.0}, (Turn.CONTROL, 10.0)),
        ({"next_due": 10.0, "control_at": 11.0}, (Turn.POLL, 10.0)),
        ({"next_due": 12.0, "control_at": 12.0}, (Turn.WAIT, 12.0)),
        ({"next_due": 3.0, "token_at": 11.0}, (Turn.WAIT, 11.0)),
        ({"next_due": 3.0, "in_flight": 4}, (Turn.WAIT, math.inf)),
        ({"next_due": 3.0, "in_flight": 3}, (Turn.POLL, 10.0)),
        ({"next_due": 3.0, "asks": 1}, (Turn.ASK, 10.0)),
        ({"asks": 1, "token_at": 11.0}, (Turn.WAIT, 11.0)),
        ({"next_due": 3.0, "asks": 1, "asked_before": True}, (Turn.POLL, 10.0)),
        ({"next_due": 12.0, "asks": 1, "asked_before": True}, (Turn.ASK, 10.0)),
        ({"next_due": 10.0, "asks": 1, "asked_before": True}, (Turn.POLL, 10.0)),
        ({"last_asks": 1}, (Turn.ASK_LAST, 10.0)),
        ({"last_asks": 1, "spare_token_at": 11.0}, (Turn.WAIT, 11.0)),
        ({"last_asks": 1, "spare_token_at": 11.0, "next_due": 10.5}, (Turn.WAIT, 10.5)),
        ({"last_asks": 1, "spare_token_at": 11.0, "control_at": 10.5}, (Turn.WAIT, 10.5)),
        ({"last_asks": 1, "spare_token_at": 11.0, "next_due": 12.0}, (Turn.WAIT, 11.0)),
        ({"last_asks": 1, "spare_token_at": 11.0, "next_due": 10.0}, (Turn.POLL, 10.0)),
        ({"last_asks": 1, "spare_token_at": 11.0, "asks": 1}, (Turn.ASK, 10.0)),
        ({"last_asks": 1, "in_flight": 2}, (Turn.ASK_LAST, 10.0)),
        ({"last_asks": 1, "in_flight": 3}, (Turn.WAIT, math.inf)),  # it leaves a slot
        ({"last_asks": 1, "in_flight": 3, "next_due": 12.0}, (Turn.WAIT, 12.0)),
        ({"last_asks": 1, "concurrency": 1}, (Turn.ASK_LAST, 10.0)),
        ({"last_asks": 1, "concurrency": 2, "in_flight": 1}, (Turn.WAIT, math.inf)),
        ({"last_asks": 1, "next_due": 12.0}, (Turn.ASK_LAST, 10.0)),
        ({"last_asks": 1, "next_due": 10.0}, (Turn.POLL, 10.0)),
        ({"last_asks": 1, "asks": 1}, (Turn.ASK, 10.0)),
        ({"last_asks": 1, "control_at": 10.0}, (Turn.CONTROL, 10.0)),
        ({"last_asks": 1, "control_at": 11.0}, (Turn.ASK_LAST, 10.0)),
        ({"last_asks": 1, "circuit": Circuit(False, 15.0, Probe.CONTROL)}, (Turn.WAIT, 15.0)),
        ({"circuit": Circuit(False, 9.0, Probe.CONTROL)}, (Turn.CONTROL, 10.0)),
        ({"circuit": Circuit(False, 15.0, Probe.CONTROL), "asks": 1}, (Turn.WAIT, 15.0)),
        ({"circuit": Circuit(False, 9.0, Probe.CONTROL), "in_flight": 1}, (Turn.WAIT, math.inf)),
        # no job is queued
        ({"circuit": Circuit(False, 9.0, Probe.POLL)}, (Turn.CONTROL, 10.0)),
        ({"circuit": Circuit(False, 9.0, Probe.POLL), "in_flight": 1}, (Turn.WAIT, math.inf)),
        ({"circuit": Circuit(False, 9.0, Probe.POLL), "next_due": 50.0}, (Turn.POLL, 10.0)),
        ({"circuit": Circuit(False, 19.0, Probe.POLL), "next_due": 5.0}, (Turn.WAIT, 19.0)),
    ],
)
def test_which_request_goes_next(changes: dict[str, Any], turn: tuple[Turn, float]) -> None:
    idle = Situation(
        now=10.0,
        circuit=CLOSED,
        asks=0,
        last_asks=0,
        asked_before=False,
        control_at=math.inf,
        next_due=None,
        token_at=10.0,
        spare_token_at=10.0,
        in_flight=0,
        concurrency=4,
    )
    assert next_turn(replace(idle, **changes)) == turn
