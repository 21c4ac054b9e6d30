"""The program as an operator runs it: exit codes, messages, signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.raw import RawBackend
from tests.servers import XmppServer, free_ports
from tests.stage import BACKEND_SECRET, JID, SECRET

CONFIGURATION = f"""
[server]
port = {{server}}
backoff_max = 5.0

[listen]
port = {{listen}}

[admin]
port = 0

[[component]]
jid = "{JID}"
secret = "{SECRET}"
backend_secret = "{BACKEND_SECRET}"
"""
PROGRAM = [sys.executable, "-m", "balancer"]


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("XMPP_BAL")}


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env=environment(),
        check=False,
    )


def written(folder: Path, server: int = 5347, listen: int = 5348) -> Path:
    file = folder / "balancer.toml"
    file.write_text(CONFIGURATION.format(server=server, listen=listen))
    return file


def test_check_says_that_a_configuration_is_good(tmp_path: Path) -> None:
    done = _run("check", str(written(tmp_path)))
    assert done.returncode == 0
    assert f"ok, 1 component(s): {JID}" in done.stdout


@pytest.mark.parametrize("command", ["check", "run", "show-config"])
def test_a_wrong_configuration_is_one_line_and_exit_status_2(tmp_path: Path, command: str) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text().replace("[listen]", "[listne]"))
    done = _run(command, str(file))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"{file}: listne: unknown key" in done.stderr


@pytest.mark.parametrize("setting", ["listen.prot=1", "nonsense"])
def test_a_wrong_setting_is_named(tmp_path: Path, setting: str) -> None:
    done = _run("check", str(written(tmp_path)), "--set", setting)
    assert done.returncode == 2
    assert setting.partition("=")[0] in done.stderr


def test_show_config_shows_everything_but_secrets(tmp_path: Path) -> None:
    done = _run("show-config", str(written(tmp_path)), "--set", "listen.port=7")
    assert done.returncode == 0
    shown = tomllib.loads(done.stdout)
    assert shown["listen"]["port"] == 7
    assert shown["component"][0]["strategy"] == "hash"
    assert SECRET not in done.stdout
    assert BACKEND_SECRET not in done.stdout


def test_a_taken_port_is_named_and_exit_status_3(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _run("run", str(written(tmp_path, listen=port)))
    assert done.returncode == 3
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


class _Running:
    """``xmpp-balancer run`` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[str] = []

    async def says(self, words: str) -> str:
        """The next line of the log with these words in it."""
        assert self.process.stderr is not None
        async with asyncio.timeout(20):
            while line := (await self.process.stderr.readline()).decode():
                self.log.append(line)
                if words in line:
                    return line
        raise AssertionError("".join(self.log))


@asynccontextmanager
async def running(*arguments: str | Path, **variables: str) -> AsyncIterator[_Running]:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        "run",
        *map(str, arguments),
        stderr=asyncio.subprocess.PIPE,
        env=environment() | variables,
    )
    try:
        yield _Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.asyncio
async def test_run_says_when_it_is_up_and_stops_in_good_order(
    prosody: XmppServer, tmp_path: Path
) -> None:
    (listen,) = free_ports("127.0.0.1", 1)
    file = written(tmp_path, prosody.component_port, listen)
    async with running(file) as balancer:
        await balancer.says("listening for backends")
        await balancer.says("the server has accepted the handshake")
        async with RawBackend(listen) as backend:
            await backend.join()
            balancer.process.send_signal(signal.SIGTERM)
            assert (await backend.hear_all()).endswith(b"</stream:stream>")
        assert await asyncio.wait_for(balancer.process.wait(), 20) == 0


@pytest.mark.asyncio
async def test_a_second_signal_stops_at_once(prosody: XmppServer, tmp_path: Path) -> None:
    (listen,) = free_ports("127.0.0.1", 1)
    file = written(tmp_path, prosody.component_port, listen)
    async with running(file, "--set", "shutdown_timeout=60") as balancer:
        await balancer.says("the server has accepted the handshake")
        async with RawBackend(listen) as backend:
            await backend.join()
            # A request to its own component comes back to it, and it does not answer.
            backend.say(f"<iq type='get' id='1' from='{JID}' to='{JID}'><q xmlns='urn:q'/></iq>")
            await backend.hear(b"</iq>")
            balancer.process.send_signal(signal.SIGTERM)
            await balancer.says("stopping")
            balancer.process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(balancer.process.wait(), 20) == 1


@pytest.mark.asyncio
async def test_a_reload_takes_what_is_right_and_keeps_the_old_otherwise(
    prosody: XmppServer, tmp_path: Path
) -> None:
    (listen,) = free_ports("127.0.0.1", 1)
    file = written(tmp_path, prosody.component_port, listen)
    good = file.read_text()
    async with running(file) as balancer:
        await balancer.says("the server has accepted the handshake")
        file.write_text(good.replace("[listen]", "[listne]"))
        balancer.process.send_signal(signal.SIGHUP)
        assert "the old one stays" in await balancer.says("listne: unknown key")
        async with RawBackend(listen) as backend:
            await backend.join()

        file.write_text(good.replace(BACKEND_SECRET, "another secret"))
        balancer.process.send_signal(signal.SIGHUP)
        await balancer.says("configuration reloaded")
        async with RawBackend(listen, secret="another secret") as backend:
            await backend.join()
        async with RawBackend(listen) as backend:
            with pytest.raises(AssertionError, match="not-authorized"):
                await backend.join()


@pytest.mark.asyncio
async def test_the_service_manager_is_told(prosody: XmppServer, tmp_path: Path) -> None:
    """What systemd hears from a unit with ``Type=notify-reload`` and a watchdog."""
    address = tmp_path / "notify"
    heard: asyncio.Queue[list[str]] = asyncio.Queue()

    class Ear(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            heard.put_nowait(data.decode().splitlines())

    async def next_word() -> str:
        async with asyncio.timeout(20):
            while (words := await heard.get())[0] == "WATCHDOG=1":
                pass
            return words[0]

    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(address))
        ear.setblocking(False)
        transport, _ = await loop.create_datagram_endpoint(Ear, sock=ear)
        (listen,) = free_ports("127.0.0.1", 1)
        file = written(tmp_path, prosody.component_port, listen)
        manager = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "300000"}
        async with running(file, **manager) as balancer:
            assert await next_word() == "READY=1"
            async with asyncio.timeout(20):
                assert await heard.get() == ["WATCHDOG=1"]
            for text in (file.read_text(), "nonsense"):
                file.write_text(text)
                balancer.process.send_signal(signal.SIGHUP)
                assert [await next_word(), await next_word()] == ["RELOADING=1", "READY=1"]
            balancer.process.send_signal(signal.SIGTERM)
            assert await next_word() == "STOPPING=1"
            assert await balancer.process.wait() == 0
        transport.close()
