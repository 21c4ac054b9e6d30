"""How numbers are said to a person."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """So many seconds, in the largest unit that fits."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
