"""A daemon that looks after jobs, commanded by chat or by a client's ad-hoc commands.

python -m backends.examples.daemon --jid svc.demo/daemon --secret demo

Write ``help`` to svc.demo.
"""

from __future__ import annotations

import time
from typing import Literal

from slixmpp import JID

from backends.commands import CommandError, Daemon, File
from backends.options import parser, settings, start


class ToDo(Daemon):
    """Remembers jobs, and who asked for them."""

    todo: dict[str, str]

    def handle_add(
        self, name: str, priority: Literal["low", "high"] = "low", *, caller: JID
    ) -> str:
        """Add a job.

        A name of several words is quoted, as in: add "mow the lawn" high
        """
        if name in self.todo:
            raise CommandError(f"there is a job {name!r} already")
        self.todo[name] = f"{priority}, for {caller.bare}"
        return f"{name}: {self.todo[name]}"

    def handle_list(self) -> dict[str, str] | str:
        """List the jobs."""
        return self.todo or "there is nothing to do"

    async def handle_load(self, file: File) -> str:
        """Add a job for each line of a file, which comes with the command or just before it."""
        lines = (await file.read()).decode().splitlines()
        self.todo.update(dict.fromkeys(filter(None, lines), "low"))
        return f"{len(lines)} jobs"

    def handle_uptime(self) -> str:
        """Say for how long it has been running."""
        return f"{time.monotonic() - self.began:.0f} s"

    began = time.monotonic()


if __name__ == "__main__":
    options = parser("python -m backends.examples.daemon", "A daemon.")
    options.add_argument("--allow", action="append", metavar="JID", help="who may command it")
    given, backend_settings = settings(options)
    daemon = ToDo(**backend_settings, allow={"*": given.allow or ["*"]})
    daemon.todo = {}
    start(daemon, given)
