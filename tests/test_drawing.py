"""Drawing: colours, scales and lengths say the numbers they stand for."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from techniques.base import (
    Animation, Browser, Curve, Gallery, Heatmap, Histogram, Note, Picture, Predictions, Scatter, Table,
)  # fmt: skip
from techniques.base.drawing import (
    SIGNED_MAPS, UNSIGNED_MAPS, colour_table, common_scales, contact_sheet, curve_chart, draw, enlarge, explain, heatmap_image,
    histogram_chart, magnification, overlay, picture_image, predictions_chart, scale_of, scatter_chart, to_html, to_svg,
)  # fmt: skip
from techniques.base.drawing.svg import WIDTH, apart, fit, nice_ticks, number, percent, text_width

HOSTILE = '<script>alert("1")</script>'
RAMP = np.linspace(0, 4, 16, dtype=np.float32).reshape(4, 4)
SIGNED = np.array([[-2.0, 0.0], [1.0, 0.5]], dtype=np.float32)


def elements(chart: str, tag: str, name: str | None = None) -> list[ElementTree.Element]:
    found = ElementTree.fromstring(chart).iter("{http://www.w3.org/2000/svg}" + tag)
    return [element for element in found if name is None or element.get("class") == name]


def texts(chart: str) -> list[str]:
    return [element.text or "" for element in elements(chart, "text")]


def points(path: ElementTree.Element) -> np.ndarray:
    return np.array([[float(value) for value in pair.split()] for pair in path.get("d").strip("MZ").split("L")])


class TestColour:
    @pytest.mark.parametrize("name", ["viridis", "magma", "inferno", "turbo"])
    def test_a_table_is_within_two_levels_of_the_published_map(self, name):
        matplotlib = pytest.importorskip("matplotlib", reason="compared with matplotlib's own tables")
        published = np.rint(matplotlib.colormaps[name](np.arange(256))[:, :3] * 255)
        assert np.abs(colour_table(name).astype(int) - published).max() <= 2  # what 33 anchors and straight lines cost

    @pytest.mark.parametrize("name", SIGNED_MAPS)
    def test_a_signed_map_is_white_at_zero_and_as_dark_at_both_ends(self, name):
        table = colour_table(name).astype(float)
        assert (table[127] == 255).all() and (table[128] == 255).all()
        assert abs(table[0].sum() - table[255].sum()) < 120  # of 765

    def test_grey_level_is_the_index(self):
        assert (colour_table("grey") == np.arange(256)[:, None]).all()

    @pytest.mark.parametrize("name", [name for name in UNSIGNED_MAPS if name != "turbo"])
    def test_a_larger_value_is_never_darker(self, name):
        luminance = colour_table(name) @ np.array([0.2126, 0.7152, 0.0722])
        assert (np.diff(luminance) > -0.8).all()  # rounding to 8 bits may cost half a level per channel


class TestHeatmap:
    def test_zero_and_the_maximum_have_the_ends_of_the_map(self):
        image = heatmap_image(Heatmap(RAMP), map="viridis")
        assert image.getpixel((0, 0)) == tuple(colour_table("viridis")[0])
        assert image.getpixel((3, 3)) == tuple(colour_table("viridis")[255])

    def test_an_unsigned_scale_starts_at_zero_even_when_no_value_is_there(self):
        assert scale_of(Heatmap(RAMP + 4)) == (0, 8)
        assert heatmap_image(Heatmap(RAMP + 4), map="grey").getpixel((0, 0)) == (128, 128, 128)

    def test_a_signed_scale_is_symmetric_and_zero_is_white(self):
        heatmap = Heatmap(SIGNED, signed=True)
        assert scale_of(heatmap) == (-2, 2)
        assert heatmap_image(heatmap).getpixel((1, 0)) == (255, 255, 255)
        assert heatmap_image(heatmap, map="grey").getpixel((0, 1)) == (191, 191, 191)  # 0.75 of 255

    def test_a_signed_map_makes_the_scale_of_an_unsigned_heat_map_symmetric(self):
        assert heatmap_image(Heatmap(RAMP), map="purple-green").getpixel((0, 0)) == (255, 255, 255)

    def test_a_given_scale_clips(self):
        assert heatmap_image(Heatmap(RAMP), map="grey", scale=(1, 2)).getpixel((3, 3)) == (255, 255, 255)

    def test_a_constant_heat_map_is_flat_grey_and_explains_itself(self):
        heatmap = Heatmap(np.full((3, 5), 0.7))
        assert heatmap_image(heatmap).getcolors() == [(15, (128, 128, 128))]
        assert explain(heatmap) == "No region stands out: every pixel has the same value."
        assert explain(Heatmap(RAMP)) is None

    def test_numbers_that_are_not_finite_do_not_crash(self):
        values = RAMP.copy()
        values[0, 0] = np.nan
        assert heatmap_image(Heatmap(values), map="grey").getpixel((0, 0)) == (0, 0, 0)

    def test_an_overlay_mixes_by_its_opacity(self):
        below = Image.new("RGB", (4, 4), (200, 100, 0))
        mixed = overlay(below, Heatmap(RAMP), opacity=0.25, map="grey")
        assert mixed.getpixel((3, 3)) == (214, 139, 64)  # 0.75 of the picture and 0.25 of white
        assert overlay(below, Heatmap(RAMP), opacity=0).getpixel((3, 3)) == (200, 100, 0)

    def test_a_signed_overlay_leaves_the_picture_where_the_value_is_zero(self):
        below = Image.new("RGB", (2, 2), (10, 200, 30))
        mixed = overlay(below, Heatmap(SIGNED, signed=True), opacity=1)
        assert mixed.getpixel((1, 0)) == (10, 200, 30)
        assert mixed.getpixel((0, 0)) == tuple(colour_table("blue-red")[0])

    def test_an_overlay_keeps_the_size_of_a_larger_picture(self):
        assert overlay(Image.new("L", (40, 30)), Heatmap(RAMP)).size == (40, 30)

    def test_a_few_values_far_above_all_others_do_not_hide_these(self):
        values = np.full((40, 40), 0.5)
        values[0, 0], values[1, 1] = 0, 9
        assert scale_of(Heatmap(values)) == (0, 0.5) and scale_of(Heatmap(-values, signed=True)) == (-0.5, 0.5)
        values[1, 1] = 0.9
        assert scale_of(Heatmap(values)) == (0, 0.9)
        assert "≥ 0.5" in to_html(Heatmap(np.where(values == 0.9, 9, values)))


class TestPicture:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_picture_comes_back_within_half_a_level(self, channels):
        values = np.random.default_rng(0).random((channels, 5, 6)).astype(np.float32)
        image = picture_image(Picture(values))
        read = np.asarray(image, dtype=np.float64).reshape(5, 6, channels).transpose(2, 0, 1) / 255
        assert image.mode == ("L" if channels == 1 else "RGB")
        assert np.abs(read - values).max() <= 0.501 / 255

    def test_a_signed_picture_is_magnified_around_mid_grey(self):
        picture = Picture(np.array([[[-4, 0, 2, 4]]], dtype=np.float32) / 255, signed=True)
        assert np.asarray(picture_image(picture)).tolist() == [[0, 128, 191, 255]]
        assert magnification(picture) == pytest.approx(255 / 8, rel=1e-6)

    def test_no_change_at_all_is_mid_grey_and_not_magnified(self):
        picture = Picture(np.zeros((3, 2, 2)), signed=True)
        assert picture_image(picture).getpixel((0, 0)) == (128, 128, 128)
        assert magnification(picture) == 1 == magnification(Picture(np.ones((1, 2, 2))))

    def test_a_digit_is_enlarged_with_sharp_pixels(self):
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8))
        large = enlarge(image)
        assert large.size == (224, 224)
        assert (np.asarray(large)[::8, ::8] == np.asarray(image)).all() and large.getpixel((7, 7)) == image.getpixel((0, 0))


class TestGallery:
    def test_items_of_one_kind_share_the_widest_scale(self):
        gallery = (Heatmap(RAMP), Heatmap(RAMP / 2), Picture(RAMP[None] / 100, signed=True), Heatmap(-RAMP * 3, signed=True))
        assert common_scales(gallery) == [(0, 4), (0, 4), pytest.approx((-0.04, 0.04)), (-12, 12)]

    def test_a_contact_sheet_draws_half_the_value_in_half_the_level(self):
        sheet = contact_sheet(Gallery((Heatmap(RAMP), Heatmap(RAMP / 2)), ("a", "b" * 99)), map="grey", tile=8)
        assert sheet.size == (2 * 8 + 8, 8 + 18)
        assert sheet.getpixel((7, 7))[:3] == (255, 255, 255) and sheet.getpixel((23, 7))[:3] == (128, 128, 128)

    def test_a_browser_becomes_one_sheet_per_outer_position_and_its_cells(self):
        cells = {layer: {str(i): Heatmap(RAMP * i) for i in range(3)} for layer in ("conv 1", "conv/2")}
        assert [suffix for suffix, _ in draw(Browser(("layer", "filter"), cells))] == [
            "conv-1-sheet", "conv-1-0", "conv-1-1", "conv-1-2", "conv-2-sheet", "conv-2-0", "conv-2-1", "conv-2-2",
        ]  # fmt: skip

    def test_only_forty_cells_of_a_long_browser_stand_alone(self):
        assert len(draw(Browser(("filter",), {str(i): Heatmap(RAMP) for i in range(90)}))) == 1 + 40


class TestCharts:
    def test_a_bar_is_as_long_as_its_probability(self):
        predictions = Predictions(np.log(np.array([[0.5, 0.2, 0.3]])), ("a", "b", "c"))
        widths = [float(bar.get("width")) / WIDTH for bar in elements(predictions_chart(predictions), "rect", "bar")]
        assert widths == pytest.approx([0.5, 0.3, 0.2], abs=0.01 / WIDTH)  # two decimals in the SVG

    def test_two_pictures_show_the_top_five_of_their_union_in_pairs(self):
        before, after = np.zeros(8), np.zeros(8)
        before[[0, 1, 2]], after[[5, 6]] = (6, 5, 4), (6, 5)
        chart = predictions_chart(Predictions(np.stack([before, after]), tuple("abcdefgh"), ("original", "adversarial")))
        assert len(elements(chart, "rect", "bar")) == 10
        assert texts(chart)[:2] == ["original", "adversarial"]
        assert {"a", "f", "b", "g", "c"} <= set(texts(chart)) and "h" not in texts(chart)

    def test_a_curve_is_straight_where_the_numbers_are(self):
        chart = curve_chart(Curve(np.array([0, 1, 2]), {"a": np.array([0, 1, 2]), "b": np.array([2, 2, 2])}, "x", "y"))
        straight, flat = (points(path) for path in elements(chart, "path", "line"))
        assert straight[1] == pytest.approx(straight[[0, 2]].mean(0), abs=0.06)  # one decimal in the SVG
        assert np.ptp(flat[:, 1]) == 0 and flat[0, 1] == straight[2, 1]
        assert {"a", "b", "↑ y", "x →"} <= set(texts(chart))

    def test_named_ticks_that_have_no_room_are_left_out(self):
        names = tuple(f"layer{i}.0.conv1" for i in range(40))
        chart = curve_chart(Curve(np.arange(40), {"": np.arange(40)}, ticks=names))
        shown = [name for name in texts(chart) if name in names]
        assert shown[0] == names[0] and 2 <= len(shown) <= 5

    def test_histogram_steps_are_as_high_as_the_counts(self):
        chart = histogram_chart(Histogram(np.array([0, 1, 2, 3]), {"": np.array([1, 4, 0])}))
        (path,) = elements(chart, "path", "steps")
        corners = points(path)
        heights = corners[0, 1] - corners[[1, 3, 5], 1]
        assert heights[0] / heights[1] == pytest.approx(0.25, abs=0.001) and heights[2] == 0

    def test_tenfold_counts_are_equal_steps_on_a_logarithmic_axis(self):
        chart = histogram_chart(Histogram(np.arange(5), {"": np.array([1, 10, 100, 0])}, log=True))
        (path,) = elements(chart, "path", "steps")
        y = points(path)[[1, 3, 5, 7], 1]
        assert y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.11) and y[3] > y[0]  # no count lies below a count of 1
        assert {"1", "10", "100"} <= set(texts(chart))

    def test_a_scatter_has_one_scale_for_both_axes(self):
        chart = scatter_chart(Scatter(np.array([[0, 0], [2, 0], [0, 1]]), np.array([0, 0, 1]), ("p", "q", "r"), ("even", "odd")))
        x, y = np.array([[float(point.get("cx")), float(point.get("cy"))] for point in elements(chart, "circle", "point")]).T
        assert (x[1] - x[0]) / (y[0] - y[2]) == pytest.approx(2, abs=0.001)
        assert {"even", "odd"} <= set(texts(chart))

    def test_a_path_goes_through_the_map_of_its_scatter(self):
        path = np.array([[0.0, 0], [3, 1], [2, 0]])
        scatter = Scatter(np.array([[0, 0], [2, 0]]), np.array([0, 11]), ("p", "q"), tuple("abcdefghijkl"), path=path, path_names=("now", "then", "end"))
        chart = scatter_chart(scatter)
        (points, steps) = (
            np.array([[float(mark.get("cx")), float(mark.get("cy"))] for mark in elements(chart, "circle", kind)]) for kind in ("point", "step")
        )
        assert steps[[0, 2]] == pytest.approx(points, abs=0.051) and len(steps) == 3 and steps[1, 0] > points[1, 0]
        assert "a" in texts(chart) and "l" not in texts(chart) and "color-mix" in chart  # what is beyond ten groups is grey

    @pytest.mark.parametrize(
        "empty", [Curve(np.array([]), {}), Histogram(np.array([0, 1]), {"": np.array([0])}), Scatter(np.zeros((0, 2)), np.array([]), (), ())]
    )
    def test_without_values_a_chart_says_so(self, empty):
        assert texts(to_svg(empty)) == ["Nothing to draw: there are no values."]

    def test_colours_are_left_to_the_page(self):
        chart = predictions_chart(Predictions(np.zeros((2, 3)), tuple("abc"), ("x", "y")))
        assert "var(--loupe-accent,#e4572e)" in chart and "fill:currentColor" in chart
        assert not re.search(r'(fill|stroke):#|="(black|white)"', chart)


class TestNumbers:
    @pytest.mark.parametrize(
        ("low", "high", "ticks"), [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-3, 3, [-4, -2, 0, 2, 4]), (0, 0.013, [0, 0.005, 0.01, 0.015])]
    )
    def test_ticks_are_round_and_enclose_the_values(self, low, high, ticks):
        assert nice_ticks(low, high) == pytest.approx(ticks)

    def test_ticks_of_one_value_surround_it(self):
        assert nice_ticks(7, 7)[0] < 7 < nice_ticks(7, 7)[-1]

    @pytest.mark.parametrize(
        ("value", "said"), [(0, "0"), (0.03125, "0.03125"), (12000, "12k"), (-1.5, "−1.5"), (2e-7, "2e−7"), (0.00015, "1.5e−4"), (3e6, "3M")]
    )
    def test_numbers_are_short(self, value, said):
        assert number(value) == said

    def test_a_small_probability_is_not_said_to_be_none(self):
        assert (percent(0.9312), percent(1e-5), percent(0)) == ("93.1 %", "< 0.1 %", "0.0 %")

    def test_labels_at_one_place_are_moved_apart(self):
        assert apart([50, 50, 10], 14, 0, 55) == [41, 55, 10]

    def test_a_long_text_is_cut_to_its_width(self):
        assert fit("short", 100) == "short"
        assert fit("x" * 200, 100).endswith("…") and text_width(fit("x" * 200, 100)) <= 100


def every_kind(word: str) -> list:
    heatmap = Heatmap(RAMP, unit=word, caption=word)
    return [
        heatmap,
        Picture(RAMP[None], label=word, caption=word),
        Gallery((heatmap,), (word,), caption=word),
        Predictions(np.zeros((2, 2)), (word, word), (word, word), caption=word),
        Table((word, "n"), ((word, 1.5),), caption=word),
        Curve(np.arange(2), {word: np.arange(2), "b": np.arange(2)}, word, word, (word, word), caption=word),
        Histogram(np.arange(3), {word: np.ones(2), "b": np.ones(2)}, word, caption=word),
        Animation(np.zeros((2, 1, 4, 4)), caption=word),
        Scatter(np.eye(2), np.array([0, 1]), (word, word), (word, word), caption=word),
        Note(word, caption=word),
        Browser((word,), {word: heatmap}, caption=word),
    ]


@pytest.mark.parametrize("result", every_kind(HOSTILE), ids=lambda result: type(result).__name__)
def test_text_in_a_result_is_never_markup(result):
    html = result._repr_html_()
    assert "<script" not in html and "&lt;script" in html
    closed = re.sub(r"<img([^>]*)>", r"<img\1/>", html)
    ElementTree.fromstring(f"<all>{closed}</all>")  # every tag that is opened is closed


def test_an_answer_with_several_panels_shows_itself_in_a_notebook(tiny_models, photograph):
    import techniques

    answer = techniques.run("guided_backpropagation", photograph, tiny_models["cnn"])
    html = answer._repr_html_()
    assert html.count("<figure") == len(answer) and "In colour" in html
    assert html == to_html(answer)


def test_drawing_needs_neither_torch_nor_matplotlib_nor_gradio():
    code = "import sys, techniques.base.drawing; print([m for m in ('torch', 'matplotlib', 'gradio', 'timm') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
