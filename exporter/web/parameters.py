"""Query parameters: finding unknown ones, and reading numbers and flags."""

from collections.abc import Collection, Mapping

from .errors import Details


def unknown_parameters(
    query: Mapping[str, str], known: Collection[str], prefixes: Collection[str] = ()
) -> Details:
    """Return an error for each parameter that is neither known nor begins with a prefix."""
    names = [*known, *(f"{prefix}<name>" for prefix in prefixes)]
    hint = f"known are: {', '.join(names)}" if names else "there are none"
    return {
        name: [f"unknown parameter; {hint}"]
        for name in query
        if name not in known and not name.startswith(tuple(prefixes))
    }


def flag_errors(query: Mapping[str, str], name: str) -> Details:
    """Return an error if a flag is neither `true` nor `false`."""
    if query.get(name, "true") in ("true", "false"):
        return {}
    return {name: ["expected true or false"]}


def is_number(text: str) -> bool:
    """Whether a text is a whole number that fits in SQLite's 64 bits."""
    return text.isascii() and text.isdigit() and len(text) <= 18
