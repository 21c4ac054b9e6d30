"""The HTTP API: what is there, and what may be changed.

Reading is free on the machine itself.  From elsewhere it takes the token, and changing anything
takes it everywhere: as a bearer token, which no other site's page can send (no cross-site request
forgery), and only POST changes anything.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import Annotated, Final

from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

from balancer import __version__
from balancer.component import Component
from balancer.config import API_PREFIX
from balancer.configfile import redacted
from balancer.health import Order
from balancer.service import Service
from balancer.view import ComponentView, StatusView, component_view, status


class Ordered(BaseModel):
    """What a backend was ordered into."""

    component: str
    backend: str
    state: str


def api(service: Service) -> FastAPI:
    """The application.

    Args:
        service: what is shown and steered.
    """
    app = FastAPI(
        title="xmpp-balancer",
        version=__version__,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        openapi_url=f"{API_PREFIX}/openapi.json",
    )

    def may_read(request: Request) -> None:
        _may_read(request, service.token)

    def may_write(request: Request) -> None:
        if service.token is None:
            raise HTTPException(403, "nothing can be changed: no [admin] token is configured")
        if not _has_token(request, service.token):
            raise HTTPException(401, "the bearer token is missing or wrong", _CHALLENGE)

    reading = APIRouter(prefix=API_PREFIX, dependencies=[Depends(may_read)])
    writing = APIRouter(prefix=API_PREFIX, dependencies=[Depends(may_write)])
    _read(reading, service)
    _write(writing, service)
    app.include_router(reading)
    app.include_router(writing)
    return app


def _read(routes: APIRouter, service: Service) -> None:
    @routes.get("/status")
    async def whole() -> StatusView:
        """Every component with its backends."""
        return status(service)

    @routes.get("/components/{jid}")
    async def one(jid: str) -> ComponentView:
        """One component with its backends."""
        return component_view(_component(service, jid))

    @routes.get("/config")
    async def config() -> str:
        """The configuration in effect, as TOML, without secrets."""
        return redacted(service.config)


def _write(routes: APIRouter, service: Service) -> None:
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
    backend = component.router.pool.get(name)
    state = "gone" if backend is None else backend.state
    return Ordered(component=component.config.jid, backend=name, state=state)


# Who may.

_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}


def _has_token(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())


def _may_read(request: Request, token: str | None) -> None:
    if token is not None and _has_token(request, token):
        return
    client = request.client.host if request.client else ""
    # A page of another site could be given our address by its name server ("DNS rebinding"):
    # its requests come from this machine, but under that site's name.
    if _is_loopback(client) and _is_local_name(request.url.hostname or ""):
        return
    raise HTTPException(401, "from elsewhere, reading takes the bearer token", _CHALLENGE)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_local_name(name: str) -> bool:
    return name == "localhost" or _is_loopback(name.strip("[]"))
