"""Texts from outside on a terminal or in a log: what would not show, or would lie, is escaped."""


def printable(text: str) -> str:
    """Return a text in which control characters, line ends and bidirectional marks are escaped.

    `str.isprintable` decides: a space is the only separator that stays.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
