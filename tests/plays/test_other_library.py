"""A backend on a library that no one here wrote: Debian's ``libanyevent-xmpp-perl``."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import XmppServer, client, disconnect
from tests.stage import BACKEND_SECRET, JID, balancing, until


def _has_library() -> bool:
    perl = shutil.which("perl")
    command = [perl or "perl", "-MAnyEvent::XMPP::Component", "-e1"]
    return perl is not None and not _fails(command)


def _fails(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode != 0


@pytest.mark.asyncio
@pytest.mark.skipif(not _has_library(), reason="libanyevent-xmpp-perl is not installed")
async def test_perl_backends_share_the_traffic(server: XmppServer) -> None:
    script = Path(__file__).with_name("backend.pl")
    async with balancing(server) as service:
        command = ["perl", str(script), JID, str(service.listener.port), BACKEND_SECRET]
        perls = [
            await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            for _ in range(2)
        ]
        try:
            pool = service.components[JID].router.pool
            for perl in perls:
                assert perl.stdout is not None
                assert await asyncio.wait_for(perl.stdout.readline(), 20) == b"ready\n"
            assert [backend.name for backend in pool] == ["1", "2"]
            alice = await client(server, "alice", "phone")
            got: list[str] = []
            alice.add_event_handler("message", lambda message: got.append(message["body"]))
            for number in range(50):
                alice.send_message(mto=f"bot@{JID}", mbody=str(number))
            await until(lambda: len(got) == 50)
            assert got == [f"perl: {number}" for number in range(50)]
            await disconnect(alice)
        finally:
            for perl in perls:
                if perl.returncode is None:
                    perl.terminate()
                await perl.wait()
