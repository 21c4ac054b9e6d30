"""A daemon that is commanded by chat: see `Daemon`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar
from xml.etree.ElementTree import Element

import structlog
from slixmpp import JID, Iq, Message
from slixmpp.stanza import Presence

from backends.backend import Backend
from backends.commands import adhoc
from backends.commands.catalogue import Catalogue, Command, details, overview
from backends.commands.files import File, files_of
from backends.commands.parameters import CommandError, split
from backends.commands.permissions import Permissions, Rules
from backends.commands.presence import Here
from backends.errors import StanzaError

log = structlog.get_logger("daemon")

F = TypeVar("F", bound=Callable[..., Any])

#: Characters of a command and its arguments: to split more takes seconds.
MAX_TEXT: Final = 10_000

#: Files that are kept for one's next command, and callers they are kept for: many clients send a
#: file in a message of its own.
MAX_FILES: Final = 10
MAX_CALLERS: Final = 1000
#: Bytes of all of them.
MAX_KEPT: Final = 32 << 20


class Daemon(Backend):
    """A backend whose users are people, and their messages commands.

        class Greeter(Daemon):
            async def handle_greet(self, whom: str, times: int = 1, *, caller: JID) -> str:
                \"\"\"Greet somebody.\"\"\"
                return f"hello {whom}" * times

        Greeter("svc.example.org", secret, allow={"*": ["example.org"]}).run()

    The first word of a message is the command, the others are its arguments, quoted as in a shell
    and turned into what the signature says (`parameters`).  What it returns is the reply, and so
    is the text of an exception.  ``help`` shows the docstrings.

    Args:
        jid, secret, servers: see `Backend`.
        allow: who may call what (`permissions`).
        master: somebody without whom there is nothing to do, by bare JID.
        end_with_master: whether to leave when the master has gone.
        options: see `Backend`.
    """

    def __init__(
        self,
        jid: str,
        secret: str,
        servers: Sequence[str] = ("127.0.0.1:5348",),
        *,
        allow: Rules,
        master: str | None = None,
        end_with_master: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(jid, secret, servers, **options)
        self.permissions = Permissions(allow)
        self.commands = Catalogue()
        self.commands.add_methods(self)
        self.here = Here(self._gone)
        self._master = master
        self._end_with_master = end_with_master
        self._kept: dict[str, list[File]] = {}
        self._asked_back: set[str] = set()
        self.message(self._message)
        self.presence(self._presence)
        self.iq(adhoc.COMMANDS)(self._adhoc)
        self.plugin["xep_0030"].set_node_handler(
            "get_items", JID(self.boundjid.bare), adhoc.COMMANDS, self._list
        )

    # Commands.

    def command(self, function: F) -> F:
        """Add a function as a command, as a decorator; its name is without ``handle_``."""
        self.commands.add(function)
        return function

    def allowed(self, caller: JID) -> list[Command]:
        """The commands that one may call."""
        return [each for each in self.commands if self.permissions.allows(caller, each.name)]

    def handle_help(self, command: str = "", *, caller: JID) -> str:
        """Say which commands there are, or what one of them does."""
        if not command:
            return overview(self.allowed(caller))
        found = self.commands.find(command)
        self._check(caller, found)
        return details(found)

    def _check(self, caller: JID, command: Command) -> None:
        if not self.permissions.allows(caller, command.name):
            log.warning("not allowed", caller=str(caller), command=command.name)
            raise StanzaError("forbidden", f"you may not call {command.name}")

    # By message.

    async def _message(self, message: Message) -> str | None:
        if message["type"] not in ("chat", "normal"):
            return None
        caller: JID = message["from"]
        files = files_of(message)
        text = message["body"].strip()
        if text in [file.url for file in files]:
            text = ""  # clients say it twice, for others that know no XEP-0066
        if len(text) > MAX_TEXT:
            return "error: that is too long for a command"
        if not text:
            return self._keep(caller, files) if files else None
        try:
            words = split(text)
            command = self.commands.find(words[0]) if words else None
            if command is None:
                return None
            self._check(caller, command)
            files = self._kept.pop(caller.bare, []) + files
            return said(await command.call(caller, words[1:], files))
        except CommandError as error:
            return f"error: {error}"
        except StanzaError:
            raise
        except Exception as error:
            log.error("a command failed", command=text, caller=str(caller), exc_info=error)
            return f"error: {describe(error)}"

    def _keep(self, caller: JID, files: list[File]) -> str | None:
        if not self.allowed(caller):
            raise StanzaError("forbidden")
        kept = self._kept.setdefault(caller.bare, [])
        if len(kept) + len(files) > MAX_FILES or len(self._kept) > MAX_CALLERS:
            del self._kept[caller.bare]
            raise StanzaError("resource-constraint", "too many files without a command")
        kept += files
        while sum(each.size for files in self._kept.values() for each in files) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]  # whoever came first has waited long enough
        return f"{len(kept)} kept for your next command"

    # By ad-hoc command.

    async def _adhoc(self, iq: Iq) -> Element:
        request = iq.xml[0]
        if iq["type"] != "set":  # XEP-0050 §2.4
            raise StanzaError("bad-request", "a command is an iq of type set")
        sessionid = request.get("sessionid")
        try:
            command = self.commands.find(request.get("node", ""))
        except CommandError as error:
            raise StanzaError("item-not-found", str(error)) from error
        self._check(iq["from"], command)
        if request.get("action") == "cancel":
            return adhoc.reply(command.name, "canceled", sessionid)
        if command.parameters and not adhoc.is_submitted(request):
            return adhoc.ask(command, sessionid)
        try:
            positional, keywords = adhoc.values(command, request)
            result = said(await command.run(iq["from"], positional, keywords))
        except CommandError as error:
            raise StanzaError("bad-request", str(error)) from error
        except StanzaError:
            raise
        except Exception as error:
            log.error("a command failed", command=command.name, exc_info=error)
            return adhoc.done(command.name, describe(error), sessionid, failed=True)
        return adhoc.done(command.name, result, sessionid)

    def _list(self, jid: JID, node: str, caller: JID, iq: Iq) -> Iq:
        reply: Iq = iq.reply()
        reply.append(adhoc.items(self.allowed(caller), self.boundjid.bare))
        return reply

    # Presence.

    async def _presence(self, presence: Presence) -> None:
        kind = presence.xml.get("type")
        if kind == "subscribe":
            # Each is to see the other (RFC 6121 §3.1).
            self._tell(presence, "subscribed")
            if self._asks_back(presence["from"].bare):
                self._tell(presence, "subscribe")
        elif kind == "probe":
            self._tell(presence, None)
        await self.here.heard(presence)

    def _asks_back(self, who: str) -> bool:
        """Once: two who both ask back every time would never end."""
        if who in self._asked_back:
            return False
        if len(self._asked_back) >= MAX_CALLERS:
            self._asked_back.clear()
        self._asked_back.add(who)
        return True

    def _tell(self, presence: Presence, kind: str | None) -> None:
        answer = self.Presence(sto=presence["from"].bare, sfrom=presence["to"])
        if kind is not None:
            answer["type"] = kind
        answer.send()

    async def wait_until_all_here(self, jids: Iterable[str], timeout: float) -> None:
        """Wait until all of them are available; those that are missing are asked (a probe).

        A server tells only of users who let us see their presence, by a subscription or by
        sending it to us.

        Args:
            jids: bare JIDs, or full ones for particular resources.
            timeout: how many seconds to wait.

        Raises:
            TimeoutError: somebody is missing; it says who.
        """
        wanted = list(jids)
        for jid in self.here.missing(wanted):
            probe = self.Presence(sto=JID(JID(jid).bare))
            probe["type"] = "probe"
            probe.send()
        try:
            async with asyncio.timeout(timeout):
                await self.here.until_all(wanted)
        except TimeoutError:
            raise TimeoutError(f"not here: {', '.join(self.here.missing(wanted))}") from None

    def _gone(self, who: str) -> None:
        if who == self._master and self._end_with_master:
            log.info("the master has gone", master=who)
            self.stop()


def said(result: object) -> str:
    """What a command returned, as text; there always is one, for whoever waits for it."""
    match result:
        case None:
            text = ""
        case list() | tuple():
            text = "\n".join(str(each) for each in result)
        case dict():
            text = "\n".join(f"{key}: {value}" for key, value in result.items())
        case _:
            text = str(result)
    return text or "done"


def describe(error: Exception) -> str:
    """An exception, for who caused it."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
