"""A technique on two pictures: before, after and the difference, on one scale, with numbers that can be checked."""

from __future__ import annotations

import io
import json
import pickle
import runpy
import threading
import zipfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import model_zoo
import techniques
from model_zoo.errors import Cancelled, OutOfTime, ParameterError
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.__main__ import main
from techniques.base import (
    Animation, Browser, Curve, Gallery, Heatmap, Histogram, Note, Picture, Predictions, Run, Sample, Samples, Scatter, Stack, Table,
)  # fmt: skip
from techniques.base.drawing import to_html
from techniques.base.drawing.pictures import common_scales
from techniques.base.export import bundle, write_bundle
from techniques.base.pairs import compares, execute_on
from techniques.base.results import KINDS, panels
from techniques.base.side_by_side import Pair, side_by_side
from ui.samples import sample as sample_picture

COMPARING = [technique for technique in techniques.catalogue().values() if compares(technique)]
PIXELS = np.zeros((3, 4, 4), np.float32)
PAIR = Pair(("lion.jpg", "PGD, of lion.jpg"), (PIXELS, PIXELS + 0.5))
GRID = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)


def noise(model, seed: int = 0, origin: str = "noise") -> Sample:
    preprocessing = model.preprocessing
    return Sample.from_pixels(torch.rand(preprocessing.channels, *preprocessing.size, generator=torch.Generator().manual_seed(seed)), origin)


@pytest.fixture(scope="module")
def fooled():
    """The bundled digits model, the sample digit 0, and the same after FGSM, which makes the model call it another digit."""
    model = model_zoo.load("bundled/digits")
    attack = techniques.run("fgsm", sample_picture("digit_0").path, model, epsilon=51)
    return model, Sample.from_pixels(attack.original.values, "0"), Sample.from_pixels(attack.adversarial.values, attack.adversarial.label)


@pytest.mark.parametrize("technique", COMPARING, ids=lambda technique: technique.name)
def test_the_difference_is_after_less_before_in_every_technique(technique, tiny_models):
    model = tiny_models["transformer" if technique.why_not(tiny_models["cnn"]) else "cnn"]
    before, after = (noise(model, seed) for seed in (0, 1))
    settings = {"target": 2} if technique.param("target") else {}
    answer = techniques.run(technique.name, [before, after], model, **settings)
    alone = [panels(techniques.run(technique.name, one, model, **settings)) for one in (before, after)]
    found = 0
    for name, panel in panels(answer).items():
        cells = dict(panel.leaves()) if isinstance(panel, Browser) else {(): panel}
        for path, gallery in cells.items():
            for index in [i for i, item in enumerate(gallery.names) if item.endswith("difference")] if isinstance(gallery, Gallery) else []:
                first, second, difference = (item.values for item in gallery.items[index - 2 : index + 1])
                np.testing.assert_array_equal(difference, second - first)
                for single, values in zip(alone, (first, second)):  # and each is what the technique gives for that picture alone
                    np.testing.assert_allclose(values, map_in(single[name], path, gallery.names[index]), rtol=1e-5, atol=1e-6)  # the same passes, in float32
                found += 1
    assert found >= 1


def map_in(panel, path: tuple[str, ...], name: str) -> np.ndarray:
    """The map of an answer to one picture that stands under this name at a place of the answer to two."""
    cell = panel.cell(*path) if isinstance(panel, Browser) else panel
    return cell.values if isinstance(cell, Heatmap) else cell.items[cell.names.index(name.rpartition(": ")[0])].values


def test_fgsm_makes_a_nought_another_digit_and_the_maps_of_both_classes_show_it(fooled):
    model, before, after = fooled
    start, end = (int(model.predicted(model.probabilities(one.pixels))) for one in (before, after))
    assert start == 0 and end != 0
    maps = techniques.run("grad_cam", [before, after], model).grad_cam
    assert maps.axes == ("class",) and maps.positions() == (str(start), str(end))
    differences = [maps.cell(str(index)).items[2].values for index in (start, end)]
    old, new = (float(values.mean()) / float(abs(values).max()) for values in differences)
    assert old < -0.1 and new > 0.1  # less speaks for the 0 than before, and more for the other digit; -0.35 and 0.15 on the bundled weights


def test_of_a_linear_model_the_difference_of_the_maps_adds_up_to_the_change_of_the_logit():
    linear = wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)), key="linear", preprocessing=Preprocessing(3, (8, 8), crop_fraction=1.0))
    before, after = noise(linear, 0), noise(linear, 1)
    answer = techniques.run("input_x_gradient", [before, after], linear, target=2)
    change = (linear.logits(after.pixels) - linear.logits(before.pixels))[0, 2]
    (gallery,) = answer.input_x_gradient.cells.values()
    assert gallery.items[2].values.sum() == pytest.approx(float(change), abs=1e-4)  # a sum of 192 products in float32
    (gallery,) = techniques.run("saliency", [before, after], linear, target=2).saliency.cells.values()
    assert not gallery.items[2].values.any()  # the gradient of a linear model is the same everywhere


def test_all_maps_of_a_panel_share_one_scale(fooled):
    model, before, after = fooled
    maps = techniques.run("saliency", [before, after], model).saliency
    galleries = [maps.cell(name) for name in maps.positions()]
    most = max(abs(item.values).max() for gallery in galleries for item in gallery.items)
    for gallery in galleries:
        assert common_scales(gallery.items, gallery.reach) == [pytest.approx(scale) for scale in ((0, most), (0, most), (-most, most))]


def test_a_chosen_class_is_the_only_one_explained(fooled):
    model, before, after = fooled
    for name in ("grad_cam", "saliency"):
        assert panels(techniques.run(name, [before, after], model, target="3"))[name].positions() == ("3",)


def test_a_picture_with_itself_differs_nowhere(tiny_models):
    model = tiny_models["cnn"]
    maps = techniques.run("saliency", [noise(model)] * 2, model).saliency
    assert len(maps.positions()) == 1 and not maps.cell(*maps.positions()).items[2].values.any()


def test_each_map_lies_over_its_own_picture(tiny_models):
    model = tiny_models["cnn"]
    before, after = (noise(model, seed) for seed in (0, 1))
    (gallery,) = techniques.run("saliency", [before, after], model, target=0).saliency.cells.values()
    np.testing.assert_array_equal(gallery.items[0].below, before.pixels[0])
    np.testing.assert_array_equal(gallery.items[1].below, after.pixels[0])


@pytest.mark.parametrize("technique", COMPARING, ids=lambda technique: technique.name)
def test_a_pair_is_drawn_exported_and_pickled_on_every_kind_of_model(technique, tiny_model):
    if technique.why_not(tiny_model):
        pytest.skip("the technique does not fit this model")
    pair = Samples((noise(tiny_model, 0, "lion.jpg"), noise(tiny_model, 1, "FGSM, of lion.jpg")))
    answer = pickle.loads(pickle.dumps(execute_on(technique, pair, tiny_model)))
    assert set(panels(answer)) <= set(technique.results) and all(isinstance(panel, KINDS) for panel in panels(answer).values())
    assert to_html(answer)
    files = bundle(technique, pair, tiny_model, {}, answer)
    about = json.loads(files["manifest.json"])
    assert [picture["origin"] for picture in about["pictures"]] == ["lion.jpg", "FGSM, of lion.jpg"]
    assert zipfile.is_zipfile(io.BytesIO(files["arrays.npz"]))
    assert not any(np.isnan(array).any() for array in np.load(io.BytesIO(files["arrays.npz"])).values() if array.dtype.kind == "f")


def test_progress_runs_once_over_all_runs_and_never_back(tiny_models):
    model, told = tiny_models["cnn"], []
    run = Run(report=lambda fraction, text: told.append((fraction, text)))
    techniques.run("occlusion", [noise(model, 0), noise(model, 1)], model, run=run)
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert told[0][1].startswith("Before: ") and told[-1][1].startswith("After: ")


def test_stop_ends_a_pair_in_the_middle_of_the_second_picture(tiny_models):
    model, stop = tiny_models["cnn"], threading.Event()
    run = Run(report=lambda fraction, text: stop.set() if text.startswith("After") else None, stop=stop)
    with pytest.raises(Cancelled):
        techniques.run("occlusion", [noise(model, 0), noise(model, 1)], model, run=run, target=0)


def test_the_deadline_holds_for_both_pictures_together(tiny_models):
    model = tiny_models["cnn"]
    with pytest.raises(OutOfTime):
        techniques.run("occlusion", [noise(model, 0), noise(model, 1)], model, run=Run(seconds=-1))


@pytest.mark.parametrize(
    ("name", "count", "said"),
    [
        ("saliency", 3, "Saliency works on one picture, or on two to compare, received 3. Run it once for each."),
        ("saliency", 0, "Saliency works on one picture, or on two to compare, received 0. Run it once for each."),
        ("fgsm", 2, "FGSM works on one picture, received 2. Run it once for each."),
    ],
)
def test_a_number_of_pictures_that_does_not_fit_is_told(name, count, said, tiny_models):
    with pytest.raises(ParameterError) as error:
        techniques.run(name, [noise(tiny_models["cnn"])] * count, tiny_models["cnn"])
    assert str(error.value) == said


def test_the_command_line_compares_two_pictures(monkeypatch, capsys, tmp_path, photograph, tiny_models):
    monkeypatch.setattr(model_zoo, "load", lambda key: tiny_models["cnn"])
    photograph.save(tmp_path / "before.png")
    photograph.rotate(180).save(tmp_path / "after.png")
    pictures = [str(tmp_path / f"{name}.png") for name in ("before", "after")]
    assert main(["saliency", *pictures, "--target", "church", "--out", str(tmp_path / "out")]) == 0
    assert "Saliency of before.png" in (said := capsys.readouterr().out) and "Saliency of after.png" in said
    with np.load(tmp_path / "out/arrays.npz") as arrays:
        before, after, difference = (arrays[f"saliency.church/{number}"] for number in range(3))
    np.testing.assert_array_equal(difference, after - before)
    assert main(["fgsm", *pictures]) == 2
    assert capsys.readouterr().err.strip() == "FGSM works on one picture, received 2. Run it once for each."


# How each kind of result is put beside another


def test_predictions_become_a_row_for_each_picture():
    both = side_by_side(Predictions(np.array([[0.0, 1.0]]), ("cat", "dog")), Predictions(np.array([[2.0, 0.0]]), ("cat", "dog")), PAIR)
    assert both.names == ("before", "after") and both.logits.tolist() == [[0, 1], [2, 0]]


def test_tables_keep_every_row_and_say_of_which_picture():
    both = side_by_side(Table(("n",), ((1,),)), Table(("n",), ((2,),)), PAIR)
    assert both.columns == ("picture", "n") and both.rows == (("before", 1), ("after", 2))


def test_lines_over_the_same_axis_share_it_and_others_stand_apart():
    first, second = Curve(np.arange(3.0), {"p": np.zeros(3)}), Curve(np.arange(3.0), {"p": np.ones(3)})
    assert list(side_by_side(first, second, PAIR).lines) == ["p: before", "p: after"]
    apart = side_by_side(first, replace(second, x=np.arange(4.0), lines={"p": np.ones(4)}), PAIR)
    assert apart.positions() == ("before", "after") and apart.cell("after").lines["p"].sum() == 4


def test_counts_between_the_same_edges_share_them():
    first, second = Histogram(np.arange(3.0), {"": np.array([1, 2])}), Histogram(np.arange(3.0), {"": np.array([3, 4])})
    assert {name: counts.tolist() for name, counts in side_by_side(first, second, PAIR).counts.items()} == {"before": [1, 2], "after": [3, 4]}


def test_a_gallery_keeps_its_names_and_gains_a_difference_for_each_map():
    first = Gallery((Heatmap(GRID), Picture(PIXELS)), ("map", "picture"))
    second = Gallery((Heatmap(GRID * 3), Picture(PIXELS + 1)), ("map", "picture"))
    both = side_by_side(first, second, PAIR)
    assert both.names == ("map: picture 1", "map: picture 2", "map: difference", "picture: picture 1", "picture: picture 2")
    np.testing.assert_array_equal(both.items[2].values, GRID * 3 - GRID)
    assert both.reach == 3


@pytest.mark.parametrize(
    "result",
    [Animation(np.zeros((2, 3, 4, 4), np.float32)), Scatter(np.zeros((2, 2)), np.zeros(2, int), ("a", "b"), ("g",))],
    ids=lambda result: type(result).__name__,
)
def test_kinds_without_a_common_drawing_are_two_cells(result):
    assert side_by_side(result, result, PAIR).positions() == ("before", "after")


def test_notes_say_of_which_picture_they_speak():
    assert side_by_side(Note("a"), Note("b"), PAIR).text == "Before, lion.jpg: a\nAfter, PGD, of lion.jpg: b"


def cell(factor: float, name: str, entry: dict) -> Heatmap:
    return Heatmap(entry["map"] * factor, caption=name)


def test_thousands_of_cells_in_another_order_meet_by_name_and_stay_a_few_arrays():
    maps = np.arange(32, dtype=np.float32).reshape(2, 4, 4)
    first = Browser(("layer", "filter"), {"conv1": Stack(("filter 0", "filter 1"), {"map": maps}, partial(cell, 1))})
    second = Browser(("layer", "filter"), {"conv1": Stack(("filter 1", "filter 0"), {"map": maps}, partial(cell, 2))})
    both = side_by_side(first, second, PAIR)
    assert isinstance(both.cells["conv1"], Stack) and both.axes == first.axes
    gallery = pickle.loads(pickle.dumps(both)).cell("conv1", "filter 0")
    assert gallery.names == ("before", "after", "difference")
    np.testing.assert_array_equal(gallery.items[2].values, 2 * maps[1] - maps[0])


def test_positions_that_only_one_picture_has_are_left_out():
    first, second = ({name: Note(name) for name in names} for names in (("a", "b"), ("b", "c")))
    assert side_by_side(Browser(("layer",), first), Browser(("layer",), second), PAIR).positions() == ("b",)


def test_a_browser_of_cells_that_stand_apart_keeps_one_axis():
    film = Browser(("layer",), {"conv1": Animation(np.zeros((2, 3, 4, 4), np.float32))})
    both = side_by_side(film, film, PAIR)
    assert both.axes == ("layer",) and both.positions() == ("conv1, before", "conv1, after")
    assert to_html(both).count('<img') == 1 and len(both.arrays()) == 2


def test_the_files_of_a_pair_hold_each_map_over_its_picture_and_a_program_that_repeats_it(fooled, tmp_path, capsys):
    model, before, after = fooled
    technique, pair = techniques.find("saliency"), Samples((before, after))
    paths = write_bundle(tmp_path, technique, pair, model, {"target": "0"}, execute_on(technique, pair, model, {"target": "0"}))
    names = {path.name for path in paths}
    assert {"saliency-sheet.png", "saliency-0-before-overlay.png", "saliency-0-after-overlay.png", "saliency-0-difference.png"} <= names
    assert "saliency-0-difference-overlay.png" not in names  # it is of both pictures
    runpy.run_path(str(tmp_path / "repeat.py"))
    assert capsys.readouterr().out == "Repeated: the largest difference is 0.\n"  # the same passes on the same machine
