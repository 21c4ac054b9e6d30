"""The application of Starlette's own tests, told again without its WebSockets.

Its routes, exception handlers, middleware and lifespan are those of ``tests/test_applications.py``
in Starlette 1.10, and so is what is expected of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Host, Mount, Route, Router


def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello, world!")


async def async_hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello, world!")


class Homepage(HTTPEndpoint):
    def get(self, _: Request) -> PlainTextResponse:
        return PlainTextResponse("Hello, world!")


def everyone(_: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello, everyone!")


def user(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"Hello, {request.path_params['username']}!")


def subdomain(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Subdomain: " + request.path_params["subdomain"])


def fail(_: Request) -> PlainTextResponse:
    raise RuntimeError


async def state(request: Request) -> JSONResponse:
    return JSONResponse({"count": request.state.count})


async def server_error(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"detail": "Server Error"}, status_code=500)


async def not_allowed(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"detail": "Custom message"}, status_code=405)


async def http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, status_code=error.status_code)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
    yield {"count": 1}


app = Starlette(
    routes=[
        Route("/func", hello),
        Route("/async", async_hello),
        Route("/class", Homepage),
        Route("/state", state),
        Route("/500", fail),
        Mount("/users", Router([Route("/", everyone), Route("/{username}", user)])),
        Host("{subdomain}.example.org", Router([Route("/", subdomain)])),
    ],
    exception_handlers={500: server_error, 405: not_allowed, HTTPException: http_error},
    middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["testserver", "*.example.org"])],
    lifespan=lifespan,
)
