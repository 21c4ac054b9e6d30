"""A FastAPI application: validation, dependencies, background tasks, its own error answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException
from fastapi.responses import PlainTextResponse, Response

app = FastAPI()
done: list[str] = []


def asker(xmpp_stanza_from: Annotated[str, Header()]) -> str:
    return xmpp_stanza_from


@app.get("/items/{number}")
async def item(number: int, full: bool = False) -> dict[str, object]:
    if number > 9:
        raise HTTPException(404, "no such item")
    return {"number": number, "full": full}


@app.get("/whoami", response_class=PlainTextResponse)
def whoami(who: Annotated[str, Depends(asker)]) -> str:
    return who


@app.post("/later")
async def later(tasks: BackgroundTasks) -> Response:
    tasks.add_task(done.append, "later")
    return Response("<accepted xmlns='urn:example:later'/>", media_type="application/xml")
