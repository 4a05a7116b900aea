"""Integrated gradients, gradient SHAP and input times gradient: exact on a linear model, adding up, captum's numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients
from captum.attr._core import gradient_shap as peer
from torch import nn

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Run, Sample, gradients
from techniques.base.covering import fill_pixels
from techniques.gradient_shap import _baseline

BASELINES = ["grey", "mean", "blur", "noise", "black", "white"]


def sample_for(model, seed: int = 1) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


@pytest.fixture(scope="module")
def linear():
    """A linear network on 3 x 6 x 6 pixels."""
    torch.manual_seed(0)
    return wrap(nn.Sequential(nn.Flatten(), nn.Linear(108, 4)), key="linear", preprocessing=Preprocessing(3, (6, 6)))


def difference(model, sample: Sample, baseline: str, target: int) -> float:
    ends = model.logits(torch.cat([sample.pixels, fill_pixels(baseline, sample.pixels)]))[:, target]
    return float(ends[0] - ends[1])


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("name", ["input_x_gradient", "integrated_gradients", "deep_lift"])
def test_on_a_linear_network_all_are_weight_times_what_the_pixel_differs_from_the_baseline(linear, name, baseline):
    sample = sample_for(linear)
    weights = linear.network[1].weight[2].view(3, 6, 6) / torch.tensor(linear.preprocessing.std).view(3, 1, 1)
    expected = ((sample.pixels - fill_pixels(baseline, sample.pixels))[0] * weights).sum(0)
    answer = techniques.run(name, sample, linear, target=2, baseline=baseline)
    assert np.allclose(answer[0].values, expected.numpy(), atol=1e-5)  # a mean of 50 float32 gradients
    assert answer[0].values.sum() == pytest.approx(difference(linear, sample, baseline, 2), abs=1e-4)


@pytest.mark.parametrize("name", ["cnn", "transformer", "one_channel", "single_logit"])
def test_input_times_gradient_agrees_with_captum(tiny_models, name):
    model = tiny_models[name]
    sample = sample_for(model)
    found = techniques.run("input_x_gradient", sample, model, target=1).input_x_gradient.values
    expected = InputXGradient(model.logits).attribute(sample.pixels.clone().requires_grad_(), target=1)[0].sum(0).detach()
    assert np.allclose(found, expected.numpy(), atol=1e-6)  # the same two passes


@pytest.mark.parametrize("name", ["cnn", "transformer", "one_channel"])
@pytest.mark.parametrize("baseline", ["black", "blur"])
def test_integrated_gradients_agree_with_captum_at_the_same_points(tiny_models, name, baseline):
    model = tiny_models[name]
    sample = sample_for(model)
    found = techniques.run("integrated_gradients", sample, model, target=1, baseline=baseline, steps=20).integrated_gradients.values
    start = fill_pixels(baseline, sample.pixels)
    expected = IntegratedGradients(model.logits).attribute(sample.pixels, start, target=1, n_steps=20, method="riemann_middle")[0].sum(0)
    assert expected.std() > 1e-4
    assert np.allclose(found, expected.detach().numpy(), atol=1e-5)  # captum adds in float64


@pytest.mark.parametrize("baseline", BASELINES)
def test_integrated_gradients_add_up_to_the_difference_of_the_logits(tiny_models, baseline):
    for name in ("cnn", "transformer", "one_channel", "several_labels"):
        model = tiny_models[name]
        sample = sample_for(model)
        values = techniques.run("integrated_gradients", sample, model, target=1, baseline=baseline, steps=200).integrated_gradients.values
        expected = difference(model, sample, baseline, 1)
        assert values.sum() == pytest.approx(expected, abs=0.02 * abs(expected) + 2e-3)  # kinks of ReLUs between 200 points


def test_more_steps_add_up_better(tiny_models):
    model = tiny_models["cnn"]
    sample = sample_for(model)
    expected = difference(model, sample, "black", 0)
    maps = (techniques.run("integrated_gradients", sample, model, target=0, steps=steps).integrated_gradients.values for steps in (5, 300))
    few, many = (abs(values.sum() - expected) for values in maps)
    assert many < few / 3


def test_the_path_begins_at_the_baselines_logit_and_ends_at_the_pictures(tiny_models):
    model = tiny_models["cnn"]
    sample = sample_for(model)
    curve = techniques.run("integrated_gradients", sample, model, target=3, baseline="mean", steps=10).path
    line = curve.lines[model.label(3)]
    assert curve.x.tolist() == pytest.approx([0, *(np.arange(10) + 0.5) / 10, 1])
    start = fill_pixels("mean", sample.pixels)
    expected = model.logits(torch.cat([start + share * (sample.pixels - start) for share in curve.x.tolist()]))[:, 3]
    assert np.allclose(line, expected.numpy(), atol=1e-5)


def test_what_is_shown_first_of_integrated_gradients_is_spread_over_the_whole_way(tiny_models, monkeypatch):
    monkeypatch.setitem(gradients.MEMORY, "cpu", 0)  # one point in a batch
    model, shown = tiny_models["cnn"], []
    techniques.run("integrated_gradients", sample_for(model), model, steps=16, run=Run(show=shown.append))
    points = [answer.path.x[1:-1].tolist() for answer in shown]
    assert [len(each) for each in points] == [1, 2, 4, 8]
    assert np.allclose(np.diff(points[2]), 0.25) and np.allclose(np.diff(points[3]), 0.125)


@pytest.mark.parametrize("name", ["integrated_gradients", "gradient_shap"])
def test_the_numbers_do_not_depend_on_how_many_points_fit_into_a_batch(tiny_models, monkeypatch, name):
    model = tiny_models["cnn"]
    expected = techniques.run(name, sample_for(model), model)[0].values
    monkeypatch.setitem(gradients.MEMORY, "cpu", 0)
    found = techniques.run(name, sample_for(model), model)[0].values
    assert np.allclose(found, expected, atol=1e-5)  # the same points; sums of another length


def told(note: str) -> tuple[float, ...]:
    return tuple(float(number) for number in re.findall(r"-?\d+\.\d+", note))


def test_on_a_linear_network_gradient_shap_adds_up_exactly_and_no_chance_is_left_in_the_sum(linear):
    answer = techniques.run("gradient_shap", sample_for(linear), linear, target=1, samples=9)
    total, _, _, expected, chance = told(answer.note.text)
    assert total == pytest.approx(expected, abs=2e-3) and chance == 0  # three decimals are told
    assert answer.gradient_shap.values.sum() == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize("baselines", ["even colours", "noise", "blurred copies"])
def test_gradient_shap_agrees_with_captum_for_the_same_baselines_and_points(tiny_models, monkeypatch, baselines):
    model, samples = tiny_models["cnn"], 12
    sample = sample_for(model)
    found = techniques.run("gradient_shap", sample, model, target=2, baselines=baselines, samples=samples, seed=4).gradient_shap.values
    generator = torch.Generator().manual_seed(4)
    ways = (torch.randperm(samples, generator=generator) + torch.rand(samples, generator=generator)) / samples
    starts = torch.cat([_baseline(baselines, sample.pixels, generator) for _ in range(samples)])
    monkeypatch.setattr(peer.np.random, "uniform", lambda *_: ways.numpy())
    theirs = peer.InputBaselineXGradient(model.logits).attribute(sample.pixels.expand(samples, -1, -1, -1), starts, target=2)
    assert theirs.std() > 1e-4
    assert np.allclose(found, theirs.detach().mean(0).sum(0).numpy(), atol=1e-5)  # a mean in another order


def test_gradient_shap_comes_nearer_to_adding_up_with_more_baselines(tiny_models):
    model = tiny_models["cnn"]

    def gap(samples: int) -> float:
        gaps = []
        for seed in range(8):
            total, _, _, expected, _ = told(techniques.run("gradient_shap", sample_for(model), model, target=0, samples=samples, seed=seed).note.text)
            gaps.append((total - expected) ** 2)
        return float(np.mean(gaps)) ** 0.5

    assert gap(200) < gap(8) / 2  # the error falls at least with the root of the number, to a fifth


def test_another_seed_draws_other_baselines(tiny_models):
    model = tiny_models["cnn"]
    one, again, other = (techniques.run("gradient_shap", sample_for(model), model, samples=5, seed=seed).gradient_shap.values for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.allclose(one, other, rtol=1e-3)


def test_a_map_that_does_not_add_up_says_so(tiny_models):
    model = tiny_models["one_channel"]
    sample = sample_for(model)
    answer = techniques.run("input_x_gradient", sample, model, target=1)
    error = abs(answer.input_x_gradient.values.sum() - difference(model, sample, "black", 1)) / abs(difference(model, sample, "black", 1))
    assert error > 0.25 and "it does not account for the answer" in answer.note.text
