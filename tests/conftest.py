from __future__ import annotations

from pathlib import Path

import pytest

#: What was not tested, for `make test` to say again as its last words.
NOT_TESTED = Path(__file__).parent.parent / ".not-tested"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Whatever was skipped is said loudly, at the very end: a quiet skip passes for a test."""
    skipped = terminalreporter.stats.get("skipped", [])
    NOT_TESTED.unlink(missing_ok=True)
    if not skipped:
        return
    reasons = sorted({str(report.longrepr[2]) for report in skipped})
    terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
    terminalreporter.line(f"{len(skipped)} tests were skipped on this machine:", red=True)
    for reason in reasons:
        terminalreporter.line(f"  {reason}", red=True)
    NOT_TESTED.write_text("".join(f"  {reason}\n" for reason in reasons))
