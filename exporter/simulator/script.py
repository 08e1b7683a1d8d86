"""Scripts of simulated jobs: a job's script and age determine its state."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

CDN: Final = "https://cdn.example.com"

STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "background": ("queued", "pending_background"),
    "clipping": ("queued", "pending_clipping"),
    "params": ("queued", "pending_clipping", "pending_background", "pending_compose"),
}
"""`queued`, `pending_compose` and `done` are the vendor's names; the others are similar."""

VARIATIONS: Final = ("background", "compose", "shadowTop", "clipping")

_MEDIAN_SECONDS: Final = {"background": 12.0, "clipping": 20.0, "params": 45.0}
_SPREAD: Final = 0.5
"""Standard deviation of the durations' logarithm: most are between half and twice the median."""

_LONGEST: Final = 4.0
"""Maximum duration of a drawn job in medians, so that no sound job looks stuck."""

WEIGHTS: Final[Mapping[str, float]] = {
    "sound": 0.68,
    "warned": 0.14,
    "failing": 0.08,
    "resultless": 0.03,
    "stuck": 0.03,
    "lost": 0.04,
}
"""How often each kind is drawn by default."""


class Kind(StrEnum):
    """How a job ends."""

    SOUND = "sound"  # done, with results
    WARNED = "warned"  # done, with warnings and ignored variations
    FAILING = "failing"  # answers 5xx from some age on, forever
    RESULTLESS = "resultless"  # done, without results
    STUCK = "stuck"  # pending forever
    LOST = "lost"  # accepted, but 404 forever
    EXPLICIT = "explicit"  # not in the contract: state "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a job: its name, how long it takes (seconds at speed 1), progress at its end."""

    name: str
    seconds: float
    progress: int


@dataclass(frozen=True, slots=True)
class Script:
    """One job's life. Times are in seconds at speed 1."""

    kind: Kind
    mode: str = "clipping"
    delivery_mode: str = "url"
    steps: Sequence[Step] = (Step("queued", 1.0, 0),)
    warnings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ignored_variations: Sequence[str] = ()
    early_warnings: bool = False
    """Whether warnings already show in the last step before the end."""
    visible_after: float = 0.0
    failure_status: int = 500
    failure_body: str = "json"

    @property
    def seconds(self) -> float:
        """When the job ends."""
        return sum(step.seconds for step in self.steps)

    @classmethod
    def sound(cls, seconds: float = 1.0, mode: str = "clipping", **more: Any) -> "Script":
        """Return a job that is done after this many seconds."""
        return cls(Kind.SOUND, mode, steps=_steps(mode, seconds), **more)

    @classmethod
    def warned(
        cls,
        seconds: float = 1.0,
        mode: str = "params",
        warnings: Mapping[str, Sequence[str]] | None = None,
        ignored_variations: Sequence[str] = ("shadow_wall",),
        **more: Any,
    ) -> "Script":
        """Return a job like the vendor's third example: done, with an ignored variation."""
        told = {"shadow_wall": ["params not provided"]} if warnings is None else warnings
        steps = _steps(mode, seconds)
        return cls(Kind.WARNED, mode, "url", steps, told, ignored_variations, **more)

    @classmethod
    def failing(cls, after: float = 1.0, mode: str = "clipping", **more: Any) -> "Script":
        """Return a job that answers 5xx from `after` seconds on."""
        return cls(Kind.FAILING, mode, steps=_steps(mode, after), **more)

    @classmethod
    def resultless(cls, seconds: float = 1.0, mode: str = "clipping", **more: Any) -> "Script":
        """Return a job that is done without results."""
        return cls(Kind.RESULTLESS, mode, steps=_steps(mode, seconds), **more)

    @classmethod
    def stuck(cls, after: float = 1.0, mode: str = "clipping", **more: Any) -> "Script":
        """Return a job whose progress stops after this many seconds."""
        return cls(Kind.STUCK, mode, steps=_steps(mode, after), **more)

    @classmethod
    def lost(cls, mode: str = "clipping") -> "Script":
        """Return a job that is accepted and never found."""
        return cls(Kind.LOST, mode, visible_after=math.inf)

    @classmethod
    def explicit(cls, seconds: float = 1.0, mode: str = "clipping", **more: Any) -> "Script":
        """Return a job with the state `failed`, which is not in the contract."""
        return cls(Kind.EXPLICIT, mode, steps=_steps(mode, seconds), **more)


def draw(
    rng: random.Random, mode: str | None = None, weights: Mapping[str, float] | None = None
) -> Script:
    """Draw a script with realistic variation; equal generators draw equal scripts."""
    mode = mode or rng.choice(tuple(STEPS))
    shares = WEIGHTS if weights is None else weights
    kind = Kind(rng.choices(tuple(shares), tuple(shares.values()))[0])
    median = _MEDIAN_SECONDS.get(mode, 20.0)
    seconds = min(_LONGEST * median, median * rng.lognormvariate(0.0, _SPREAD))
    if kind is Kind.LOST:
        return Script.lost(mode)
    more: dict[str, Any] = {"delivery_mode": rng.choice(("url", "final_url"))}
    if kind is Kind.FAILING:
        more["failure_body"] = rng.choice(("json", "html", "empty"))
        seconds *= rng.uniform(0.2, 1.0)
    if kind is Kind.WARNED:
        return _draw_warned(rng, mode, seconds)
    return Script(kind, mode, steps=_steps(mode, seconds), **more)


def _draw_warned(rng: random.Random, mode: str, seconds: float) -> Script:
    ignored = rng.sample(("shadow_wall", "shadowTop", "background"), rng.randint(1, 2))
    warnings = {name: ["params not provided"] for name in ignored}
    if rng.random() < 0.3:
        warnings["compose"] = ["image is smaller than 1000 px", "colour profile was dropped"]
    early = rng.random() < 0.5
    return Script.warned(seconds, mode, warnings, ignored, early_warnings=early)


def _steps(mode: str, seconds: float) -> tuple[Step, ...]:
    """Divide the time among the mode's steps, with little of it for `queued`."""
    names = STEPS.get(mode, STEPS["clipping"])
    shares = [0.1, *([0.9 / (len(names) - 1)] * (len(names) - 1))]
    ends = [round(99 * (at + 1) / len(names)) for at in range(len(names))]
    return tuple(
        Step(name, seconds * share, end)
        for name, share, end in zip(names, shares, ends, strict=True)
    )


def body_at(script: Script, job_id: str, age: float) -> dict[str, Any] | None:
    """Return the status body at an age (seconds at speed 1), in the page's order of fields.

    None if the job has failed by answering 5xx.
    """
    step, progress, before = script.steps[-1], script.steps[-1].progress, 0
    for candidate in script.steps:
        if age < candidate.seconds:
            share = age / candidate.seconds
            step, progress = candidate, round(before + (candidate.progress - before) * share)
            break
        age -= candidate.seconds
        before = candidate.progress
    else:
        return _final_body(script, job_id)
    body = _body(job_id, step.name, "pending", script.mode, progress)
    body["final_url"] = None
    if script.early_warnings and step is script.steps[-1]:
        _add_warnings(body, script)
    return body


def _final_body(script: Script, job_id: str) -> dict[str, Any] | None:
    last = script.steps[-1]
    if script.kind is Kind.FAILING:
        return None
    if script.kind is Kind.STUCK:
        return _body(job_id, last.name, "pending", script.mode, last.progress) | {"final_url": None}
    if script.kind is Kind.EXPLICIT:
        return _body(job_id, "failed", "failed", script.mode, last.progress)
    body = _body(job_id, "done", "done", script.mode, 100)
    if script.kind is Kind.RESULTLESS:
        body["final_url"] = None
    elif script.delivery_mode == "final_url":
        body["final_url"] = f"{CDN}/{job_id}/clipping.webp"
    else:
        wanted = [name for name in VARIATIONS if name not in script.ignored_variations]
        body["final_urls"] = {name: f"{CDN}/{job_id}/{name}.webp" for name in wanted}
    _add_warnings(body, script)
    return body


def _body(job_id: str, status: str, state: str, mode: str, progress: int) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "status": status,
        "state": state,
        "mode": mode,
        "progress": progress,
    }


def _add_warnings(body: dict[str, Any], script: Script) -> None:
    if script.warnings:
        body["warnings"] = {name: list(texts) for name, texts in script.warnings.items()}
    if script.ignored_variations:
        body["ignored_variations"] = list(script.ignored_variations)
