"""Where the echo backend takes its secret from."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends import echo

#: JID, secret, host and port of each start.
Calls = list[tuple[str, str, str, int]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What it would have been run with."""
    calls: Calls = []

    async def run(jid: str, secret: str, host: str, port: int) -> None:
        calls.append((jid, secret, host, port))

    monkeypatch.setattr(echo, "run", run)
    monkeypatch.delenv("ECHO_SECRET", raising=False)
    return calls


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["echo", "--jid", "svc.localhost/a", *arguments])
    echo.main()


@pytest.mark.parametrize("text", ["geheim", "geheim\n", "geheim\nnot this\n"])
def test_a_secret_comes_from_the_first_line_of_a_file(
    started: Calls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "secret"
    file.write_text(text)
    command(monkeypatch, "--secret-file", str(file))
    assert started == [("svc.localhost/a", "geheim", "127.0.0.1", 5348)]


def test_a_file_goes_before_the_environment(
    started: Calls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ECHO_SECRET", "other")
    command(monkeypatch)
    (tmp_path / "secret").write_text("geheim")
    command(monkeypatch, "--secret-file", str(tmp_path / "secret"))
    assert [call[1] for call in started] == ["other", "geheim"]


@pytest.mark.parametrize("content", [None, b"\xff", b""], ids=["absent", "not text", "empty"])
def test_an_unusable_file_is_said(
    started: Calls,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    content: bytes | None,
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SystemExit):
        command(monkeypatch, "--secret-file", str(file))
    assert "--secret-file" in capsys.readouterr().err
    assert started == []
