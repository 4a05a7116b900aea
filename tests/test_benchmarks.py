"""The benchmarks measure what they say, and their table has a row for every peer."""

from __future__ import annotations

import pytest
import torch

from benchmarks.__main__ import rows
from benchmarks.cases import Case, installed
from benchmarks.measure import costs, peak_bytes


def two_of_three() -> None:
    first = torch.zeros(1000)
    second = first + 1
    del first
    second * 2


def test_peak_memory_is_what_tensors_took_at_one_time():
    peak = peak_bytes(two_of_three, "cpu")
    assert peak == pytest.approx(8000, abs=100)  # three tensors of 4000 bytes, never more than two at once, and a few single numbers


def test_contestants_take_turns():
    order = []
    costs({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, "cpu")
    assert order == ["a", "b"] + ["a", "b"] * 2  # once for memory, then twice for time


def test_a_peer_that_is_not_installed_is_named_in_the_table():
    found, missing = installed({"torch, once": two_of_three, "no_such_library, twice": two_of_three})
    table = rows(Case("Something", two_of_three, found, {}, missing), 1, "cpu")
    assert len(table) == 2
    assert table[1] == "| Something | no_such_library, twice | not installed here | | |"


@pytest.mark.parametrize(("bar", "verdict"), [(1e9, "≤ 1e+09: kept"), (1e-9, "≤ 1e-09: **missed**")])
def test_a_bar_is_kept_or_missed(bar, verdict):
    assert verdict in rows(Case("Something", two_of_three, {"the same": two_of_three}, {"the same": bar}), 1, "cpu")[0]
