"""What machines ask: does it live, is it ready, what are the numbers.

The first two are free to everybody: a kubelet or a load balancer has no token, and learns nothing
but yes or no.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from balancer.access import Access
from balancer.connector import LinkState
from balancer.metrics import Exporter
from balancer.service import Service


def probes(service: Service, access: Access) -> APIRouter:
    """The routes ``/livez``, ``/readyz`` and ``/metrics``.

    Args:
        service: what is asked about.
        access: who may see more than yes or no.
    """
    routes = APIRouter(include_in_schema=False)
    exporter = Exporter(service)

    @routes.api_route("/livez", methods=["GET", "HEAD"])
    async def livez() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @routes.api_route("/readyz", methods=["GET", "HEAD"])
    async def readyz(request: Request) -> PlainTextResponse:
        checks = list(readiness(service))
        ready = all(fine for _, fine in checks)
        text = "ok\n" if ready else "not ready\n"
        if "verbose" in request.query_params:
            access.may_read(request)
            lines = (f"[{'+' if fine else '-'}] {what}\n" for what, fine in checks)
            text = "".join(lines) + text
        return PlainTextResponse(text, 200 if ready else 503)

    @routes.get("/metrics", dependencies=[Depends(access.may_read)])
    async def metrics(request: Request) -> Response:
        content_type, text = await exporter.scrape(request.headers.get("accept", ""))
        return Response(text, media_type=content_type)

    return routes


def readiness(service: Service) -> Iterator[tuple[str, bool]]:
    """What must be so for stanzas to flow, and whether it is."""
    wanted = service.config.admin.min_ready
    yield "not stopping", not service.stopping
    for jid, component in service.components.items():
        state = component.connector.state
        yield f"{jid}: server link is {state.value}", state is LinkState.UP
        there = sum(each.eligible() for each in component.router.pool)
        yield f"{jid}: {there} of at least {wanted} backends", there >= wanted
