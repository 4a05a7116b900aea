"""The page has a panel for every kind of result, and escapes what comes from outside."""

from __future__ import annotations

import base64
import io
import json
import re
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

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


def test_the_points_of_a_map_come_with_one_sheet_of_small_pictures():
    thumbnails = np.zeros((3, 3, 30, 40), np.uint8)
    thumbnails[2, 0] = 255
    scatter = Scatter(
        np.array([[0, 0], [1, 0], [0, -2.0]]), np.array([0, 1, 0]), ("a", "b", "c"), ("x", "y"), "predicted", {"true": np.array([1, 1, 0])},
        thumbnails=thumbnails, path=np.array([[0, 0], [0, 2.0]]), path_names=("now", "then"),
    )  # fmt: skip
    element = ElementTree.fromstring(re.search("<loupe-scatter.*</loupe-scatter>", panel("a", scatter, None)).group())
    told = json.loads(element.get("points"))
    assert told["points"] == [[0, 2000], [1000, 2000], [0, 0]] and told["path"] == [[0, 2000], [0, 4000]]
    assert told["groupings"] == {"predicted": [0, 1, 0], "true": [1, 1, 0]} and not told["send"]
    width, height, columns = told["tile"]
    sheet = Image.open(io.BytesIO(base64.b64decode(element.get("sheet").partition(",")[2])))
    assert (width, height, sheet.size) == (40, 30, (40 * columns, 30 * -(-3 // columns)))
    third = (2 % columns * 40 + 20, 2 // columns * 30 + 15)
    assert sheet.getpixel(third)[0] > 250 and sheet.getpixel((20, 15))[0] < 5  # JPEG


def test_a_number_of_a_confusion_matrix_names_the_groups_it_counts():
    html = panel("a", Table(("true", EVIL, "dog"), (("cat", 3, 0),), marks=("true", "predicted")), None)
    (marks,) = re.findall("data-marks='([^']*)'", html)
    assert json.loads(unescape(marks)) == {"true": "cat", "predicted": EVIL} and "--share:100%" in html and EVIL not in html
