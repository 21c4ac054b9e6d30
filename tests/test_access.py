"""Which names are this machine's own: a page of another site must not read through a person's."""

from __future__ import annotations

import pytest

from balancer.access import _is_local_name


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("localhost:9348", True),
        ("127.0.0.1:9348", True),
        ("127.8.8.8", True),
        ("[::1]:9348", True),
        ("", False),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("localhost@evil.example", False),
        ("evil.example/@localhost", False),
        ("[::1", False),
        ("::1", False),
        ("192.0.2.1", False),
        ("127.0.0.1{", False),
        ("localhost:1:2", False),
    ],
)
def test_local_names(host: str, local: bool) -> None:
    assert _is_local_name(host) is local
