"""A FastAPI application that takes orders: over XMPP, or over HTTP, it does not know which.

python -m backends.asgi backends.examples.fastapi_app:app --jid svc.demo/web --secret demo

An iq of type set to ``svc.demo/orders?item=tea`` makes an order, and one of type get to
``svc.demo/orders/1`` shows it.  Over HTTP: ``uvicorn backends.examples.fastapi_app:app``.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response

app = FastAPI()
orders: dict[int, str] = {}


@app.post("/orders", status_code=201)
async def order(
    request: Request, item: str, xmpp_stanza_from: Annotated[str | None, Header()] = None
) -> dict[str, object]:
    """Take an order, and tell who gave it, if that is somebody who can be told."""
    number = len(orders) + 1
    orders[number] = item
    xmpp = request.scope.get("extensions", {}).get("xmpp")
    if xmpp is not None and xmpp_stanza_from is not None:
        xmpp["message"](xmpp_stanza_from, f"your {item} is on its way")
    return {"number": number, "item": item}


@app.get("/orders/{number}", response_class=PlainTextResponse)
async def show(number: int) -> str:
    """Show an order."""
    if number not in orders:
        raise HTTPException(404, "there is no such order")
    return orders[number]


@app.exception_handler(RequestValidationError)
async def wrong(_: Request, error: Exception) -> Response:
    """FastAPI says 422, which XMPP's table has for something else: this is a bad request."""
    assert isinstance(error, RequestValidationError)
    said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    return PlainTextResponse(said, 422, {"xmpp-error-condition": "bad-request"})
