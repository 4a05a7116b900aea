"""The page has a panel for every kind of result, and escapes what comes from outside."""

from __future__ import annotations

import numpy as np
import pytest

from techniques.base import Animation, Browser, Curve, Gallery, Heatmap, Histogram, Note, Picture, Predictions, Sample, Scatter, Table
from techniques.base.results import KINDS
from ui.panels import panel, top_five

GRID = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
EVIL = "<img src=x onerror=alert(1)>"
RESULTS = (
    Heatmap(GRID, signed=True, caption=EVIL),
    Picture(np.full((3, 4, 4), 0.5, np.float32), label=EVIL),
    Gallery((Heatmap(GRID), Heatmap(GRID * 2)), (EVIL, "b")),
    Predictions(np.array([[0.0, 1.0]]), (EVIL, "dog")),
    Table((EVIL, "n"), ((EVIL, 1.5),)),
    Curve(np.arange(3.0), {EVIL: np.arange(3.0)}),
    Histogram(np.arange(4.0), {EVIL: np.arange(3.0)}),
    Animation(np.zeros((2, 3, 4, 4), np.float32), caption=EVIL),
    Scatter(np.zeros((2, 2)), np.zeros(2, int), (EVIL, "b"), (EVIL,)),
    Note(EVIL),
    Browser(("class",), {EVIL: Heatmap(GRID), "b": Heatmap(GRID)}),
)


def test_every_kind_of_result_is_tried_here():
    assert {type(result) for result in RESULTS} == set(KINDS)


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_a_panel_shows_the_result_and_no_text_becomes_markup(result, tiny_models):
    sample = Sample.from_pixels(np.zeros((3, 4, 4), np.float32), "nothing")
    html = panel(EVIL, result, sample)
    assert EVIL not in html and "&lt;img src=x" in html
    assert f"lp-{type(result).__name__.lower()}" in html


def test_the_bar_of_a_class_is_as_long_as_its_probability():
    html = top_five(Predictions(np.log(np.array([[0.75, 0.25]])), ("cat", "dog")))
    assert "width:75.00%" in html and "width:25.00%" in html
    assert html.index("cat") < html.index("dog")


@pytest.mark.parametrize(("rows", "filtered"), [(12, False), (13, True)])
def test_only_a_long_table_has_a_box_to_filter_it(rows, filtered):
    html = panel("a", Table(("layer", "n"), tuple((f"layer {number}", number) for number in range(rows))), None)
    assert ("<loupe-table filter>" in html) is filtered and html.count("<tr>") == rows + 1
