"""The commands' way to a running balancer: its HTTP API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import httpx

from balancer.config import API_PREFIX, AdminConfig
from balancer.errors import BalancerError

#: Seconds for an answer; the balancer is on this machine as a rule.
TIMEOUT: Final = 10.0


#: Where to ask one that listens everywhere.
_HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class RemoteError(BalancerError):
    """The balancer cannot be asked, or refuses; the reason is for a person."""


class Remote:
    """A running balancer.

    Args:
        admin: of the configuration it runs with; where its API is, and the token.
        url: the API's address, if it is not where the configuration says.

    Raises:
        RemoteError: the address is none.
    """

    def __init__(self, admin: AdminConfig, url: str | None = None) -> None:
        host = _HERE.get(admin.host, admin.host)
        host = f"[{host}]" if ":" in host else host
        token = admin.token.get_secret_value() if admin.token else None
        try:
            self._client = httpx.Client(
                base_url=url or f"http://{host}:{admin.port}",
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=TIMEOUT,
                trust_env=False,  # a proxy for the web is no way to this
            )
        except httpx.InvalidURL as error:
            raise RemoteError(f"{url} is no address: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

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

    def route(
        self, component: str, sender: str, recipient: str | None, thread: str | None
    ) -> dict[str, Any]:
        """Where a sender's stanza would go.

        Raises:
            RemoteError: it cannot be had.
        """
        wanted = {"sender": sender, "recipient": recipient, "thread": thread}
        query = urlencode({name: value for name, value in wanted.items() if value is not None})
        return self._ask("GET", f"/components/{quote(component, safe='')}/route?{query}")

    def tap(
        self, component: str, wanted: Mapping[str, str | None], *, bodies: bool
    ) -> Iterator[dict[str, Any]]:
        """Stanzas as they pass, until the balancer ends it.

        Args:
            component: whose.
            wanted: see `balancer.tap.Tap`.
            bodies: whether their content is wanted too.

        Raises:
            RemoteError: it cannot be had.
        """
        query = {name: value for name, value in wanted.items() if value is not None}
        path = f"{API_PREFIX}/components/{quote(component, safe='')}/tap"
        forever = httpx.Timeout(TIMEOUT, read=None)
        try:
            with self._client.stream(
                "GET", path, params={**query, "bodies": bodies}, timeout=forever
            ) as answer:
                if answer.is_error:
                    answer.read()
                    raise RemoteError(f"refused: {_detail(answer)}")
                for line in answer.iter_lines():
                    yield json.loads(line)
        except httpx.RemoteProtocolError:
            return  # it was ended within a line
        except httpx.HTTPError as error:
            raise self._nobody(error) from error

    def only_component(self) -> str:
        """The component, where there is but one.

        Raises:
            RemoteError: there are several.
        """
        jids = [str(each["jid"]) for each in self.status()["components"]]
        if len(jids) != 1:
            raise RemoteError(f"give --component: one of {', '.join(jids)}")
        return jids[0]

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
            raise self._nobody(error) from error
        if answer.is_error:
            raise RemoteError(f"refused: {_detail(answer)}")
        assert isinstance(content, dict)
        return content

    def _nobody(self, error: Exception) -> RemoteError:
        at = self._client.base_url
        return RemoteError(f"no balancer answers at {at} ({error}); does it run?")


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase


def _path(component: str, backend: str) -> str:
    return f"/components/{quote(component, safe='')}/backends/{quote(backend, safe='')}"
