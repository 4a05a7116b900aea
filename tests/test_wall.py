"""The wall: which maps stand on it, on which scales, and how far they agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import model_zoo
import techniques
from model_zoo.errors import ParameterError
from techniques.base import TECHNIQUES, Gallery, Heatmap, Run, Sample
from techniques.base.agreement import disagreement, rank_correlation, ranks
from techniques.base.drawing.pictures import gallery_scales
from techniques.base.drawing.sheets import contact_sheet
from ui.panels import panel


@pytest.fixture
def cnn(tiny_models):
    return tiny_models["cnn"]


@pytest.fixture
def pictures(photograph, cnn):
    return [Sample.from_image(photograph.rotate(angle), cnn, f"{angle}.jpg") for angle in (0, 90)]


# Agreement


def test_equal_values_share_their_mean_rank():
    assert ranks(np.array([[3.0, -1.0], [1.0, 0.0]])).tolist() == [[4, 2.5], [2.5, 1]]  # the order of the absolute values


def test_two_maps_in_opposite_order_disagree_most_at_their_ends():
    up, down = np.arange(5.0)[None], np.arange(5.0)[None, ::-1]
    assert rank_correlation(up, down) == pytest.approx(-1)
    assert disagreement([up, down]).tolist() == [pytest.approx([0.4, 0.2, 0, 0.2, 0.4])]  # half of the distance of the ranks, of 5
    assert not disagreement([up, 7 * up]).any()


# What stands on the wall


def test_a_row_for_each_picture_and_a_column_for_each_technique_with_the_maps_these_give(pictures, cnn):
    answer = techniques.run("wall", pictures, cnn, methods=("saliency", "grad_cam"), target=1)
    assert len(answer.wall.items) == 4 and answer.wall.columns == 2
    alone = techniques.run("saliency", pictures[1], cnn, target=1)
    assert np.array_equal(answer.wall.items[2].values, next(iter(alone)).values)
    assert np.array_equal(answer.wall.items[2].below, pictures[1].pixels[0])
    assert answer.wall.names[2].startswith(f"Saliency · 90.jpg: {cnn.label(1)} ")


def test_correlations_are_the_mean_over_the_rows_and_disagreement_is_told_for_each(pictures, cnn):
    answer = techniques.run("wall", pictures, cnn, methods=("saliency", "occlusion"), target=0)
    first, second, third, fourth = (map_.values for map_ in answer.wall.items)
    expected = (rank_correlation(first, second) + rank_correlation(third, fourth)) / 2
    assert answer.agreement.rows[0][2] == answer.agreement.rows[1][1] == pytest.approx(expected)
    assert np.array_equal(answer.disagreement.items[1].values, disagreement([third, fourth]))


def test_the_true_class_is_the_group_of_the_picture_or_the_chosen_one(pictures, cnn):
    predicted = int(cnn.predicted(cnn.probabilities(pictures[0].pixels))[0])
    other = (predicted + 1) % cnn.classes
    grouped = [replace(pictures[0], group=cnn.label(other))]
    for answer in (
        techniques.run("wall", grouped, cnn, methods=("saliency",), classes="true and predicted"),
        techniques.run("wall", pictures[:1], cnn, methods=("saliency",), classes="true and predicted", target=other),
    ):
        assert [name.partition(".jpg: ")[2].rsplit(" ", 2)[0] for name in answer.wall.names] == [cnn.label(other), cnn.label(predicted)]


def test_layers_from_early_to_late_are_columns_of_the_techniques_that_read_one(pictures, cnn):
    answer = techniques.run("wall", pictures[:1], cnn, methods=("grad_cam", "saliency"), layers=("25 %", "75 %", "chosen", cnn.default_layer))
    told = [name.partition(" · ")[0] for name in answer.wall.names]
    assert told[-3:] == ["Grad-CAM", f"Grad-CAM, {cnn.default_layer}", "Saliency"] and answer.wall.columns == 5
    assert np.array_equal(answer.wall.items[2].values, answer.wall.items[3].values)  # which is the model's own choice


def test_a_layer_that_is_not_there_is_told_before_any_work(pictures, cnn):
    with pytest.raises(ParameterError, match="no.such.layer"):
        techniques.run("wall", pictures, cnn, layers=("no.such.layer",))


def test_another_model_is_a_row_of_its_own_with_the_picture_in_its_size(pictures, tiny_models, monkeypatch):
    monkeypatch.setattr(model_zoo, "load", lambda key: tiny_models["one_channel"])
    answer = techniques.run("wall", pictures[:1], tiny_models["cnn"], methods=("saliency",), models=("this", "bundled/digits"))
    sizes = [tiny_models[name].preprocessing.size for name in ("cnn", "one_channel")]
    assert [map_.values.shape for map_ in answer.wall.items] == sizes
    assert tiny_models["one_channel"].title in answer.wall.names[1]


def test_a_model_that_would_have_to_be_downloaded_is_asked_for_first(pictures, cnn, monkeypatch):
    monkeypatch.setattr(model_zoo, "needs_download", lambda key: 5_000_000)
    with pytest.raises(ParameterError, match="^The model timm/resnet18.a1_in1k is not on this machine yet. Choose it"):
        techniques.run("wall", pictures, cnn, models=("timm/resnet18.a1_in1k",))


def test_more_maps_than_a_page_can_hold_are_refused_before_any_work(pictures, cnn):
    with pytest.raises(ParameterError, match=r"^This wall would have 66 × 1 maps; it holds 64."):
        techniques.run("wall", pictures * 33, cnn, methods=("saliency",))


def test_a_technique_that_does_not_fit_leaves_its_place_empty_and_says_why(pictures, cnn, monkeypatch):
    monkeypatch.setitem(TECHNIQUES, "grad_cam", replace(TECHNIQUES["grad_cam"], why_not=lambda model: "it has no eyes."))
    answer = techniques.run("wall", pictures[:1], cnn, methods=("grad_cam", "saliency"))
    assert not answer.wall.items[0].values.any() and answer.wall.items[1].values.any()
    assert f"Grad-CAM: Not for {cnn.title}: it has no eyes." in answer.note.text


def test_rows_are_shown_as_they_come(pictures, cnn):
    shown = []
    techniques.run("wall", pictures, cnn, methods=("saliency", "grad_cam"), run=Run(show=shown.append))
    assert [len(answer.wall.items) for answer in shown] == [2, 4]


def test_techniques_that_read_one_layer_share_their_pass_on_the_wall(pictures, cnn):
    passes = []
    handle = cnn.network.register_forward_hook(lambda *_: passes.append(1))
    try:
        counts = []
        for methods in (("grad_cam",), ("grad_cam", "layer_cam", "hires_cam", "xgrad_cam", "grad_cam_plus_plus")):
            passes.clear()
            techniques.run("wall", pictures[:1], cnn, methods=methods, target=0)
            counts.append(len(passes))
    finally:
        handle.remove()
    assert counts[1] <= counts[0] + 1  # LayerCAM reads other layers in a pass of its own


# How it is drawn

MAPS = tuple(Heatmap(np.full((4, 4), value) * np.eye(4)) for value in (1.0, 10.0, 2.0, 5.0))


def highs(scale: str) -> list[float]:
    return [high for _, high in gallery_scales(Gallery(MAPS, ("a", "b", "c", "d"), columns=2, scale=scale))]


def test_maps_share_a_scale_over_all_over_their_column_or_not():
    assert [highs(scale) for scale in ("common", "column", "own")] == [[10, 10, 10, 10], [2, 10, 2, 10], [1, 10, 2, 5]]


def test_the_table_keeps_its_columns_on_the_page_and_in_the_figure_to_take_away():
    gallery = Gallery(MAPS[:3], ("a", "b", "c"), columns=3)
    assert "lp-columns' style='--columns:3'" in panel("Wall", gallery, None)
    sheet = contact_sheet(gallery)
    assert sheet.width > 3 * 100 and sheet.height < 150
