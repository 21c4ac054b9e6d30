"""The processes of a measurement: a balancer as it is shipped, and the load; and their costs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.generator import BACKEND_SECRET, SECRET
from tests.bench.stanzas import JID
from tests.servers import free_ports

ROOT = Path(__file__).parent.parent.parent


class Process:
    """A child process, and what it has used."""

    def __init__(self, *arguments: str, **how: Any) -> None:
        self.child = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, text=True, **how)

    def cpu(self) -> float:
        """Seconds of processor time so far, user and system."""
        # utime and stime are in ticks of 10 ms; schedstat has nanoseconds.
        with open(f"/proc/{self.child.pid}/schedstat") as stat:
            return int(stat.read().split()[0]) / 1e9

    def memory(self) -> int:
        """Bytes resident."""
        with open(f"/proc/{self.child.pid}/statm") as stat:
            return int(stat.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def end(self) -> None:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                pipe.close()


class Generator(Process):
    """The load."""

    def __init__(self) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        super().__init__("-m", "tests.bench.generator", **pipes)

    def do(self, do: str, **how: Any) -> dict[str, Any]:
        stdin, stdout = self.child.stdin, self.child.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"do": do, **how}) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, "the generator has died"
        done: dict[str, Any] = json.loads(line)
        return done


CONFIG = f"""
[server]
port = {{server}}
[listen]
port = {{listen}}
[admin]
port = 0
[log]
level = "warning"
[[component]]
jid = "{JID}"
secret = "{SECRET}"
backend_secret = "{BACKEND_SECRET}"
{{more}}
"""


@contextmanager
def balanced(
    folder: Path, backends: int, more: str = "", server: int | None = None
) -> Iterator[tuple[Process, Generator, int]]:
    """A balancer with so many backends, and the port where more can join.

    Without the port of a real server, the generator is the server.
    """
    free, listen = free_ports("127.0.0.1", 2)
    file = folder / "balancer.toml"
    file.write_text(CONFIG.format(server=server or free, listen=listen, more=more))
    generator = Generator()
    balancer = Process("-m", "balancer", "run", str(file))
    try:
        if server is None:
            generator.do("listen", port=free)
        wait_for(listen)
        generator.do("join", port=listen, count=backends)
        yield balancer, generator, listen
    finally:
        balancer.end()
        generator.end()


def wait_for(port: int) -> None:
    """Return when somebody listens."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.005)
        else:
            return
    raise TimeoutError(f"nobody listens on {port}")
