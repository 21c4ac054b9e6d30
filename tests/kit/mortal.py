"""A backend as a process that never ends what it does, unless another began it before."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from backends import Backend, redelivered
from tests.stage import BACKEND_SECRET


def tell(path: Path, text: str) -> None:
    """Write a file that is there only when it is whole."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def main(jid: str, port: str, begun: str) -> None:
    backend = Backend(jid, BACKEND_SECRET, [f"127.0.0.1:{port}"])

    @backend.message
    async def work(message: Any) -> str:
        if not redelivered(message):
            tell(Path(begun), f"{backend.name} {os.getpid()}")
            await asyncio.Event().wait()
        return f"{message['body']}, redelivered, done by {backend.name}"

    backend.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
