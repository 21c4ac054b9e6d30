"""The HTTP server for those who look after the balancer, on the balancer's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import structlog
import uvicorn

from balancer.config import AdminConfig
from balancer.errors import BalancerError
from balancer.service import Service
from balancer.web import web

log = structlog.get_logger("admin")


class AdminError(BalancerError):
    """The address of the status page and the API cannot be used."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the balancer's."""
        yield


class Admin:
    """Serves the web application.

    Args:
        config: where.
        service: what is shown and steered.
    """

    def __init__(self, config: AdminConfig, service: Service) -> None:
        self._config = config
        self._service = service
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    def __repr__(self) -> str:
        return f"<Admin {self._config.host}:{self._config.port}>"

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Serve.

        Raises:
            AdminError: the address is taken, or not ours.
        """
        host, port = self._config.host, self._config.port
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise AdminError(f"cannot serve [admin] on {host}:{port}: {error.strerror}") from error
        config = uvicorn.Config(
            web(self._service),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        log.info("serving status and API", host=host, port=self.port)

    async def stop(self) -> None:
        """Serve no more."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.wait({self._serving}, timeout=3)
            self._serving.cancel()
