"""Files that come with a message: out-of-band URLs (XEP-0066) and bits of binary (XEP-0231)."""

from __future__ import annotations

import asyncio
import base64
from typing import Final
from urllib.parse import urlsplit

import httpx
from slixmpp.stanza.rootstanza import RootStanza

_OOB: Final = "{jabber:x:oob}"
_BOB: Final = "{urn:xmpp:bob}data"

#: Bytes that `File.read` takes: a command is no place for more.
MAX_SIZE: Final = 32 << 20
#: Seconds for that.
TIMEOUT: Final = 60.0


class File:
    """A file that somebody sent: where it is, or itself.

    Args:
        url: where it is (XEP-0066 §2), or its ``cid:`` (XEP-0231 §2).
        data: its content, if it came along.
        type: its media type, if that is known.
        description: what its sender says of it.
    """

    def __init__(
        self, url: str, data: bytes | None = None, type: str = "", description: str = ""
    ) -> None:
        self.url = url
        self.data = data
        self.type = type
        self.description = description

    def __repr__(self) -> str:
        return f"<File {self.url}{'' if self.data is None else f' {len(self.data)} bytes'}>"

    @property
    def name(self) -> str:
        """The last part of its path, for a person."""
        return urlsplit(self.url).path.rpartition("/")[2]

    @property
    def size(self) -> int:
        """The bytes of it that are here."""
        return len(self.data or b"")

    async def read(self) -> bytes:
        """Its content, fetched if need be.

        Nothing is fetched unless this is called: who may give commands may then make this
        machine ask for any URL it reaches.

        Raises:
            OSError: it cannot be fetched, or not within a minute (`TimeoutError`).
            ValueError: it is not at an ``http`` or ``https`` URL, or is larger than 32 MiB.
        """
        if self.data is None:
            if urlsplit(self.url).scheme not in ("http", "https"):
                raise ValueError(f"{self.url} is not fetched")
            try:
                async with asyncio.timeout(TIMEOUT):
                    self.data = await self._fetch()
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise OSError(f"{self.url} cannot be fetched: {error}") from error
        return self.data

    async def _fetch(self) -> bytes:
        data = bytearray()
        async with (
            httpx.AsyncClient(follow_redirects=True, timeout=TIMEOUT) as http,
            http.stream("GET", self.url) as response,
        ):
            response.raise_for_status()
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > MAX_SIZE:
                    raise ValueError(f"{self.url} is too large")
        return bytes(data)


def files_of(message: RootStanza) -> list[File]:
    """The files that come with a message, in its order; what is broken is left out."""
    found = []
    for child in message.xml:
        if child.tag == f"{_OOB}x":
            url = (child.findtext(f"{_OOB}url") or "").strip()
            if url:
                found.append(File(url, description=child.findtext(f"{_OOB}desc") or ""))
        elif child.tag == _BOB:
            try:
                data = base64.b64decode(child.text or "")
            except ValueError:
                continue
            found.append(File(f"cid:{child.get('cid', '')}", data, child.get("type", "")))
    return found
