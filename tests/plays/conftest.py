from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.servers import Ejabberd, Prosody, XmppServer, available
from tests.stage import JID, SECRET


def _on(kind: type[XmppServer]) -> object:
    return pytest.param(
        kind,
        id=kind.program,
        marks=[
            getattr(pytest.mark, kind.program),
            pytest.mark.skipif(not available(kind), reason=f"{kind.program} is not installed"),
        ],
    )


@pytest_asyncio.fixture(params=[_on(Prosody), _on(Ejabberd)])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[XmppServer]:
    """A real server that knows the component ``svc.localhost``."""
    async with request.param(tmp_path, {JID: SECRET}) as running:
        yield running


@pytest_asyncio.fixture(params=[_on(Prosody)])
async def prosody(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[XmppServer]:
    """A real Prosody, where only Prosody does what the play is about."""
    async with request.param(tmp_path, {JID: SECRET}) as running:
        yield running
