"""The status page: three files that need no build step and load nothing from elsewhere.

They have no secrets and are free to everybody; what they show comes from the API, which asks who
is there.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Response

#: Nothing from elsewhere, nothing inline, in no frame of another site.
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_FILES: Final = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}


def page() -> APIRouter:
    """The routes of the page and its parts."""
    routes = APIRouter(include_in_schema=False)
    for path, (name, media_type) in _FILES.items():
        content = files(__package__).joinpath(name).read_bytes()
        routes.add_api_route(path, _serving(content, media_type), methods=["GET"])
    return routes


def _serving(content: bytes, media_type: str):  # type: ignore[no-untyped-def]
    async def serve() -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return serve
