"""SmoothGrad: exact on a linear model, the plain gradient without noise, captum's numbers with the same noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Run, Sample, gradients
from techniques.base.gradients import absolute_gradients, deviation_for, gradients_of, smooth_gradients

AS_IT_IS = {"mean": (0.0,) * 3, "std": (1.0,) * 3}  # pixels go into the network without normalisation


def pixels_for(model, count: int = 1) -> torch.Tensor:
    shape = (count, model.preprocessing.channels, *model.preprocessing.size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def linear():
    """One linear layer whose weights are whole quarters: their sums are exact in float32."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
    network[1].weight.data = torch.randint(-8, 9, (5, 48), generator=torch.Generator().manual_seed(0)) / 4
    return wrap(network, key="linear", preprocessing=Preprocessing(3, (4, 4), **AS_IT_IS))


def test_on_a_linear_model_it_is_exactly_the_absolute_weights(linear):
    found = smooth_gradients(linear, pixels_for(linear), 2, Run(), samples=16, deviation=0.3)
    assert torch.equal(found[0], linear.network[1].weight[2].view(3, 4, 4).abs())


def test_without_noise_it_is_the_plain_saliency(tiny_model):
    pixels = pixels_for(tiny_model)
    found = smooth_gradients(tiny_model, pixels, 1, Run(), samples=3, deviation=0.0)[0].amax(0)
    saliency = techniques.run("saliency", Sample.from_pixels(pixels[0], "noise"), tiny_model, target=1).saliency.values
    np.testing.assert_allclose(found, saliency, rtol=1e-4, atol=1e-6)  # sums of a batch of three and of one round differently


def test_it_agrees_with_captum_given_the_same_noise(tiny_models):
    from captum.attr import NoiseTunnel, Saliency

    model, samples = tiny_models["cnn"], 6
    pixels = pixels_for(model)
    found = smooth_gradients(model, pixels, 3, Run(), samples=samples, deviation=0.2, seed=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)  # a picture of 3072 values is drawn alike alone and among six
        theirs = NoiseTunnel(Saliency(model.logits)).attribute(pixels.clone().requires_grad_(), nt_samples=samples, stdevs=0.2, target=3, abs=True)
    assert found.std() > 1e-3
    torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-6)  # a mean in another order


def test_a_mean_over_more_copies_is_nearer_to_the_mean_over_very_many(tiny_models):
    model = tiny_models["cnn"]

    def smooth(samples: int, seed: int) -> torch.Tensor:
        return smooth_gradients(model, pixels_for(model), 0, Run(), samples=samples, deviation=0.2, seed=seed)

    limit = smooth(400, 1)
    few, many = (float((smooth(samples, 2) - limit).norm()) for samples in (4, 64))
    assert many < few / 2  # the error falls with the root of the number: to about a quarter


@pytest.mark.parametrize("memory", [0, 2**30])
def test_the_numbers_do_not_depend_on_how_many_copies_fit_into_a_batch(tiny_models, monkeypatch, memory):
    model = tiny_models["cnn"]
    expected = smooth_gradients(model, pixels_for(model), 0, Run(), samples=7, deviation=0.2)
    monkeypatch.setitem(gradients.MEMORY, "cpu", memory)
    found = smooth_gradients(model, pixels_for(model), 0, Run(), samples=7, deviation=0.2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)  # the same noise; sums of another length


def test_every_picture_meets_the_same_noise_and_knows_nothing_of_the_others(tiny_models):
    model = tiny_models["transformer"]
    first, second = pixels_for(model, 2).split(1)
    together = smooth_gradients(model, torch.cat([first, second, first]), 0, Run(), samples=5, deviation=0.1)
    alone = smooth_gradients(model, second, 0, Run(), samples=5, deviation=0.1)
    assert torch.equal(together[0], together[2]) and torch.equal(together[1], alone[0])


def test_the_noise_is_that_of_the_seed(tiny_models):
    model = tiny_models["cnn"]
    one, again, other = (smooth_gradients(model, pixels_for(model), 0, Run(), samples=4, deviation=0.3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.allclose(one, other, rtol=1e-3)


def test_the_deviation_is_a_share_of_the_range_of_values():
    assert deviation_for(torch.tensor([0.25, 0.5, 0.75]), 20) == pytest.approx(0.1)


def test_each_picture_of_a_batch_has_its_own_gradient(tiny_model):
    pixels = pixels_for(tiny_model, 2)
    both = absolute_gradients(tiny_model, pixels, 0)
    torch.testing.assert_close(both[1:], absolute_gradients(tiny_model, pixels[1:], 0), rtol=1e-4, atol=1e-6)  # batches round differently
    assert not pixels.requires_grad and pixels.grad is None


def test_behind_a_reshape_of_patches_the_gradient_through_a_batch_norm_is_that_of_a_larger_batch():
    """torch's own way back through a batch norm in eval mode is wrong there for a single picture, on a CPU."""

    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm, self.among, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.LayerNorm(8), nn.Linear(8, 5)

        def forward(self, x):
            patches = self.norm(self.convolution(x)).flatten(2).transpose(1, 2)
            return self.head(self.among(patches).pow(3).sum(1))

    torch.manual_seed(0)
    network = Patches()
    nn.init.uniform_(network.norm.running_var, 0.01, 0.3)
    model = wrap(network, key="patches", preprocessing=Preprocessing(3, (6, 6), **AS_IT_IS))
    pixels = pixels_for(model)
    alone, among_others = gradients_of(model, pixels, 1)[1], gradients_of(model, torch.cat([pixels, pixels]), 1)[1][:1]
    torch.testing.assert_close(alone, among_others, rtol=1e-4, atol=1e-6)  # batches round differently
