from __future__ import annotations

import pytest

from backends.tracing import Trace


def test_it_is_switched_on_and_off() -> None:
    seen: list[tuple[str, str]] = []
    trace = Trace()
    trace.show("in", b"<a/>")
    trace.on(lambda direction, xml: seen.append((direction, xml)))
    trace.show("in", b"<b/>\xff")
    trace.show("out", "<handshake xmlns='x'>secret</handshake>")
    trace.off()
    trace.show("in", b"<c/>")
    assert seen == [("in", "<b/>\ufffd"), ("out", "<handshake xmlns='x'>...</handshake>")]
    trace.toggle()
    assert trace
    trace.toggle()
    assert not trace


def test_a_sink_that_fails_does_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    def sink(_: str, __: str) -> None:
        raise OSError("the disk is full")

    trace = Trace()
    trace.on(sink)
    trace.show("in", b"<a/>")
    assert not trace
    assert "the disk is full" in capsys.readouterr().out
