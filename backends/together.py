"""One process with several connections at once: to every balancer of a cluster of servers.

    handlers = Handlers()
    run_together(*(
        Backend("svc.example.org", secret, [server], name="worker-1", handlers=handlers)
        for server in ("node-1:5348", "node-2:5348")
    ))

Balancers that stand by for each other, with a server that knows the component once, need no more
than one `Backend` with several ``servers``.
"""

from __future__ import annotations

import asyncio

from backends.backend import DRAIN, Backend, stop_on_signals


async def serve_together(*backends: Backend, signals: bool = False, drain: float = DRAIN) -> None:
    """Serve until each of them is stopped; the arguments are those of `Backend.serve`."""
    if signals:
        stop_on_signals(*backends)
    async with asyncio.TaskGroup() as group:
        for backend in backends:
            group.create_task(backend.serve(drain=drain))


def run_together(*backends: Backend) -> None:
    """Serve until SIGTERM or SIGINT; see `Backend.run`."""
    backends[0].run(lambda: serve_together(*backends, signals=True))
