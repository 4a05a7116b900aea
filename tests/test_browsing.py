"""Where a visitor stands in a large browser: what is shown there, and what a page is told that wants to go elsewhere."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from techniques.base import Browser, Heatmap
from ui.browsing import browser_html, walk_handler
from ui.session import Answered, Sessions

PLACE = "average_activation-browser"


def layers(**filters: int) -> Browser:
    """A map for each filter of each layer."""
    cells = {layer: {f"filter {number}": Heatmap(np.full((2, 2), number, np.float32)) for number in range(count)} for layer, count in filters.items()}
    return Browser(("layer", "filter"), cells)


@pytest.fixture
def visitor():
    """A session with one answer, as far as a walk asks for it."""
    answered = Answered(layers(first=20, second=5), None, "model", "Model", {})
    return SimpleNamespace(answers={"average_activation": answered})


@pytest.fixture
def ask(visitor):
    """Ask for a move as the page does; the answer is what the page is told."""
    walk = walk_handler({PLACE: ("average_activation", "result")}, SimpleNamespace(find=lambda _: visitor))
    return lambda **asked: walk("id", SimpleNamespace(_data={"place": PLACE, **asked}))


def html(browser: Browser, at: dict) -> str:
    return browser_html(browser, Answered(browser, None, "model", "Model", {}, at=at), "result")


def test_the_next_answer_that_is_kept_stands_where_the_one_before_did():
    sessions = Sessions("bundled/digits")
    session = sessions.create("connection")
    first, second, other = (Answered(layers(first=20), None, "model", "Model", {}) for _ in range(3))
    sessions.keep(session, "average_activation", first)
    first.at["result"] = ("first", 7)
    sessions.keep(session, "average_activation", second)
    sessions.keep(session, "activations", other)
    second.at["histogram"] = ("first", 1)
    assert second.at["result"] == ("first", 7) and first.at == {"result": ("first", 7)} and other.at == {}


def test_the_next_answer_is_shown_where_the_visitor_stood(visitor, ask):
    ask(outer="second", inner=4)
    at = visitor.answers["average_activation"].at
    assert at == {"result": ("second", 4)}
    shown = html(layers(first=20, second=5), at)
    assert "second · filter 3" in shown and "first · filter" not in shown
    assert "&quot;inner&quot;: 4" in shown and "&quot;count&quot;: 5" in shown


def test_an_answer_without_that_place_is_shown_at_the_nearest_or_the_first_one():
    assert "second · filter 2" in html(layers(first=20, second=3), {"result": ("second", 4)})
    assert "first · filter 0" in html(layers(first=20, third=3), {"result": ("second", 4)})
    assert "first · filter 0" in html(layers(first=20, third=3), {})
    alone = Browser(("filter",), layers(first=20).cells["first"])
    assert "filter 3<" in html(alone, {"result": ("second", 4)})


def test_a_number_too_large_leads_to_the_last_cell_and_a_layer_clicked_in_a_chart_to_its_first(visitor, ask):
    assert "second · filter 4" in ask(outer="second", inner=400)
    assert "second · filter 0" in ask(tick="second")
    assert visitor.answers["average_activation"].at == {"result": ("second", 1)}


@pytest.mark.parametrize(
    "asked", [{"outer": "nowhere", "inner": 1}, {"outer": "first", "inner": "1"}, {"outer": "first"}, {"inner": 1}, {"tick": "nowhere"}]
)
def test_what_is_no_place_changes_nothing(visitor, ask, asked):
    assert "filter" not in ask(**asked)
    assert visitor.answers["average_activation"].at == {}
