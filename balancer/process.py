"""The balancer as a process: its signals, its service manager, its memory."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from balancer.config import Config, ConfigError
from balancer.notify import Notifier
from balancer.service import Service

if TYPE_CHECKING:
    from balancer.admin import Admin
    from balancer.component import Component
    from balancer.stanza import Stanza

log = structlog.get_logger("process")


async def run_process(config: Config, load: Callable[[], Config]) -> None:
    """Balance until SIGTERM or SIGINT; a second one ends the process at once.

    Args:
        config: what to serve.
        load: reads the configuration again, for SIGHUP.

    Raises:
        BalancerError: it could not start.
    """
    service = Service(config, _administer)
    notifier = Notifier()
    stop, hangup = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_or_exit, stop)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    admin: Admin | None = None
    try:
        await service.start()
        admin = await _administered(service)
    except BaseException:
        await service.stop()
        raise
    _settle_memory()
    notifier.ready(_status(service))
    stopped = asyncio.create_task(stop.wait())
    others = {
        asyncio.create_task(service.wait()),
        asyncio.create_task(_reload(service, load, hangup, notifier)),
        asyncio.create_task(_show_life(notifier)),
    }
    await asyncio.wait({stopped, *others}, return_when=asyncio.FIRST_COMPLETED)
    notifier.stopping()
    await service.stop()
    if admin is not None:
        await admin.stop()
    for task in others:
        if task.done() and not task.cancelled():  # a part of the balancer has failed: say what
            task.result()
        task.cancel()
    stopped.cancel()


def _stop_or_exit(stop: asyncio.Event) -> None:
    if stop.is_set():
        sys.stderr.write("stopped at once: a second signal\n")
        os._exit(1)
    stop.set()


async def _reload(
    service: Service, load: Callable[[], Config], hangup: asyncio.Event, notifier: Notifier
) -> None:
    """Take the configuration again whenever that is asked for; a wrong one changes nothing."""
    while True:
        await hangup.wait()
        hangup.clear()
        notifier.reloading()
        try:
            new = load()
        except ConfigError as error:
            service.reload_failed = True
            for problem in error.problems:
                log.error("the new configuration is wrong, the old one stays", problem=problem)
        else:
            await service.reload(new)
        notifier.ready(_status(service))


async def _show_life(notifier: Notifier) -> None:
    """Tell the service manager that the event loop turns, as often as it wants to know."""
    if not notifier.interval:
        await asyncio.Event().wait()
    while True:
        notifier.alive()
        await asyncio.sleep(notifier.interval)


def _status(service: Service) -> str:
    wrong = "; the last reload failed, see the log" if service.reload_failed else ""
    return f"serving {', '.join(service.components)}{wrong}"


def _administer(component: Component, stanza: Stanza) -> bytes:
    """Imported when an administrator first asks: few have any."""
    from balancer.adhoc import administer

    return administer(component, stanza)


async def _administered(service: Service) -> Admin | None:
    """The status page and the API, if they are wanted."""
    config = service.config.admin
    if not config.enabled:
        return None
    # Half a second of imports: backends are accepted meanwhile.
    module = await asyncio.to_thread(importlib.import_module, "balancer.admin")
    admin: Admin = module.Admin(config, service)
    await admin.start()
    return admin


def _settle_memory() -> None:
    """What is here by now stays; what a stanza needs dies young and in no cycle.

    The collector would look through thousands of waiting stanzas after every 700 new ones.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
