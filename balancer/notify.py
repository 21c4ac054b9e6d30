"""What systemd is told, where it runs the balancer (sd_notify(3), ``Type=notify-reload``).

A few words to a datagram socket; without ``NOTIFY_SOCKET`` in the environment, to nobody.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Tells the service manager how the balancer is.

    Args:
        environ: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` may be.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # An abstract socket's name begins with a NUL, written as "@".
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environ.get("WATCHDOG_USEC", "") if mine else ""
        #: Seconds between two signs of life: a third of what systemd waits; 0 if it does not.
        self.interval = int(microseconds) / 3e6 if microseconds.isdecimal() else 0.0

    def __repr__(self) -> str:
        return f"<Notifier {self._address!r}>"

    def ready(self, status: str) -> None:
        """The balancer serves, also again after a reload."""
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload has begun."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """The balancer is about to end."""
        self._tell("STOPPING=1\nSTATUS=finishing what is in flight")

    def alive(self) -> None:
        """The event loop turns."""
        self._tell("WATCHDOG=1")

    def _tell(self, words: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            try:
                to.sendto(words.encode(), self._address)
            except OSError:
                return  # it is only news
