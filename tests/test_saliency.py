"""Saliency: closed forms on a linear network, agreement with captum, nothing left behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch import nn

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Sample


def sample_for(model, seed: int = 0) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


@pytest.fixture(scope="module")
def linear():
    """A linear network on 3 x 6 x 6 pixels: logits = weight @ ((pixels - mean) / std) + bias."""
    torch.manual_seed(0)
    return wrap(nn.Sequential(nn.Flatten(), nn.Linear(108, 4)), key="linear", preprocessing=Preprocessing(3, (6, 6)))


def weights_per_pixel(linear, target: int) -> np.ndarray:
    """The gradient of one logit of the linear network at its pixels in [0, 1]: `[3, 6, 6]`."""
    std = torch.tensor(linear.preprocessing.std).view(3, 1, 1)
    return (linear.network[1].weight[target].view(3, 6, 6) / std).numpy()


@pytest.mark.parametrize(("channels", "reduce"), [("max", np.max), ("mean", np.mean)])
def test_on_a_linear_network_the_map_is_the_size_of_the_weights(linear, channels, reduce):
    answer = techniques.run("saliency", sample_for(linear), linear, target=2, channels=channels)
    expected = reduce(np.abs(weights_per_pixel(linear, 2)), axis=0)
    assert np.allclose(answer.saliency.values, expected, rtol=1e-6)  # one multiplication in float32


@pytest.mark.parametrize("name", ["cnn", "transformer", "one_channel", "single_logit"])
def test_it_agrees_with_captum(tiny_models, name):
    model = tiny_models[name]
    sample = sample_for(model)
    answer = techniques.run("saliency", sample, model, target=1)
    absolute = Saliency(model.logits).attribute(sample.pixels.clone().requires_grad_(), target=1)
    assert np.allclose(answer.saliency.values, absolute[0].amax(0).numpy(), atol=1e-6)  # the same two passes


def test_without_a_target_the_predicted_class_is_explained(tiny_model):
    sample = sample_for(tiny_model)
    predicted = tiny_model.target(None, sample.pixels)
    unnamed = techniques.run("saliency", sample, tiny_model)
    named = techniques.run("saliency", sample, tiny_model, target=predicted)
    assert np.array_equal(unnamed.saliency.values, named.saliency.values)


def test_pixels_and_parameters_keep_no_gradient(tiny_model):
    sample = sample_for(tiny_model)
    techniques.run("saliency", sample, tiny_model)
    assert sample.pixels.grad is None and not sample.pixels.requires_grad
    assert all(parameter.grad is None for parameter in tiny_model.network.parameters())
