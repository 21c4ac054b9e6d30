"""Who is there: the backends of one component, by name.

Names are what hashing and iq tags are made of, so they must be the same after a reconnect:
the name a backend asks for, else its credential's, else the lowest free number.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote


class Backend:
    """One connected backend, as policy sees it.

    Args:
        name: unique in its pool; see `Pool.name_for`.
        weight: its share of new conversations relative to the others', at least 1.
    """

    __slots__ = ("full", "name", "outstanding", "tag", "weight")

    def __init__(self, name: str, weight: int = 1) -> None:
        self.name = name
        self.weight = weight
        self.tag = quote(name, safe="")
        self.full = False
        self.outstanding = 0

    def __repr__(self) -> str:
        state = "full" if self.full else "ready"
        return f"<Backend {self.name} {state} weight={self.weight} {self.outstanding} in flight>"

    def available(self) -> bool:
        """Whether it can take another stanza now."""
        return not self.full


class Pool:
    """The backends of one component."""

    def __init__(self) -> None:
        self._by_name: dict[str, Backend] = {}
        self._by_tag: dict[str, Backend] = {}

    def __repr__(self) -> str:
        return f"<Pool {' '.join(self._by_name) or 'empty'}>"

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Backend]:
        return iter(self._by_name.values())

    def __contains__(self, backend: object) -> bool:
        return isinstance(backend, Backend) and self._by_name.get(backend.name) is backend

    def name_for(self, requested: str | None, credential: str | None) -> str:
        """The name of a newcomer.

        Args:
            requested: the resource of its header's ``to``; taken or not, it is what it gets.
            credential: the name of the secret it used; shared, it is numbered from 2.
        """
        if requested is not None:
            return requested
        number = 1
        while True:
            name = str(number) if credential is None else credential
            if credential is not None and number > 1:
                name = f"{credential}-{number}"
            if name not in self._by_name:
                return name
            number += 1

    def get(self, name: str) -> Backend | None:
        """The backend of that name, if it is there."""
        return self._by_name.get(name)

    def by_tag(self, tag: str) -> Backend | None:
        """The backend whose iq ids carry that tag, if it is there."""
        return self._by_tag.get(tag)

    def add(self, backend: Backend) -> None:
        """Let a backend in; its name must be free."""
        assert backend.name not in self._by_name
        self._by_name[backend.name] = backend
        self._by_tag[backend.tag] = backend

    def remove(self, backend: Backend) -> None:
        """Take a backend out; it must be there."""
        assert self._by_name[backend.name] is backend
        del self._by_name[backend.name]
        del self._by_tag[backend.tag]
