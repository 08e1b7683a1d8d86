"""A clock that moves only when a test sets it."""


class FixedTime:
    """A `Clock` that is `passed` seconds after its beginning."""

    def __init__(self, steady: float = 0.0, since_1970: float = 1000.0) -> None:
        self.passed = 0.0
        self._steady = steady
        self._since_1970 = since_1970

    def monotonic(self) -> float:
        return self._steady + self.passed

    def time(self) -> float:
        return self._since_1970 + self.passed
