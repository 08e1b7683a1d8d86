"""How old a watched job is, and when it is expected to end, in words."""

import time

from .watching import Update


def age(update: Update) -> str:
    """Return how old a job is, in words; empty where it is not known."""
    if not update.registered_at:
        return ""
    return f"{write_age(time.time() - update.registered_at)} old"


def expectation(update: Update) -> str:
    """Return when the job is expected to end; empty where it is not known."""
    if update.expected_at is None:
        return ""
    left = update.expected_at - time.time()
    return f"ends in about {write_age(left)}" if left > 0 else "should end any moment"


def write_age(seconds: float) -> str:
    """Write a time in whole seconds as `h:mm:ss` or `m:ss`."""
    whole = max(0, int(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{whole % 60:02}"
