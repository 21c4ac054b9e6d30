"""The demo's backends: processes of their own, ordinary slixmpp programs."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import Final

#: Seconds a backend has to leave before it is killed.
STOP_SECONDS: Final = 3.0


class Backends:
    """So many of them; an async context manager that starts and stops them.

    Args:
        jid: the component's JID; their names are ``worker-1`` and so on.
        secret: what they are let in with.
        port: where the balancer listens.
        count: how many.
    """

    def __init__(self, jid: str, secret: str, port: int, count: int) -> None:
        self.names = [f"worker-{number}" for number in range(1, count + 1)]
        self._jid = jid
        self._secret = secret
        self._port = port
        self._processes: list[asyncio.subprocess.Process] = []

    def __repr__(self) -> str:
        return f"<Backends {' '.join(self.names)}>"

    def ended(self) -> int | None:
        """The exit status of one that has ended, if any has."""
        codes = (process.returncode for process in self._processes)
        return next((code for code in codes if code is not None), None)

    async def __aenter__(self) -> Backends:
        try:
            for name in self.names:
                self._processes.append(await self._start(f"{self._jid}/{name}"))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _start(self, jid: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backends.echo", "--jid", jid, "--port", str(self._port)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            env=os.environ | {"ECHO_SECRET": self._secret},  # arguments are for everyone to see
            start_new_session=True,  # Ctrl-C is for us: we stop them in good order
        )

    async def __aexit__(self, *_: object) -> None:
        living = [process for process in self._processes if process.returncode is None]
        for process in living:
            with suppress(ProcessLookupError):
                process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*(process.wait() for process in living))
        for process in living:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
