"""The commands' way to a running balancer: its HTTP API."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import httpx

from balancer.config import API_PREFIX, Config
from balancer.errors import BalancerError

#: Seconds for an answer; the balancer is on this machine as a rule.
TIMEOUT: Final = 10.0


class RemoteError(BalancerError):
    """The balancer cannot be asked, or refuses; the reason is for a person."""


class Remote:
    """A running balancer.

    Args:
        config: the configuration it runs with; where its API is, and the token.
        url: the API's address, if it is not where the configuration says.
    """

    def __init__(self, config: Config, url: str | None = None) -> None:
        admin = config.admin
        host = f"[{admin.host}]" if ":" in admin.host else admin.host
        token = admin.token.get_secret_value() if admin.token else None
        self._client = httpx.Client(
            base_url=url or f"http://{host}:{admin.port}",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT,
            trust_env=False,  # a proxy for the web is no way to this
        )

    def __repr__(self) -> str:
        return f"<Remote {self._client.base_url}>"

    def status(self) -> dict[str, Any]:
        """Every component with its backends.

        Raises:
            RemoteError: it cannot be had.
        """
        return self._ask("GET", "/status")

    def order(self, component: str, backend: str, order: str) -> dict[str, Any]:
        """Drain a backend, make it ready, or put it into maintenance.

        Raises:
            RemoteError: it was not done.
        """
        return self._ask("POST", f"{_path(component, backend)}/{order}")

    def weigh(self, component: str, backend: str, weight: int) -> dict[str, Any]:
        """Set a backend's weight.

        Raises:
            RemoteError: it was not done.
        """
        return self._ask("POST", f"{_path(component, backend)}/weight", {"weight": weight})

    def find(self, backend: str, component: str | None) -> str:
        """The component that a backend belongs to.

        Raises:
            RemoteError: nobody is called so, or several are.
        """
        jids = [
            each["jid"]
            for each in self.status()["components"]
            if component in (None, each["jid"])
            and backend in {there["name"] for there in each["backends"]}
        ]
        if not jids:
            of = f" of {component}" if component else ""
            raise RemoteError(f"no backend{of} is called {backend}")
        if len(jids) > 1:
            choice = " or ".join(f"--component {jid}" for jid in jids)
            raise RemoteError(f"{backend} is there more than once: give {choice}")
        return str(jids[0])

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        try:
            answer = self._client.request(method, API_PREFIX + path, json=body)
            content = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            at = self._client.base_url
            raise RemoteError(f"no balancer answers at {at} ({error}); does it run?") from error
        if answer.is_error:
            raise RemoteError(f"refused: {content.get('detail', answer.reason_phrase)}")
        assert isinstance(content, dict)
        return content


def _path(component: str, backend: str) -> str:
    return f"/components/{quote(component, safe='')}/backends/{quote(backend, safe='')}"
