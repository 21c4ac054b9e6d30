"""The HTTP API: what is there, and what may be changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends, HTTPException, Query
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

from balancer.access import Access
from balancer.component import Component
from balancer.config import API_PREFIX
from balancer.configfile import redacted
from balancer.health import Order
from balancer.records import PACE
from balancer.service import Service
from balancer.tap import Tap, TapError, Taps
from balancer.view import (
    ComponentView,
    RouteView,
    StatusView,
    component_view,
    recent,
    route_view,
    seen_view,
    status,
)

#: Seconds between two events of the live status.
EVERY = 1.0


class Ordered(BaseModel):
    """What a backend was ordered into."""

    component: str
    backend: str
    state: str
    weight: int


def api(service: Service, access: Access) -> list[APIRouter]:
    """The routes under `API_PREFIX`.

    Args:
        service: what is shown and steered.
        access: who may.
    """
    reading = APIRouter(prefix=API_PREFIX, dependencies=[Depends(access.may_read)])
    changing = APIRouter(prefix=API_PREFIX, dependencies=[Depends(access.may_change)])
    _read(reading, service)
    _change(changing, service)
    _tap(changing, service)
    return [reading, changing]


def _read(routes: APIRouter, service: Service) -> None:
    @routes.get("/status")
    async def whole() -> StatusView:
        """Every component with its backends."""
        return status(service)

    @routes.get("/components/{jid}")
    async def one(jid: str) -> ComponentView:
        """One component with its backends."""
        return component_view(_component(service, jid))

    @routes.get("/components/{jid}/route")
    async def route(
        jid: str, sender: str, recipient: str | None = None, thread: str | None = None
    ) -> RouteView:
        """Which backend holds the conversation that a message would belong to, and why."""
        return route_view(_component(service, jid), sender, recipient, thread)

    @routes.get("/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterator[ServerSentEvent]:
        """The status every second, and recent traffic every five."""
        clock = asyncio.get_running_loop().time
        next_recent = 0.0
        while not service.ended.is_set():
            if clock() >= next_recent:
                next_recent = clock() + PACE
                yield ServerSentEvent(event="recent", data=recent(service))
            yield ServerSentEvent(event="status", data=status(service))
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await service.ended.wait()

    @routes.get("/config")
    async def config() -> str:
        """The configuration in effect, as TOML, without secrets."""
        return redacted(service.config)


class Wanted(BaseModel):
    """What to see of what passes; see `balancer.tap.Tap`."""

    jid: str | None = None
    kind: Literal["message", "presence", "iq"] | None = None
    backend: str | None = None
    xpath: str | None = None
    bodies: bool = False


def _tap(routes: APIRouter, service: Service) -> None:
    @routes.get("/components/{jid}/tap")
    async def tap(jid: str, wanted: Annotated[Wanted, Query()]) -> StreamingResponse:
        """Stanzas as they pass, and what becomes of them: a line of JSON for each."""
        component = _component(service, jid)
        try:
            tap = Tap(**wanted.model_dump())
        except TapError as error:
            raise HTTPException(422, str(error)) from None
        return StreamingResponse(_lines(component, tap), media_type="application/x-ndjson")


async def _lines(component: Component, tap: Tap) -> AsyncIterator[str]:
    taps = component.taps if isinstance(component.taps, Taps) else Taps()
    component.taps = taps
    told = 0
    with taps.listening(tap):
        while (seen := await tap.next()) is not None:
            yield seen_view(seen, tap.missed - told).model_dump_json() + "\n"
            told = tap.missed


def _change(routes: APIRouter, service: Service) -> None:
    def order(jid: str, name: str, order: Order) -> Ordered:
        component = _component(service, jid)
        try:
            component.order(name, order)
        except KeyError:
            raise _nobody(jid, name) from None
        return _ordered(component, name)

    @routes.post("/components/{jid}/backends/{name:path}/drain")
    async def drain(jid: str, name: str) -> Ordered:
        """No new conversations; what it has it finishes, then its stream is closed."""
        return order(jid, name, Order.DRAIN)

    @routes.post("/components/{jid}/backends/{name:path}/ready")
    async def ready(jid: str, name: str) -> Ordered:
        """It takes conversations again."""
        return order(jid, name, Order.READY)

    @routes.post("/components/{jid}/backends/{name:path}/maint")
    async def maint(jid: str, name: str) -> Ordered:
        """Its conversations move; it stays connected and gets nothing."""
        return order(jid, name, Order.MAINT)

    @routes.post("/components/{jid}/backends/{name:path}/weight")
    async def weight(
        jid: str, name: str, weight: Annotated[int, Body(embed=True), Field(ge=1, le=256)]
    ) -> Ordered:
        """Its share of conversations relative to the others', until the next reload."""
        component = _component(service, jid)
        try:
            component.weigh(name, weight)
        except KeyError:
            raise _nobody(jid, name) from None
        return _ordered(component, name)


def _component(service: Service, jid: str) -> Component:
    component = service.components.get(jid)
    if component is None:
        raise HTTPException(404, f"no component {jid} is served here")
    return component


def _nobody(jid: str, name: str) -> HTTPException:
    return HTTPException(404, f"{jid} has no backend called {name}")


def _ordered(component: Component, name: str) -> Ordered:
    state = component.router.state(name)
    backend = component.router.pool.get(name)
    weight = backend.weight if backend else 0
    return Ordered(component=component.config.jid, backend=name, state=state, weight=weight)
