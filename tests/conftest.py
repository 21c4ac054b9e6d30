from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Whatever was skipped is said loudly, at the very end: a quiet skip passes for a test."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    reasons = sorted({str(report.longrepr[2]) for report in skipped})
    terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
    terminalreporter.line(f"{len(skipped)} tests were skipped on this machine:", red=True)
    for reason in reasons:
        terminalreporter.line(f"  {reason}", red=True)
