"""The rendered lines of the jobs that have series, kept between scrapes.

Jobs are in blocks, and a block has a slice of the page for each family, with one line per job. A
change of a job replaces its lines in the slices of the families that changed. A scrape takes all
slices as they are. The lines are not kept one by one: that would take twice the memory.
"""

from collections.abc import Iterator
from typing import Final

from ..core.job import Job
from .job_series import JobLines, mark
from .slices import Slice

JOBS_PER_SLICE: Final = 40
"""More jobs give fewer slices; fewer jobs give fewer lines to deflate again after a change."""
_EMPTY: Final = Slice(b"")


class _Block:
    """Some jobs: how many, and their slices in the order of the families."""

    __slots__ = ("jobs", "slices")

    def __init__(self, families: int) -> None:
        self.jobs = 0
        self.slices = [_EMPTY] * families


class KeptLines:
    """The kept lines of jobs, as `lines` writes them."""

    def __init__(self, lines: JobLines) -> None:
        self._lines = lines
        self._heads = [Slice(family.head) for family in lines.families]
        self._blocks: dict[_Block, None] = {}
        self._with_room: dict[_Block, None] = {}
        self._block_of: dict[str, _Block] = {}

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._block_of

    def add(self, job: Job) -> None:
        """Render all lines of a job that has none yet."""
        block = next(reversed(self._with_room), None)
        if block is None:
            block = _Block(len(self._heads))
            self._blocks[block] = self._with_room[block] = None
        self._block_of[job.job_id] = block
        block.jobs += 1
        if block.jobs == JOBS_PER_SLICE:
            del self._with_room[block]
        for at, family in enumerate(self._lines.families):
            if line := self._lines.write(family, job):
                block.slices[at] = Slice(block.slices[at].plain + line)

    def change(self, before: Job, after: Job) -> None:
        """Render the lines of a job in which it differs from before."""
        block = self._block_of[after.job_id]
        for at in self._lines.changed(before, after):
            line = self._lines.write(self._lines.families[at], after)
            self._replace(block, at, after.job_id, line)

    def remove(self, job_id: str) -> None:
        """Remove the lines of a job."""
        block = self._block_of.pop(job_id)
        block.jobs -= 1
        if not block.jobs:
            del self._blocks[block]
            self._with_room.pop(block, None)
            return
        self._with_room[block] = None
        for at in range(len(self._heads)):
            self._replace(block, at, job_id, b"")

    def slices(self) -> Iterator[Slice]:
        """Return the slices of all families with their heads, all of this moment."""
        blocks = [tuple(block.slices) for block in self._blocks]
        return (
            one
            for at, head in enumerate(self._heads)
            for one in (head, *(slices[at] for slices in blocks))
            if one.size
        )

    def _replace(self, block: _Block, at: int, job_id: str, line: bytes) -> None:
        """Put a line where the job's former line is, or last if it has none."""
        plain = block.slices[at].plain
        found = plain.find(mark(job_id))
        start = end = len(plain)
        if found >= 0:
            start = found - len(self._lines.families[at].name)
            end = plain.index(b"\n", found) + 1
        block.slices[at] = Slice(b"".join((plain[:start], line, plain[end:])))
