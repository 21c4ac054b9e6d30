"""The stack of deploy/compose.yaml as plain processes, on the files that its containers get.

What is not as in the containers, and nothing else: addresses and ports, the folder of the secrets,
where data goes, and Prometheus' pace (seconds instead of a quarter of a minute).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.servers import Prosody, free_ports, lua

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
HOST = "127.0.0.1"
JID = "svc.localhost"
PATIENCE = 30.0


class Address(NamedTuple):
    """Where one part of the stack is."""

    port: int

    def __str__(self) -> str:
        return f"{HOST}:{self.port}"


class StackProsody(Prosody):
    """Prosody on the stack's file, which is included whole; only what comes after is ours."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        super().__init__(folder, {})
        self.secrets = secrets

    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        command, environment = super()._prepare()
        own = (self.folder / "prosody.cfg.lua").read_text()
        kept = (
            *("run_as_root", "pidfile", "data_path", "certificates", "log"),
            *("interfaces", "c2s_ports", "component_ports"),
            # The accounts of the tests are written with plain passwords, and so are these sent.
            *("authentication", "allow_unencrypted"),
        )
        lines = [line for line in own.splitlines() if line.startswith(kept)]
        lines += [f"component_interfaces = {{ {lua(self.host)} }}"]
        include = f"Include {lua(DEPLOY / 'prosody.cfg.lua')}"
        (self.folder / "prosody.cfg.lua").write_text("\n".join([include, *lines]) + "\n")
        return command, environment | {"SECRETS": str(self.secrets)}


class Stack:
    """Everything, running.

    Args:
        folder: where its files and logs are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = folder / "secrets"
        self.listen, self.admin, self.web = map(Address, free_ports(HOST, 3))
        self.prosody: StackProsody
        self.balancer: asyncio.subprocess.Process
        self.http: httpx.AsyncClient

    def copy(self, name: str, changes: Iterable[tuple[str, object]] = ()) -> Path:
        """One of the stack's files, with its secrets and these words replaced."""
        text = (DEPLOY / name).read_text()
        for word, other in [("/run/secrets", self.secrets), *changes]:
            assert word in text, f"{name}: {word}"
            text = text.replace(word, str(other))
        file = self.folder / Path(name).name
        file.write_text(text)
        return file

    @property
    def bearer(self) -> dict[str, str]:
        """What changes something through the API."""
        return {"Authorization": f"Bearer {(self.secrets / 'admin_token').read_text()}"}

    async def prometheus(self, what: str, **parameters: Any) -> Any:
        """Prometheus' answer."""
        url = f"http://{self.web}/api/v1/{what}"
        answer = (await self.http.get(url, params=parameters)).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def until(self, expr: str) -> None:
        """Wait for an expression to have a result."""
        async with asyncio.timeout(PATIENCE):
            while not (await self.prometheus("query", query=expr))["result"]:  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    async def ready(self) -> int:
        """The status of /readyz."""
        return (await self.http.get(f"http://{self.admin}/readyz")).status_code

    async def until_ready(self) -> None:
        """Wait for the balancer to be connected on both sides."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    if await self.ready() == 200:
                        return
                except httpx.TransportError:
                    pass  # it does not listen yet
                await asyncio.sleep(0.1)

    def echo(self, number: int) -> list[str]:
        """The command of one backend: Compose's, but for where the balancer is."""
        command = [sys.executable, "-m", "backends.echo", f"--host={HOST}"]
        command += [f"--port={self.listen.port}", f"--jid={JID}/backend-{number}"]
        return [*command, f"--secret-file={self.secrets / 'backend_secret'}"]


@asynccontextmanager
async def process(
    log: Path, *command: str | Path, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that ends with the block, or with us."""
    setpriv = shutil.which("setpriv")
    guard = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    with log.open("ab") as output:
        running = await asyncio.create_subprocess_exec(
            *guard,
            *map(str, command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={key: value for key, value in os.environ.items() if not key.startswith("XMPP_BAL")}
            | environment,
        )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


@asynccontextmanager
async def stack(folder: Path) -> AsyncIterator[Stack]:
    """The stack, every part of it started and the balancer ready."""
    it = Stack(folder)
    make = shutil.copy(DEPLOY / "make-secrets.sh", folder)
    async with AsyncExitStack() as parts:
        async with process(folder / "secrets.log", make) as making:
            assert await making.wait() == 0
        it.http = await parts.enter_async_context(httpx.AsyncClient(timeout=10, trust_env=False))
        it.prosody = StackProsody(folder / "prosody", it.secrets)
        await parts.enter_async_context(it.prosody)
        it.balancer = await parts.enter_async_context(
            process(
                folder / "balancer.log",
                *(sys.executable, "-m", "balancer", "run", it.copy("balancer.toml")),
                XMPP_BALANCER_SERVER_HOST=HOST,
                XMPP_BALANCER_SERVER_PORT=str(it.prosody.component_port),
                XMPP_BALANCER_LISTEN_HOST=HOST,
                XMPP_BALANCER_LISTEN_PORT=str(it.listen.port),
                XMPP_BALANCER_ADMIN_HOST=HOST,
                XMPP_BALANCER_ADMIN_PORT=str(it.admin.port),
            )
        )
        places = [("balancer:9348", it.admin), ("localhost:9090", it.web), ("15s", "1s")]
        config = it.copy("prometheus/prometheus.yml", places)
        shutil.copytree(DEPLOY / "prometheus/rules", folder / "rules")
        await parts.enter_async_context(
            process(
                folder / "prometheus.log",
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={it.web}",
            )
        )
        for number in (1, 2, 3):
            log = folder / f"backend-{number}.log"
            await parts.enter_async_context(process(log, *it.echo(number)))
        await it.until_ready()
        yield it
