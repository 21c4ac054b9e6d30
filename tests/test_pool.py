"""The pool: what backends are called, and who is in."""

from __future__ import annotations

import pytest

from balancer.pool import Backend, Pool


def pool(*names: str) -> Pool:
    made = Pool()
    for name in names:
        made.add(Backend(name))
    return made


@pytest.mark.parametrize(
    ("there", "requested", "credential", "name"),
    [
        ((), None, None, "1"),
        (("1", "2"), None, None, "3"),
        (("2", "3"), None, None, "1"),
        (("1", "3"), None, None, "2"),
        ((), None, "worker", "worker"),
        (("worker",), None, "worker", "worker-2"),
        (("worker", "worker-2"), None, "worker", "worker-3"),
        (("worker-2",), None, "worker", "worker"),
        (("worker", "worker-3"), None, "worker", "worker-2"),
        (("1",), "mine", "worker", "mine"),
        (("mine",), "mine", None, "mine"),
    ],
)
def test_names(
    there: tuple[str, ...], requested: str | None, credential: str | None, name: str
) -> None:
    assert pool(*there).name_for(requested, credential) == name


def test_number_is_used_again() -> None:
    made = pool("1", "2", "3")
    gone = made.get("2")
    assert gone is not None
    made.remove(gone)
    assert made.name_for(None, None) == "2"


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("worker-2", "worker-2"),
        ("a/b", "a%2Fb"),
        ("50%", "50%25"),
        ("a b", "a%20b"),
        ("é", "%C3%A9"),
        ("'\"<&", "%27%22%3C%26"),
    ],
)
def test_tags_have_no_slash_and_find_their_backend(name: str, tag: str) -> None:
    made = pool(name)
    assert "/" not in tag
    found = made.by_tag(tag)
    assert found is not None
    assert (found.name, found.tag) == (name, tag)


def test_membership() -> None:
    made = pool("a", "b")
    a, b = made
    assert len(made) == 2
    assert [each.name for each in made] == ["a", "b"]
    assert a in made
    assert Backend("a") not in made
    assert "a" not in made
    made.remove(a)
    assert a not in made
    assert list(made) == [b]
    assert (made.get("a"), made.by_tag("a")) == (None, None)
    assert made.get("b") is made.by_tag("b") is b


def test_a_name_is_taken_once() -> None:
    made = pool("a")
    with pytest.raises(AssertionError):
        made.add(Backend("a"))
    with pytest.raises(AssertionError):
        made.remove(Backend("a"))
    assert len(made) == 1


def test_reprs() -> None:
    backend = Backend("a", weight=3)
    assert repr(backend) == "<Backend a ready weight=3 0 in flight>"
    backend.full, backend.outstanding = True, 7
    assert repr(backend) == "<Backend a full weight=3 7 in flight>"
    assert not backend.available()
    assert repr(Pool()) == "<Pool empty>"
    assert repr(pool("a", "b")) == "<Pool a b>"
