"""Who may look, and who may change anything.

Reading is free on the machine itself.  From elsewhere it takes the token, and changing anything
takes it everywhere: as a bearer token, which no other site's page can send (no cross-site request
forgery), and only POST changes anything.  What people write to each other takes it everywhere too.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from typing import Final

from fastapi import HTTPException, Request

from balancer.service import Service

_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}


class Access:
    """The two questions, as dependencies of routes.

    Args:
        service: whose token it is; a reload may change it.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def may_read(self, request: Request) -> None:
        """Raises:
        HTTPException: 401, from elsewhere without the token.
        """
        token = self._service.token
        if token is not None and _has_token(request, token):
            return
        client = request.client.host if request.client else ""
        # A page of another site could be given our address by its name server ("DNS rebinding"):
        # its requests come from this machine, but under that site's name.
        if _is_loopback(client) and _is_local_name(request.headers.get("host", "")):
            return
        raise HTTPException(401, "from elsewhere, reading takes the bearer token", _CHALLENGE)

    def may_change(self, request: Request) -> None:
        """Raises:
        HTTPException: 403, where there is no token; 401, without it.
        """
        token = self._service.token
        if token is None:
            raise HTTPException(403, "this takes a token, and no [admin] token is configured")
        if not _has_token(request, token):
            raise HTTPException(401, "the bearer token is missing or wrong", _CHALLENGE)


def _has_token(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.]+))(?::\d+)?")


def _is_local_name(host: str) -> bool:
    """Whether a ``Host`` header names this machine; what is no plain name does not."""
    match = _HOST.fullmatch(host)
    return match is not None and (match[2] == "localhost" or _is_loopback(match[1] or match[2]))
