"""The pictures in README.md, made by the plays that show what is on them.

``make pictures`` makes them anew; an ordinary run of the tests leaves them alone.
"""

from __future__ import annotations

import os
from pathlib import Path

WANTED = os.environ.get("PICTURES") == "1"


def picture(name: str, otherwise: Path) -> Path:
    """Where a picture is to be written: here when they are wanted, else where it does no harm."""
    return (Path(__file__).parent if WANTED else otherwise) / name
