"""Who may call what, by JID."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slixmpp import JID

#: By command, or ``*`` for those that are not named: addresses, domains, or ``*`` for everybody.
Rules = Mapping[str, Sequence[str]]


class Permissions:
    """Decides who may call what.  What nobody is named for, nobody may call.

    Args:
        rules: for example ``{"*": ["alice@example.org"], "status": ["example.org"]}``.

    Raises:
        TypeError: a rule is a text and no list of them.
    """

    def __init__(self, rules: Rules) -> None:
        for command, whom in rules.items():
            if isinstance(whom, str):
                raise TypeError(f"{command}: a list of addresses is needed, not {whom!r}")
        self._rules = {command: tuple(whom) for command, whom in rules.items()}

    def __repr__(self) -> str:
        return f"<Permissions {self._rules!r}>"

    def allows(self, caller: JID, command: str) -> bool:
        """Whether that one may call that.

        A full address stands for one resource, a bare one for all of them, a domain for all of
        its users.
        """
        whom = self._rules.get(command, self._rules.get("*", ()))
        return any(each in ("*", caller.full, caller.bare, caller.domain) for each in whom)
