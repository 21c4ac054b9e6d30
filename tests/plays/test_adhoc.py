"""An administrator steers the balancer from an XMPP client; nobody else notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import slixmpp
from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath

from balancer.adhoc import TITLES
from balancer.stanza import CONTROL_NS
from tests.servers import XmppServer, client, disconnect
from tests.stage import JID, backends, balancing, until

pytestmark = pytest.mark.asyncio


async def person(server: XmppServer, name: str) -> slixmpp.ClientXMPP:
    """Somebody with an ordinary client."""
    there = await client(server, name, "pc")
    for plugin in ("xep_0004", "xep_0030", "xep_0050"):
        there.register_plugin(plugin)
    return there


async def run(who: slixmpp.ClientXMPP, command: str, backend: str | None = None, **how: Any) -> Any:
    """Run a command; with a backend, fill in the form of its second step."""
    node = f"{CONTROL_NS}#{command}"
    adhoc = who.plugin["xep_0050"]
    first = await adhoc.send_command(JID, node, **how)
    if backend is None:
        return first["command"]
    form = first["command"]["form"]
    assert backend in {option["value"] for option in form.get_fields()["backend"]["options"]}
    filled = who.plugin["xep_0004"].make_form(ftype="submit")
    filled.add_field(var="backend", value=backend)
    session = first["command"]["sessionid"]
    second = await adhoc.send_command(
        JID, node, action="complete", payload=filled, sessionid=session
    )
    return second["command"]


async def test_an_administrator_finds_and_runs_commands(server: XmppServer) -> None:
    admins = [f"alice@{server.domain}"]
    async with balancing(server, admins=admins) as service, backends(service, 2) as crew:
        alice = await person(server, "alice")
        disco = alice.plugin["xep_0030"]
        items = await disco.get_items(JID, CONTROL_NS)
        assert {(str(jid), node) for jid, node, _ in items["disco_items"]["items"]} == {
            (JID, node) for node in TITLES
        }
        for node, kind in ((CONTROL_NS, "command-list"), (f"{CONTROL_NS}#drain", "command-node")):
            info = (await disco.get_info(JID, node))["disco_info"]
            assert {each[:2] for each in info["identities"]} == {("automation", kind)}
            assert "http://jabber.org/protocol/commands" in info["features"]

        status = await run(alice, "status")
        assert (status["status"], status["form"]["type"]) == ("completed", "result")
        (shown,) = (
            {item["backend"]: item["state"].split()[0] for item in status["form"]["items"]},
        )
        assert set(shown) == {"worker-1", "worker-2"}

        done = await run(alice, "maint", "worker-1")
        assert (done["status"], done["notes"]) == (
            "completed",
            [("info", "worker-1 is in state maint")],
        )
        pool = service.components[JID].router.pool
        assert {each.name: each.order.value for each in pool}["worker-1"] == "maint"
        assert (await run(alice, "ready", "worker-1"))["status"] == "completed"
        assert (await run(alice, "drain", "worker-2"))["status"] == "completed"
        await until(lambda: "worker-2" not in {each.name for each in pool})
        assert (await run(alice, "drain", action="cancel"))["status"] == "canceled"

        with pytest.raises(IqError) as refused:
            await run(alice, "explode")
        assert refused.value.condition == "item-not-found"
        assert not any(backend.got for backend in crew)
        await disconnect(alice)


async def test_everybody_elses_commands_go_to_the_backends(server: XmppServer) -> None:
    admins = [f"alice@{server.domain}"]
    async with balancing(server, admins=admins) as service, backends(service, 1) as (backend,):
        nodes: list[str] = []
        standard = "http://jabber.org/protocol/commands"

        def on_iq(payload: str) -> Callable[[Any], None]:
            return lambda iq: nodes.append(iq[payload]["node"])

        for payload in ("command", "disco_items"):
            backend.register_handler(Callback(payload, StanzaPath(f"iq/{payload}"), on_iq(payload)))
        bob, alice = await person(server, "bob"), await person(server, "alice")
        with pytest.raises(IqError):
            await run(bob, "status")
        with pytest.raises(IqError):
            await bob.plugin["xep_0030"].get_items(JID, CONTROL_NS)
        # The commands that everybody knows are the backends', also for an administrator.
        with pytest.raises(IqError):
            await alice.plugin["xep_0030"].get_items(JID, standard)
        assert nodes == [f"{CONTROL_NS}#status", CONTROL_NS, standard]
        assert service.components[JID].router.counts.answered["admin"] == 0
        for each in (alice, bob):
            await disconnect(each)


async def test_admins_are_bare_jids() -> None:
    from balancer.config import ConfigError
    from tests.stage import configured

    for wrong in ("ops", "ops@example.org/phone", "@example.org"):
        with pytest.raises(ConfigError, match="admins"):
            configured(1, admins=[wrong])
