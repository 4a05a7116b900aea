"""SmoothGrad, SmoothGrad-squared and VarGrad: captum's numbers with the same noise, closed forms on linear models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from torch import nn

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Run, Sample, gradients
from techniques.base.gradients import deviation_for


def sample_for(model, seed: int = 1) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


THEIRS = {"size of the mean": ("smoothgrad", False), "mean of the sizes": ("smoothgrad", True), "mean of the squares": ("smoothgrad_sq", False),
          "variance": ("vargrad", False)}  # fmt: skip


@pytest.mark.parametrize("statistic", list(THEIRS))
def test_it_agrees_with_captum_given_the_same_noise(tiny_models, statistic):
    model, samples = tiny_models["cnn"], 6
    sample = sample_for(model)
    found = techniques.run("smooth_grad", sample, model, target=3, statistic=statistic, samples=samples, seed=5, noise=20).values
    kind, absolute = THEIRS[statistic]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)  # a picture of 3072 values is drawn alike alone and among six
        theirs = NoiseTunnel(Saliency(model.logits)).attribute(
            sample.pixels.clone().requires_grad_(), nt_type=kind, nt_samples=samples, stdevs=deviation_for(sample.pixels, 20), target=3, abs=absolute
        )
    expected = theirs[0].abs().amax(0).numpy()
    assert expected.std() > 1e-4
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-5)  # captum adds in float32, and a variance is a small difference


def test_on_a_linear_model_the_mean_is_the_weights_their_squares_the_squares_and_nothing_varies():
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    model = wrap(network, key="linear", preprocessing=Preprocessing(3, (4, 4), (0.0,) * 3, (1.0,) * 3))
    weights = network[1].weight[2].view(3, 4, 4).abs().numpy()
    sample = sample_for(model)
    expectations = {"size of the mean": weights, "mean of the sizes": weights, "mean of the squares": weights**2, "variance": 0 * weights}
    for statistic, expected in expectations.items():
        found = techniques.run("smooth_grad", sample, model, target=2, statistic=statistic, channels="mean").values
        assert np.allclose(found, expected.mean(0), rtol=1e-6, atol=1e-9)


def test_it_shows_the_mean_of_the_copies_done_so_far(tiny_models, monkeypatch):
    monkeypatch.setitem(gradients.MEMORY, "cpu", 0)  # one copy in a batch
    model, shown = tiny_models["cnn"], []
    sample = sample_for(model)
    techniques.run("smooth_grad", sample, model, samples=9, run=Run(show=shown.append))
    assert [answer.caption.partition(" over ")[2].partition(" ")[0] for answer in shown] == ["1", "2", "4", "8"]
    early = techniques.run("smooth_grad", sample, model, samples=4)
    assert np.allclose(shown[2].values, early.values, atol=1e-6)


def test_the_numbers_do_not_depend_on_how_many_copies_fit_into_a_batch(tiny_models, monkeypatch):
    model = tiny_models["cnn"]
    expected = techniques.run("smooth_grad", sample_for(model), model, statistic="variance").values
    monkeypatch.setitem(gradients.MEMORY, "cpu", 0)
    found = techniques.run("smooth_grad", sample_for(model), model, statistic="variance").values
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-6)  # the same noise; batches round differently
