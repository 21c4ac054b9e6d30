"""The balancer as a whole: start, run, stop."""

from __future__ import annotations

import asyncio
import time

import structlog

from balancer.component import Administrator, Component
from balancer.config import ComponentConfig, Config
from balancer.histogram import FINE, Histogram
from balancer.link import Link
from balancer.listener import Listener
from balancer.rules import credentials
from balancer.stream import Introduced

log = structlog.get_logger("service")

#: Seconds between two looks at what has waited too long.  Time-outs are that exact.
TICK: float = 0.1


class Service:
    """All components of a configuration, and the port they share.

    Args:
        config: what to serve.
        administrator: does what administrators ask from an XMPP client; see `adhoc`.
    """

    def __init__(self, config: Config, administrator: Administrator | None = None) -> None:
        self.config = config
        self._administrator = administrator
        self.components = {each.jid: self._component(each, config) for each in config.component}
        secrets = {jid: credentials(component.config) for jid, component in self.components.items()}
        self.listener = Listener(config.listen, secrets, self)
        self.started = time.monotonic()
        self.lag = Histogram(FINE)  # seconds that the event loop was late
        self.reloaded = time.time()  # when a configuration was last taken, since the epoch
        self.reload_failed = False
        self.stopping = False
        self.ended = asyncio.Event()  # for those who watch
        self._ticking: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Service {self.listener!r} {list(self.components.values())!r}>"

    @property
    def token(self) -> str | None:
        """What allows to change something through the API."""
        token = self.config.admin.token
        return token.get_secret_value() if token is not None else None

    async def start(self) -> None:
        """Listen for backends and begin to connect to the server.

        Raises:
            ListenError: the address for backends cannot be used.
        """
        await self.listener.start()
        for component in self.components.values():
            component.start()
        self._ticking = asyncio.create_task(self._tick())

    async def wait(self) -> None:
        """Return only by raising what went wrong inside the balancer: a defect."""
        assert self._ticking is not None
        await self._ticking

    async def stop(self) -> None:
        """Finish what is in flight, answer the rest, close; within ``shutdown_timeout``."""
        self.stopping = True
        seconds = self.config.shutdown_timeout
        log.info("stopping", timeout=seconds)
        self.listener.stop()
        await asyncio.gather(*(each.stop(seconds) for each in self.components.values()))
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait({self._ticking})
        self.ended.set()
        log.info("stopped")

    async def reload(self, config: Config) -> None:
        """Go on under another configuration.

        Components come and go, and take their new secrets, weights, rules and servers.  The
        listening address stays until a restart.
        """
        if config.listen != self.config.listen:
            log.warning("[listen] is not changed by a reload: restart for that")
            config = config.model_copy(update={"listen": self.config.listen})
        old, new = self.config.admin, config.admin
        if (old.enabled, old.host, old.port) != (new.enabled, new.host, new.port):
            log.warning("of [admin] only the token is changed by a reload: restart for the rest")
        wanted = {each.jid: each for each in config.component}
        for jid, component in list(self.components.items()):
            same_link = (
                jid in wanted
                and wanted[jid].secret == component.config.secret
                and config.server_for(wanted[jid]) == self.config.server_for(component.config)
            )
            if jid not in wanted:
                del self.components[jid]
                await component.stop(config.shutdown_timeout)
            else:
                component.reconfigure(wanted[jid], config.health)
                if not same_link:
                    await component.connect_anew(config.server_for(wanted[jid]))
        for jid, each in wanted.items():
            if jid not in self.components:
                self.components[jid] = self._component(each, config)
                self.components[jid].start()
        self.config = config
        self.reloaded, self.reload_failed = time.time(), False
        self.listener.components = {
            jid: credentials(component.config) for jid, component in self.components.items()
        }
        log.info("configuration reloaded", components=list(self.components))

    def _component(self, each: ComponentConfig, config: Config) -> Component:
        return Component(each, config.server_for(each), config.health, self._administrator)

    def introduced(self, link: Link, who: Introduced) -> None:
        component = self.components.get(who.jid)
        if component is None:  # a reload took it away while the handshake was under way
            link.fail("host-gone", f"{who.jid} is no longer served here")
        else:
            component.introduced(link, who)

    async def _tick(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + TICK
            await asyncio.sleep(TICK)
            self.lag.observe(max(0.0, clock() - due))
            for component in self.components.values():
                component.tick()
