"""Light components on the balancer's own wire: a backend that echoes, and a steady load.

They are fast and count what they see.  What must be shown on an unmodified library is shown with
processes of `tests.plays.worker`.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict

from balancer.framing import Framer
from balancer.link import Link
from balancer.stanza import Stanza
from balancer.stream import Established, Event, Initiator

REDELIVERED = b"<redelivered xmlns='urn:xmpp-balancer:0'/>"
BODY = re.compile(rb"<body>(\d+)(\*?)</body>")
SERVICE = "svc.localhost"


class Peer:
    """A component's connection: to a server, or to the balancer."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.lost_at_all = asyncio.Event()
        self._up = asyncio.Event()

    async def connect(self, port: int, jid: str, secret: str) -> None:
        stream = Initiator(jid, secret, Framer(1 << 20))
        stream.open()
        link = Link(stream, self)
        self._up.clear()
        self.lost_at_all.clear()
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: link, "127.0.0.1", port)
        self.link = link
        async with asyncio.timeout(20):
            await self._up.wait()
        assert link.failure is None, link.failure

    def say(self, text: str) -> None:
        if self.link is not None:
            self.link.send(text.encode())
            self.link.flush()

    async def leave(self) -> None:
        link = self.link
        if link is not None:
            link.close()
            await link.closed

    def crash(self) -> None:
        if self.link is not None:
            self.link.abort()

    def received(self, link: Link, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Established):
                self._up.set()
            elif isinstance(event, Stanza):
                self.stanza(event)

    def stanza(self, stanza: Stanza) -> None:
        """What to do with a stanza."""

    def full(self, link: Link) -> None:
        """It is never asked for more than it can take."""

    def room(self, link: Link) -> None:
        """See `full`."""

    def lost(self, link: Link) -> None:
        self.link = None
        self._up.set()
        self.lost_at_all.set()


class EchoPeer(Peer):
    """A backend that echoes numbered messages, with ``*`` if redelivered, and answers iqs."""

    def stanza(self, stanza: Stanza) -> None:
        if stanza.is_request:
            self.say(
                f"<iq type='result' id='{stanza.id}' to='{stanza.sender}' from='{stanza.to}'/>"
            )
        elif stanza.kind == "message" and stanza.type == "chat":
            found = BODY.search(stanza.data)
            assert found is not None
            mark = "*" if stanza.data.endswith(REDELIVERED + b"</message>") else ""
            self.say(
                f"<message type='chat' to='{stanza.sender}' from='{stanza.to}'>"
                f"<body>{found[1].decode()}{mark}</body></message>"
            )


class Load(Peer):
    """Many users of one component that write numbered messages and ask, steadily.

    Args:
        domain: the component whose users they are.
        users: how many.
        pause: seconds between two rounds, in each of which some users write and ask.
    """

    def __init__(self, domain: str, users: int = 40, pause: float = 0.02) -> None:
        super().__init__()
        self.domain = domain
        self.sent: dict[str, list[int]] = defaultdict(list)
        self.heard: dict[str, list[tuple[int, bool]]] = defaultdict(list)
        self.bounced: dict[int, bytes] = {}
        self.asked: dict[str, str] = {}  # id: get or set
        self.answered: Counter[str] = Counter()
        self.errors: list[bytes] = []
        self._users = [f"u{n}@{domain}" for n in range(users)]
        self._pause = pause
        self._number = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Send nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        turn = 0
        while True:
            for _ in range(6):
                turn += 1
                self.write(self._users[turn % len(self._users)], turn)
            await asyncio.sleep(self._pause)

    def write(self, user: str, turn: int) -> None:
        if self.link is None:
            return
        self._number += 1
        number = self._number
        if turn % 3:
            self.sent[user].append(number)
            self.say(
                f"<message type='chat' from='{user}/x' to='{SERVICE}' id='m{number}'>"
                f"<body>{number}</body></message>"
            )
        else:
            kind = "set" if turn % 9 == 0 else "get"
            self.asked[f"q{number}"] = kind
            self.say(
                f"<iq type='{kind}' from='{user}/x' to='{SERVICE}' id='q{number}'>"
                "<ping xmlns='urn:xmpp:ping'/></iq>"
            )

    def stanza(self, stanza: Stanza) -> None:
        assert stanza.to is not None
        if stanza.type == "error":
            self.errors.append(stanza.data)
        if stanza.kind == "iq":
            assert stanza.is_reply
            self.answered[stanza.id or ""] += 1
        elif stanza.type == "error":
            self.bounced[int((stanza.id or "").removeprefix("m"))] = stanza.data
        else:
            found = BODY.search(stanza.data)
            assert found is not None
            self.heard[stanza.to.partition("/")[0]].append((int(found[1]), bool(found[2])))

    # The account.

    def is_complete(self) -> bool:
        heard = {number for each in self.heard.values() for number, _ in each}
        sent = {number for each in self.sent.values() for number in each}
        return sent <= heard | self.bounced.keys() and self.answered.keys() >= self.asked.keys()

    def check(self, *, all_of_them: bool = True) -> None:
        """What the balancer promises.

        Args:
            all_of_them: whether every message must have arrived; the server may have lost some.
        """
        for user, sent in self.sent.items():
            heard = self.heard[user]
            arrived = {number for number, _ in heard}
            if all_of_them:
                assert set(sent) == arrived, f"lost: {sorted(set(sent) - arrived)[:10]}"
            marked = Counter(number for number, again in heard if again)
            plain = Counter(number for number, again in heard if not again)
            assert not marked or max(marked.values()) == 1, "given to a third backend"
            assert max(plain.values(), default=1) == 1, "given twice without a mark"
            in_order = [number for number, again in heard if not again and number not in marked]
            assert in_order == sorted(in_order), f"out of order: {user}"
        if all_of_them:
            assert self.answered == dict.fromkeys(self.asked, 1), "not answered exactly once"
        else:
            assert not self.answered or max(self.answered.values()) == 1, "answered twice"
