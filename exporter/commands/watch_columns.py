"""A column of `watch`'s bars; apart, because it needs the extra `rich`."""

import time

from rich.progress import ProgressColumn, Task
from rich.text import Text

from .ages import write_age


class AgeColumn(ProgressColumn):
    """Shows how old a job is, and when it is expected to end."""

    def render(self, task: Task) -> Text:
        """Return the text, which changes with time."""
        now, expected = time.time(), task.fields["expected_at"]
        text = write_age(now - task.fields["registered_at"])
        if expected is not None:
            text += f" of about {write_age(expected - task.fields['registered_at'])}"
        return Text(text)
