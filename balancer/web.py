"""The HTTP application: API, probes and page in one."""

from __future__ import annotations

from fastapi import FastAPI

from balancer import __version__
from balancer.access import Access
from balancer.api import api
from balancer.config import API_PREFIX
from balancer.page import page
from balancer.probes import probes
from balancer.service import Service


def web(service: Service) -> FastAPI:
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
    access = Access(service)
    for routes in (*api(service, access), probes(service, access), page()):
        app.include_router(routes)
    return app
