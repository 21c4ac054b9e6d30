"""What is measured: each measure is some figures of several runs, its baseline in between."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from xml.parsers import expat

from tests.bench.generator import HEADER, SECRET
from tests.bench.stage import CONFIG, Generator, Process, balanced, wait_for
from tests.bench.stanzas import JID, answers, made
from tests.servers import Ejabberd, Prosody, XmppServer, available, free_ports

RUNS = 7


@dataclass
class Measure:
    """One row of the table; the ratio of each run is ``figure / baseline``, or the figure alone."""

    name: str
    unit: str
    target: float
    at_least: bool = False
    figures: list[float] = field(default_factory=list)
    baselines: list[float] = field(default_factory=list)
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        if not self.baselines:
            return self.figures
        return [a / b for a, b in zip(self.figures, self.baselines, strict=True)]

    @property
    def value(self) -> float:
        return median(self.ratios)

    @property
    def reached(self) -> bool:
        return self.value >= self.target if self.at_least else self.value <= self.target


def floor(stanzas: list[bytes]) -> float:
    """Seconds that expat alone takes for the bytes of one stanza; no handlers."""
    data = b"".join(stanzas)
    pieces = [data[n : n + (1 << 18)] for n in range(0, len(data), 1 << 18)]
    parser = expat.ParserCreate("UTF-8", namespace_separator=" ")
    parser.Parse(HEADER, False)
    gc.collect()
    start = time.process_time()
    for piece in pieces:
        parser.Parse(piece, False)
    return (time.process_time() - start) / len(stanzas)


@contextmanager
def stage(backends: int, more: str = "") -> Iterator[tuple[Process, Generator, int]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        balanced(Path(folder), backends, more) as processes,
    ):
        yield processes


def cost(
    balancer: Process, load: Generator, what: str, count: int, **how: object
) -> dict[str, float]:
    """One run: what a stanza costs the balancer, and how busy everybody was."""
    before = balancer.cpu()
    done = load.do("run", what=what, count=count, **how)
    cpu = balancer.cpu() - before
    return {
        "cpu": cpu / done["stanzas"],
        "throughput": done["stanzas"] / done["wall"],
        "balancer": cpu / done["wall"],
        "generator": done["cpu"] / done["wall"],
    }


def _note(measure: Measure, runs: list[dict[str, float]]) -> None:
    measure.notes["stanzas/s"] = median(run["throughput"] for run in runs)
    measure.notes["µs/stanza"] = median(run["cpu"] for run in runs) * 1e6
    measure.notes["generator's CPU share"] = median(run["generator"] for run in runs)
    measure.notes["balancer's CPU share"] = median(run["balancer"] for run in runs)


def against_the_floor() -> Iterator[Measure]:
    rows = (
        ("forwarding to 4 backends", "mix", 5.0),
        ("iq requests and their answers", "requests", 6.0),
    )
    for name, what, target in rows:
        measure = Measure(name, "x bare expat", target)
        sample = made(what, 24_000, 1000)
        sample += answers(sample)
        with stage(4) as (balancer, load, _):
            cost(balancer, load, what, 48_000)
            runs = []
            for _ in range(RUNS):
                before = floor(sample)
                runs.append(cost(balancer, load, what, 240_000))
                measure.figures.append(runs[-1]["cpu"])
                measure.baselines.append((before + floor(sample)) / 2)
            _note(measure, runs)
        yield measure


def against_slixmpp() -> Iterator[Measure]:
    measure = Measure("forwarding messages", "x a slixmpp component that relays", 0.1)
    (port,) = free_ports("127.0.0.1", 1)
    with ExitStack() as stack:
        balancer, load, _ = stack.enter_context(stage(4))
        other = Generator()
        stack.callback(other.end)
        other.do("listen", port=port)
        relay = Process("-m", "tests.bench.relay", str(port))
        stack.callback(relay.end)
        cost(balancer, load, "messages", 48_000)
        cost(relay, other, "messages", 24_000, relayed=True)
        runs = []
        for _ in range(RUNS):
            runs.append(cost(balancer, load, "messages", 240_000))
            measure.figures.append(runs[-1]["cpu"])
            slow = cost(relay, other, "messages", 24_000, relayed=True)
            measure.baselines.append(slow["cpu"])
        _note(measure, runs)
        measure.notes["slixmpp's µs/stanza"] = median(measure.baselines) * 1e6
    yield measure


def many() -> Iterator[Measure]:
    measure = Measure("1,000 backends on one JID", "x 4 backends", 1.3)
    with stage(1000) as (balancer, load, _), stage(4) as (few, light, _):
        for _ in range(2):
            cost(balancer, load, "mix", 48_000)
            cost(few, light, "mix", 48_000)
        runs = []
        for _ in range(RUNS):
            runs.append(cost(balancer, load, "mix", 240_000))
            measure.figures.append(runs[-1]["cpu"])
            measure.baselines.append(cost(few, light, "mix", 240_000)["cpu"])
        _note(measure, runs)
    yield measure
    measure = Measure("100,000 conversations, 10,000 in flight", "x 100 and 10", 1.3)
    more = "iq_timeout = 3600.0"
    with stage(4, more) as (balancer, load, _), stage(4, more) as (few, light, _):
        load.do("ask", count=10_000)
        light.do("ask", count=10)
        for _ in range(2):
            cost(balancer, load, "mix", 100_000, senders=100_000)
            cost(few, light, "mix", 48_000, senders=100)
        runs = []
        for _ in range(RUNS):
            runs.append(cost(balancer, load, "mix", 200_000, senders=100_000))
            measure.figures.append(runs[-1]["cpu"])
            measure.baselines.append(cost(few, light, "mix", 240_000, senders=100)["cpu"])
        _note(measure, runs)
    yield measure


def latency() -> Iterator[Measure]:
    p50 = Measure("latency added at 5,000 stanzas/s, p50", "ms", 0.2)
    p99 = Measure("latency added at 5,000 stanzas/s, p99", "ms", 1.5)
    (port,) = free_ports("127.0.0.1", 1)
    with ExitStack() as stack:
        _, load, _ = stack.enter_context(stage(4))
        direct = Generator()
        stack.callback(direct.end)
        direct.do("listen", port=port)
        direct.do("join", port=port, count=1)
        for _ in range(RUNS):
            through = load.do("pace", rate=5000, seconds=3)
            plain = direct.do("pace", rate=5000, seconds=3)
            p50.figures.append((through["p50"] - plain["p50"]) * 1000)
            p99.figures.append((through["p99"] - plain["p99"]) * 1000)
    yield from (p50, p99)


def memory() -> Iterator[Measure]:
    measure = Measure("memory per idle backend, of 2,000", "KiB", 64.0)
    with stage(0) as (balancer, load, port):
        load.do("join", port=port, count=10)
        before = balancer.memory()
        load.do("join", port=port, count=2000)
        time.sleep(5)  # for their checks
        measure.figures.append((balancer.memory() - before) / 2000 / 1024)
    yield measure


def start_up() -> Iterator[Measure]:
    measure = Measure("from the start to the first backend", "s", 0.5)
    for _ in range(RUNS):
        server, listen = free_ports("127.0.0.1", 2)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "balancer.toml"
            file.write_text(CONFIG.format(server=server, listen=listen, more=""))
            load = Generator()
            load.do("listen", port=server)
            begun = time.monotonic()
            balancer = Process("-m", "balancer", "run", str(file))
            wait_for(listen)
            load.do("join", port=listen, count=1)
            measure.figures.append(time.monotonic() - begun)
            balancer.end()
            load.end()
    yield measure


def soak(seconds: float) -> Iterator[Measure]:
    measure = Measure(
        f"memory after {seconds:.0f} s of load and of comings and goings", "x after a tenth", 1.05
    )
    with stage(20) as (balancer, load, port):
        start, marks = time.monotonic(), []
        while (passed := time.monotonic() - start) < seconds:
            cost(balancer, load, "mix", 96_000)
            load.do("leave", count=5)
            load.do("join", port=port, count=5)
            marks.append((passed, balancer.memory()))
        early = [used for passed, used in marks if passed >= seconds / 10][:5]
        measure.figures.append(float(max(used for _, used in marks[-5:])))
        measure.baselines.append(float(max(early)))
        measure.notes["MiB at the end"] = marks[-1][1] / (1 << 20)
    yield measure


# Through real servers.

LOAD, DIRECT = "load.localhost", "direct.localhost"


def through_servers() -> Iterator[Measure]:
    for kind in (Prosody, Ejabberd):
        if available(kind):
            yield asyncio.run(_through(kind))


async def _through(kind: Callable[..., XmppServer]) -> Measure:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        components = {JID: SECRET, DIRECT: SECRET, LOAD: SECRET}
        async with kind(Path(folder) / "server", components) as server:
            port = server.component_port
            measure = Measure(
                f"throughput through {server.program}", "x connected directly", 0.95, at_least=True
            )
            _, load, _ = stack.enter_context(balanced(Path(folder), 4, server=port))
            load.do("join", port=port, count=1, jid=DIRECT, secret=SECRET)
            for run in range(RUNS + 1):
                how = {"port": port, "jid": LOAD, "secret": SECRET, "count": 40_000}
                through = load.do("flood", to=JID, **how)
                direct = load.do("flood", to=DIRECT, **how)
                if run:  # the first is for everybody to warm up
                    measure.figures.append(through["throughput"])
                    measure.baselines.append(direct["throughput"])
            measure.notes["stanzas/s"] = median(measure.figures)
            return measure


ALL: dict[str, Callable[[], Iterator[Measure]]] = {
    "floor": against_the_floor,
    "slixmpp": against_slixmpp,
    "many": many,
    "servers": through_servers,
    "latency": latency,
    "memory": memory,
    "start": start_up,
}
