"""Real XMPP servers for the tests, each run as a child process below one folder."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import slixmpp

START_SECONDS = 30.0
STOP_SECONDS = 10.0
CLIENT_SECONDS = 15.0
PASSWORD = "secret"


def free_ports(host: str, count: int) -> list[int]:
    """Different free ports: all are held at once, so that none is given twice."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind((host, 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


class XmppServer(ABC):
    """What the tests may ask of any server, whatever program it is."""

    program: str
    host = "127.0.0.1"
    domain = "localhost"
    users: tuple[str, ...] = ("alice", "bob", "carol", "dave")
    password = PASSWORD

    def __init__(self, folder: Path, components: Mapping[str, str]) -> None:
        self.folder = folder.absolute()
        self.components = dict(components)
        self.component_port, self.client_port = free_ports(self.host, 2)
        self.log = self.folder / "server.log"
        self.console = self.folder / "console.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """The server's process id, for tests that want to suspend or kill it."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Return only when clients and components can connect."""
        if self._process is not None:
            raise RuntimeError(f"{self.program} is already running")
        self.folder.mkdir(parents=True, exist_ok=True)
        command, environment = self._prepare()
        # A test run that is itself killed cannot clean up, so the kernel has to.
        setpriv = shutil.which("setpriv")
        if setpriv is not None:
            command = [setpriv, "--pdeathsig", "KILL", *command]
        with self.console.open("ab") as console:
            # Popen, not asyncio's: it must outlive a loop and be stoppable from another one.
            # A session of its own makes every helper process reachable through the group.
            self._process = subprocess.Popen(  # noqa: ASYNC220
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=os.environ | environment,
                start_new_session=True,
            )
        atexit.register(self._kill)
        try:
            await self._wait_ready(self._process)
        except BaseException:
            await self.stop(0.0)
            raise

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End the server: politely for the given time, then by force (0: as in a crash)."""
        process = self._process
        if process is None:
            return
        try:
            if seconds > 0 and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                deadline = time.monotonic() + seconds
                while process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        finally:
            self._kill()

    async def restart(self) -> None:
        """Same ports and data, so that clients may find the server again."""
        await self.stop()
        await self.start()

    def _kill(self) -> None:
        process, self._process = self._process, None
        atexit.unregister(self._kill)
        if process is None:
            return
        # Helpers may outlive the leader; the group's id stays taken as long as they do.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    async def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not (
            self._prepared()
            and await self._accepts(self.client_port)
            and await self._accepts(self.component_port)
        ):
            if process.poll() is not None:
                raise RuntimeError(
                    f"{self.program} ended with {process.returncode}:\n{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.program} does not accept:\n{self.log_tail()}")
            await asyncio.sleep(0.05)

    async def _accepts(self, port: int) -> bool:
        try:
            _, writer = await asyncio.open_connection(self.host, port)
        except OSError:
            return False
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return True

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of all the server wrote, to explain a failure."""
        parts = []
        for path in (self.console, self.log):
            if path.exists():
                text = path.read_text(errors="replace").splitlines()[-lines:]
                parts.append("\n".join([f"--- {path.name}", *text]))
        return "\n".join(parts)

    @abstractmethod
    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        """Write the configuration; the command and the environment to run it with."""

    def _prepared(self) -> bool:
        """Whether more than the open ports, which come too early, says it is ready."""
        return True


class Prosody(XmppServer):
    """Prosody, its accounts written as files since nothing then has to be run first."""

    program = "prosody"

    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        data = self.folder / "data"
        accounts = data / self.domain / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        for user in self.users:
            account = accounts / f"{user}.dat"
            if not account.exists():
                account.write_text(f'return {{ ["password"] = {lua(self.password)}; }};\n')
        lines = [
            "run_as_root = true",
            f"pidfile = {lua(self.folder / 'server.pid')}",
            f"data_path = {lua(data)}",
            f"certificates = {lua(data)}",
            f"log = {{ info = {lua(self.log)} }}",
            f"interfaces = {{ {lua(self.host)} }}",
            f"c2s_ports = {{ {self.client_port} }}",
            "c2s_direct_tls_ports = {}",
            f"component_interface = {lua(self.host)}",
            f"component_ports = {{ {self.component_port} }}",
            'authentication = "internal_plain"',
            'storage = "internal"',
            "c2s_require_encryption = false",
            "allow_unencrypted_plain_auth = true",
            'modules_enabled = { "roster", "saslauth", "disco", "ping" }',
            'modules_disabled = { "s2s", "tls", "limits" }',
            f"VirtualHost {lua(self.domain)}",
        ]
        for jid, secret in self.components.items():
            lines += [f"Component {lua(jid)}", f"component_secret = {lua(secret)}"]
        config = self.folder / "prosody.cfg.lua"
        config.write_text("\n".join(lines) + "\n")
        return [self.program, "-F", "--config", str(config)], {}


def lua(value: str | Path) -> str:
    """A Lua string (JSON's escapes for plain ASCII text are Lua's too)."""
    return json.dumps(str(value), ensure_ascii=False)


class Ejabberd(XmppServer):
    """ejabberd run by erl itself: its script would change the user and start a daemon.

    The node has no name, hence no distribution, no cookie and no epmd left behind.
    """

    program = "ejabberd"

    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        self._ready_file.unlink(missing_ok=True)
        config = self.folder / "ejabberd.yml"
        # JSON is YAML as well, with sure quoting.
        config.write_text(json.dumps(self._config(), indent=2) + "\n")
        library = ejabberd_library()
        if library is None:
            raise FileNotFoundError("ejabberd is not installed")
        users = ", ".join(f'<<"{user}">>' for user in self.users)
        script = (
            "{ok, _} = application:ensure_all_started(ejabberd), "
            f'[ejabberd_auth:try_register(U, <<"{self.domain}">>, <<"{self.password}">>)'
            f" || U <- [{users}]], "
            f"ok = file:write_file({json.dumps(str(self._ready_file))}, <<>>)."
        )
        command = ["erl", "-noinput", "-mnesia", "dir", json.dumps(str(data)), "-eval", script]
        return command, {
            "HOME": str(self.folder),
            "ERL_LIBS": str(library),
            "ERL_CRASH_DUMP": str(self.folder / "crash.dump"),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "EJABBERD_CONFIG_PATH": str(config),
            "EJABBERD_LOG_PATH": str(self.log),
        }

    @property
    def _ready_file(self) -> Path:
        return self.folder / "ready"

    def _prepared(self) -> bool:
        return self._ready_file.exists()

    def _config(self) -> dict[str, Any]:
        return {
            "hosts": [self.domain],
            "loglevel": "info",
            "auth_method": "mnesia",
            "auth_password_format": "plain",
            "acme": {"auto": False},
            "shaper_rules": {"max_user_sessions": 1000},
            "listen": [
                {
                    "ip": self.host,
                    "backlog": 128,
                    "port": self.client_port,
                    "module": "ejabberd_c2s",
                    "access": "all",
                    "shaper": "none",
                    "starttls": False,
                },
                {
                    "ip": self.host,
                    "backlog": 128,
                    "port": self.component_port,
                    "module": "ejabberd_service",
                    "access": "all",
                    "shaper_rule": "none",
                    "global_routes": False,
                    "hosts": {jid: {"password": secret} for jid, secret in self.components.items()},
                },
            ],
            "s2s_access": "none",
            "modules": {"mod_disco": {}, "mod_ping": {}, "mod_roster": {}},
        }


def ejabberd_library() -> Path | None:
    """Where Debian keeps ejabberd's Erlang code: a folder named after the architecture."""
    for found in sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin/ejabberd.app")):
        return found.parents[2]
    return None


def available(kind: type[XmppServer]) -> bool:
    """Whether the server is installed, so that tests can be skipped where it is not."""
    if kind is Ejabberd:
        return shutil.which("erl") is not None and ejabberd_library() is not None
    return shutil.which(kind.program) is not None


async def client(server: XmppServer, user: str, resource: str) -> slixmpp.ClientXMPP:
    """A client whose session has started and whose presence the server has seen."""
    xmpp = slixmpp.ClientXMPP(
        f"{user}@{server.domain}/{resource}",
        server.password,
        plugin_config={"feature_mechanisms": {"use_mech": "PLAIN", "unencrypted_plain": True}},
    )
    xmpp.enable_direct_tls = False
    xmpp.enable_starttls = False
    xmpp.enable_plaintext = True
    for plugin in ("xep_0030", "xep_0050", "xep_0199"):
        xmpp.register_plugin(plugin)
    loop = asyncio.get_running_loop()
    started: asyncio.Future[None] = loop.create_future()
    seen: asyncio.Future[None] = loop.create_future()

    def on_start(_: object) -> None:
        if not started.done():
            started.set_result(None)

    def on_failure(error: object) -> None:
        if not started.done():
            started.set_exception(ConnectionError(f"{user}: {error}"))

    def on_presence(presence: slixmpp.Presence) -> None:
        if presence["from"] == xmpp.boundjid and not seen.done():
            seen.set_result(None)

    failures = ("failed_all_auth", "connection_failed", "disconnected")
    xmpp.add_event_handler("session_start", on_start)
    xmpp.add_event_handler("presence_available", on_presence)
    for name in failures:
        xmpp.add_event_handler(name, on_failure)
    xmpp.connect(server.host, server.client_port)
    try:
        await asyncio.wait_for(started, CLIENT_SECONDS)
        # The server sends a client's own presence back: from then on it is reachable.
        xmpp.send_presence()
        await asyncio.wait_for(seen, CLIENT_SECONDS)
    except BaseException:
        await disconnect(xmpp)
        raise
    xmpp.del_event_handler("session_start", on_start)
    xmpp.del_event_handler("presence_available", on_presence)
    for name in failures:
        xmpp.del_event_handler(name, on_failure)
    return xmpp


async def disconnect(xmpp: slixmpp.ClientXMPP | slixmpp.ComponentXMPP) -> None:
    """Leave nothing of the stream in the event loop, even if the server is gone."""
    xmpp.cancel_connection_attempt()
    await xmpp.disconnect(wait=1.0)
    sender = xmpp._run_out_filters
    if sender is not None:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
