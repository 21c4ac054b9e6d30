"""Strategies: shares by weight, and a hash that moves no more than it must."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from random import Random as Dice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.pool import Backend
from balancer.strategy import Hash, Strategy, strategy

NAMES = ["hash", "round-robin", "random", "least-outstanding"]
OTHERS = NAMES[1:]
PICKS = 100_000
TOLERANCE = 0.02
KEYS = [f"user-{n}@example.org" for n in range(2_000)]

weighted = st.dictionaries(st.text(min_size=1, max_size=8), st.integers(1, 9), min_size=2)


def made(name: str, backends: Sequence[Backend], seed: int = 7) -> Strategy:
    one = strategy(name, Dice(seed).random)
    one.update(backends)
    return one


def crowd(*weights: int) -> list[Backend]:
    return [Backend(f"b{n}", weight) for n, weight in enumerate(weights)]


def hashed(backends: Sequence[Backend], keys: Sequence[str] = KEYS) -> dict[str, str]:
    one = made("hash", backends)
    picked = {key: one.pick(key, spill=False) for key in keys}
    return {key: backend.name for key, backend in picked.items() if backend is not None}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", [(1, 1), (1, 2, 3), (5, 1, 1), (10, 1)], ids=str)
def test_shares(name: str, weights: tuple[int, ...]) -> None:
    backends = crowd(*weights)
    one = made(name, backends)
    picks = Counter(one.pick(f"key {n}", spill=False) for n in range(PICKS))
    for backend in backends:
        share = backend.weight / sum(weights)
        assert picks[backend] / PICKS == pytest.approx(share, abs=TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spill", [False, True])
def test_nobody_there(name: str, spill: bool) -> None:
    one = strategy(name, Dice(7).random)
    assert one.pick("key", spill=spill) is None
    one.update(crowd(1))
    one.update([])
    assert one.pick("key", spill=spill) is None


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="no strategy is called 'guess'"):
        strategy("guess", Dice(7).random)


@pytest.mark.parametrize("name", OTHERS)
def test_full_backends_are_skipped(name: str) -> None:
    backends = crowd(1, 100, 1)
    one = made(name, backends)
    backends[1].congested = True
    picks = Counter(one.pick("key", spill=False) for _ in range(1_000))
    assert set(picks) == {backends[0], backends[2]}
    backends[0].congested = backends[2].congested = True
    assert one.pick("key", spill=False) in backends, "what waits should wait for somebody"
    backends[1].congested = False
    assert one.pick("key", spill=False) is backends[1]


def test_round_robin_saves_no_turns_for_who_was_full() -> None:
    backends = crowd(1, 1)
    one = made("round-robin", backends)
    backends[0].congested = True
    assert {one.pick("", spill=False) for _ in range(100)} == {backends[1]}
    backends[0].congested = False
    picks = [one.pick("", spill=False) for _ in range(20)]
    assert picks.count(backends[0]) in (10, 11)


def test_hash_insists_unless_it_may_spill() -> None:
    backends = crowd(1, 1, 1)
    one = made("hash", backends)
    owner = one.pick("key", spill=True)
    assert owner is not None
    owner.congested = True
    assert one.pick("key", spill=False) is owner
    other = one.pick("key", spill=True)
    # It goes where it would if its owner were not there, and comes back.
    assert other is made("hash", [b for b in backends if b is not owner]).pick("key", spill=False)
    for backend in backends:
        backend.congested = True
    assert one.pick("key", spill=True) is owner
    owner.congested = False
    assert one.pick("key", spill=True) is owner


@pytest.mark.parametrize("count", [2, 3, 7])
def test_equal_backends_take_turns(count: int) -> None:
    one = made("round-robin", crowd(*[1] * count))
    turns = [one.pick("", spill=False) for _ in range(count * 50)]
    assert all(len(set(turns[at : at + count])) == count for at in range(len(turns) - count + 1))


@pytest.mark.parametrize("weights", [(2, 1), (5, 1), (5, 1, 1), (3, 2, 1), (4, 4)], ids=str)
def test_round_robin_is_smooth(weights: tuple[int, ...]) -> None:
    one = made("round-robin", crowd(*weights))
    for backend, run in groupby(one.pick("", spill=False) for _ in range(1_000)):
        assert backend is not None
        assert len(list(run)) <= backend.weight + 1  # a tie may fall either way


def test_round_robin_newcomer_gets_its_share_and_no_more() -> None:
    backends = crowd(1, 1)
    one = made("round-robin", backends)
    for _ in range(1_000):
        one.pick("", spill=False)
    newcomer = Backend("new")
    one.update([*backends, newcomer])
    picks = [one.pick("", spill=False) for _ in range(30)]
    assert picks.count(newcomer) in (9, 10, 11)


def test_least_outstanding_prefers_the_less_busy_for_its_weight() -> None:
    light, heavy = crowd(1, 4)
    one = made("least-outstanding", [light, heavy])
    light.outstanding, heavy.outstanding = 2, 4  # 2 per weight against 1
    picks = Counter(one.pick("", spill=False) for _ in range(2_000))
    assert picks[light] / 2_000 == pytest.approx(1 / 25, abs=TOLERANCE)  # drawn twice


@settings(max_examples=40, deadline=None)
@given(weights=weighted, key=st.text())
def test_hash_has_one_destination_for_a_key(weights: dict[str, int], key: str) -> None:
    one = made("hash", [Backend(*each) for each in weights.items()])
    first = one.pick(key, spill=False)
    assert first is not None
    assert all(one.pick(key, spill=spill) is first for spill in (False, True, False))


@settings(max_examples=25, deadline=None)
@given(weights=weighted, dice=st.randoms())
def test_join_order_does_not_matter(weights: dict[str, int], dice: Dice) -> None:
    shuffled = list(weights.items())
    dice.shuffle(shuffled)
    keys = KEYS[:200]
    assert hashed([Backend(*each) for each in weights.items()], keys) == hashed(
        [Backend(*each) for each in shuffled], keys
    )


@settings(max_examples=15, deadline=None)
@given(weights=weighted, data=st.data())
def test_who_leaves_moves_only_its_own(weights: dict[str, int], data: st.DataObject) -> None:
    leaver = data.draw(st.sampled_from(sorted(weights)))
    backends = [Backend(*each) for each in weights.items()]
    before = hashed(backends)
    after = hashed([each for each in backends if each.name != leaver])
    assert leaver not in after.values()
    assert {key for key in KEYS if before[key] != after[key]} == {
        key for key in KEYS if before[key] == leaver
    }


@pytest.mark.parametrize("weight", [1, 3])
@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_newcomer_takes_its_share_only(count: int, weight: int) -> None:
    backends = crowd(*[1] * count)
    keys = [f"key {n}" for n in range(20_000)]
    before = hashed(backends, keys)
    after = hashed([*backends, Backend("new", weight)], keys)
    moved = [key for key in keys if before[key] != after[key]]
    assert {after[key] for key in moved} == {"new"}
    assert len(moved) / len(keys) == pytest.approx(weight / (count + weight), abs=TOLERANCE)


def test_hash_learns_a_new_weight() -> None:
    backends = crowd(1, 1)
    one = Hash()
    one.update(backends)
    before = Counter(one.pick(key, spill=False) for key in KEYS)
    backends[0].share = 9
    one.update(backends)
    after = Counter(one.pick(key, spill=False) for key in KEYS)
    assert before[backends[0]] / len(KEYS) == pytest.approx(0.5, abs=0.05)
    assert after[backends[0]] / len(KEYS) == pytest.approx(0.9, abs=0.05)
