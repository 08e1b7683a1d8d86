"""Each test reads the upstream's answers anew, whichever tests ran before."""

import pytest

from exporter.core import contract


@pytest.fixture(autouse=True)
def forget_the_answers_that_were_read() -> None:
    """Without this, `make mutants` finds no test that reads an answer which another test has read.

    It notes which tests call a function, and runs no others against the function's mutants.
    """
    contract._remembered.cache_clear()
    contract.media_type.cache_clear()
