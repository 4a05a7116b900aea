"""Filters: weights against the modules' own, answers against convolutions made in the test, principal components against a covariance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

import techniques
import techniques.filters as filters_module
from techniques.base import Sample
from techniques.base import weights as weights_module
from techniques.base.results import all_arrays
from techniques.base.weights import Distribution
from tests.test_activations import noise, outputs
from tests.test_contract import linear


def see(model, **settings):
    sample = noise(model)
    return techniques.run("filters", sample, model, **settings), sample


def normalised(model, sample: Sample) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (model.preprocessing.mean, model.preprocessing.std))
    return (sample.pixels - mean) / std


@pytest.mark.parametrize(("name", "layer"), [("cnn", "0.0"), ("one_channel", "0"), ("transformer", "patch_embed.proj")])
def test_the_first_layer_s_filters_are_pictures_of_its_weights_beside_their_answers(tiny_models, name, layer):
    model = tiny_models[name]
    answer, sample = see(model)
    weight = model.module(layer).weight.numpy()
    for number in (0, len(weight) - 1):
        picture, *_ = answer.first_layer.cell(f"filter {number}").items
        np.testing.assert_array_equal(picture.values, weight[number])
        assert picture.signed
    module = model.module(layer)
    expected = functional.conv2d(normalised(model, sample), module.weight, module.bias, module.stride, module.padding)[0].numpy()
    np.testing.assert_allclose(answer.first_layer.cells.stacked["answer"], expected, rtol=1e-4, atol=1e-5)  # float32


def test_principal_components_are_those_of_the_covariance_and_answer_as_filters_would_up_to_a_constant(tiny_models):
    model = tiny_models["transformer"]  # 24 filters of 3 x 8 x 8
    answer, sample = see(model, first="principal components")
    module = model.module("patch_embed.proj")
    flat = module.weight.flatten(1).double().numpy()
    values, vectors = np.linalg.eigh(np.cov(flat.T, bias=True))
    shown = answer.first_layer.cells.stacked["weights"]
    assert shown.shape == (23, 3, 8, 8)  # 24 filters less their mean
    for number in range(3):
        component = shown[number].ravel()
        assert abs(component @ vectors[:, -1 - number]) == pytest.approx(1, abs=1e-3)  # the same line; eigenvalues lie close together
        assert component[np.abs(component).argmax()] > 0
    expected = functional.conv2d(normalised(model, sample), torch.from_numpy(shown), stride=module.stride)[0].numpy()
    found = answer.first_layer.cells.stacked["answer"]
    rest = (found - expected).reshape(len(found), -1)
    assert np.ptp(rest[:20], axis=1).max() < 1e-3  # one constant per component: float32, divided by a singular value
    assert values[-1] > values[-2] and "these hold 100 % of their variance" in answer.first_layer.caption


def test_a_linear_layer_over_all_pixels_has_a_template_per_class_whose_product_with_the_picture_is_the_logit():
    model = linear()
    answer, sample = see(model)
    logits = model.logits(sample.pixels)[0]
    for number in range(4):
        (template,) = answer.first_layer.cell(f"filter {number}").items
        product = float((torch.from_numpy(template.values) * normalised(model, sample)[0]).sum()) + float(model.module("1").bias[number])
        assert product == pytest.approx(float(logits[number]), abs=1e-4)  # a sum of 432 products in float32


def test_the_weights_of_any_layer_are_small_multiples_input_by_input(tiny_models):
    model = tiny_models["cnn"]
    answer, sample = see(model, layer="2.0", sort="norm")
    weight = model.module("2.0").weight.numpy()  # 16 filters, 12 inputs, 3 x 3
    norms = np.linalg.norm(weight.reshape(16, -1), axis=1)
    assert answer.weights.positions() == tuple(f"filter {number}" for number in np.argsort(-norms))
    number = int(np.argmax(norms))
    shown, reply = answer.weights.cell(f"filter {number}").items
    assert shown.values.shape == (3 * 4 - 1, 4 * 4 - 1)  # 12 inputs in 3 rows of 4, a line between any two
    for place in range(12):
        top, left = place // 4 * 4, place % 4 * 4
        np.testing.assert_array_equal(shown.values[top : top + 3, left : left + 3], weight[number, place])
    assert not shown.values[3].any() and not shown.values[:, 3].any()
    expected = outputs(model, sample)["2.0"][number]
    assert set(np.unique(reply.values)) == set(np.unique(expected)) and reply.values.shape == (32, 32)


def test_a_mosaic_has_as_many_rows_as_its_inputs_need():
    assert [filters_module.mosaic(np.ones((count, 2, 2))).shape for count in (1, 3, 5)] == [(2, 2), (2, 8), (5, 8)]
    assert filters_module.mosaic(np.ones((5, 2, 2))).sum() == 20


def test_of_one_weight_per_input_a_filter_is_a_rectangle(tiny_models):
    model = tiny_models["transformer"]
    answer, _ = see(model, layer="blocks.0.mlp.fc1")
    weight = model.module("blocks.0.mlp.fc1").weight.numpy()  # 96 units, 24 inputs
    shown, reply = answer.weights.cell("filter 95").items
    assert shown.values.shape == (4, 6) and reply.values.shape == (32, 32)
    np.testing.assert_array_equal(shown.values.ravel(), weight[95])
    assert len(answer.weights.cell("filter 0").items) == 2


def test_a_layer_without_weights_stands_for_the_last_one_before_it(tiny_models):
    answer, _ = see(tiny_models["cnn"], layer="1.2")
    assert answer.weights.caption == "Weights of 1.0" and "Weights are those of 1.0: 1.2 itself has none to show." in answer.note.text
    answer, _ = see(tiny_models["transformer"], layer="blocks.0.norm1")
    assert answer.weights.caption == "Weights of patch_embed.proj"


def test_histograms_count_every_weight_once_and_agree_with_numpy(tiny_model, monkeypatch):
    monkeypatch.setattr(weights_module, "PART", 50)  # in many parts
    answer, _ = see(tiny_model)
    for name in answer.histogram.positions():
        weight = tiny_model.module(name).weight.double().numpy().ravel()
        cell = answer.histogram.cell(name)
        expected, edges = np.histogram(weight, len(cell.edges) - 1, (weight.min(), weight.max()))
        assert cell.counts["weights"].sum() == len(weight)
        assert np.abs(cell.counts["weights"] - expected).sum() <= 4  # a weight on an edge may fall to either side, in float32 or float64
        np.testing.assert_allclose(cell.edges, edges, rtol=1e-6, atol=1e-7)
        column = answer.layers.ticks.index(name)
        assert [line[column] for line in answer.layers.lines.values()] == pytest.approx([weight.std(), np.abs(weight).max()], rel=1e-4)


def test_weights_that_are_all_the_same_fall_into_one_bin():
    found = Distribution.of(torch.full((3, 4), 2.0))
    assert found.counts.max() == 12 and (found.edges[0], found.edges[-1], found.deviation, found.largest) == (1.5, 2.5, 0.0, 2.0)


def test_of_a_layer_too_large_for_the_memory_some_filters_are_shown_and_it_is_said(tiny_models, monkeypatch):
    monkeypatch.setattr(filters_module, "MOST", 12 * 9 * 5)
    answer, _ = see(tiny_models["cnn"], layer="2.0", sort="norm")
    assert len(answer.weights.positions()) == 5 and "Of its 16 filters 5 are shown" in answer.note.text
    assert all_arrays(answer)["weights.weights"].shape == (5, 12, 3, 3)
