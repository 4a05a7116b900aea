"""Occlusion: agreement with captum, completeness on a linear network, coarse maps first, Stop."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from torch import nn

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Cancelled, Run, Sample, batches
from techniques.base.covering import Windows


def sample_for(model, seed: int = 0) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


def captums_map(forward, sample: Sample, target: int, side: int, step: int, baseline: float) -> np.ndarray:
    channels = sample.pixels.shape[1]
    peer = Occlusion(forward).attribute(sample.pixels, (channels, side, side), (channels, step, step), baseline, target)
    return peer[0, 0].detach().numpy()


@pytest.mark.parametrize(
    ("window", "stride", "side", "step"),
    [(25, 50, 8, 4), (30, 40, 10, 4), (20, 100, 6, 6)],
    ids=["windows that fit", "windows that reach over the border", "windows side by side"],
)
def test_both_maps_agree_with_captum(tiny_models, window, stride, side, step):
    model = tiny_models["cnn"]
    sample = sample_for(model)
    answer = techniques.run("occlusion", sample, model, target=2, window=window, stride=stride, fill="grey")
    logits = captums_map(model.logits, sample, 2, side, step, 0.5)
    probabilities = captums_map(model.probabilities, sample, 2, side, step, 0.5)
    assert np.abs(answer.logit_drop.values - logits).max() <= 1e-4 * np.abs(logits).max()  # batches round differently
    assert np.abs(answer.probability_drop.values - probabilities).max() <= 1e-4 * np.abs(probabilities).max()


@pytest.mark.parametrize(("fill", "baseline"), [("black", 0.0), ("white", 1.0)])
def test_fills_agree_with_captums_baseline_on_one_channel(tiny_models, fill, baseline):
    model = tiny_models["one_channel"]
    sample = sample_for(model)
    answer = techniques.run("occlusion", sample, model, target=7, window=20, stride=50, fill=fill)
    expected = captums_map(model.logits, sample, 7, 6, 3, baseline)
    assert np.abs(answer.logit_drop.values - expected).max() <= 1e-4 * np.abs(expected).max()


def test_on_a_linear_network_squares_side_by_side_add_up_to_covering_everything():
    torch.manual_seed(0)
    model = wrap(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), key="linear", preprocessing=Preprocessing(3, (8, 8)))
    sample = sample_for(model)
    answer = techniques.run("occlusion", sample, model, target=1, window=25, stride=100)
    difference = model.logits(sample.pixels)[0, 1] - model.logits(torch.full_like(sample.pixels, 0.5))[0, 1]
    assert answer.logit_drop.values.sum() / 4 == pytest.approx(float(difference), abs=1e-5)  # 2 x 2 px share one drop


def test_the_decisive_square_is_the_one_that_lowers_the_probability_most(tiny_model):
    sample = sample_for(tiny_model)
    answer = techniques.run("occlusion", sample, tiny_model, target=0, stride=100)
    drops = answer.predictions.probabilities[0, 0] - answer.predictions.probabilities[1, 0]
    assert drops == pytest.approx(answer.probability_drop.values.max(), abs=1e-6)  # side by side, a mean is of one square
    again = tiny_model.logits(torch.from_numpy(answer.decisive.values)[None])[0]
    assert np.allclose(again.numpy(), answer.predictions.logits[1], atol=1e-5)


def test_a_bright_patch_that_alone_decides_is_found():
    network = nn.Sequential(nn.Flatten(), nn.Linear(400, 2))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].weight[1].view(20, 20)[4:8, 12:16] = 1
    model = wrap(network, key="corner", preprocessing=Preprocessing(1, (20, 20), (0.0,), (1.0,)))
    pixels = torch.zeros(1, 20, 20)
    pixels[:, 4:8, 12:16] = 1
    answer = techniques.run("occlusion", Sample.from_pixels(pixels, "patch"), model, target=1, window=20, stride=100, fill="black")
    assert answer.note.text.startswith("Of 25 squares the most decisive is 4 × 4 px from row 4, column 12")
    assert np.count_nonzero(answer.logit_drop.values) == 16 and answer.logit_drop.values.max() == pytest.approx(16)


def test_two_coarser_maps_are_shown_before_the_answer(tiny_models):
    model, shown = tiny_models["cnn"], []
    final = techniques.run("occlusion", sample_for(model), model, window=10, stride=100, run=Run(show=shown.append))
    assert len(shown) == 2
    for partial, coarseness in zip(shown, (4, 2)):
        corner = slice(0, 32, 3 * coarseness)  # the first pixel of every square that was covered by then
        assert np.allclose(partial.logit_drop.values[corner, corner], final.logit_drop.values[corner, corner], atol=1e-6)
    assert len(np.unique(shown[0].logit_drop.values)) < len(np.unique(final.logit_drop.values))


def test_stop_is_heard_between_batches(tiny_models, monkeypatch):
    monkeypatch.setitem(batches.MEMORY, "cpu", 1)  # one picture at a time
    stop, told = threading.Event(), []

    def report(fraction: float, text: str) -> None:
        told.append(text)
        if len(told) == 3:
            stop.set()

    model = tiny_models["cnn"]
    with pytest.raises(Cancelled):
        techniques.run("occlusion", sample_for(model), model, run=Run(report=report, stop=stop))
    assert len(told) == 3


def test_the_size_of_a_batch_does_not_change_the_maps(tiny_model, monkeypatch):
    whole = techniques.run("occlusion", sample_for(tiny_model), tiny_model, target=0)
    monkeypatch.setitem(batches.MEMORY, "cpu", 1)
    single = techniques.run("occlusion", sample_for(tiny_model), tiny_model, target=0)
    assert np.allclose(whole.logit_drop.values, single.logit_drop.values, atol=1e-5)  # batches round differently


def test_a_larger_layer_means_a_smaller_batch(tiny_models):
    cnn, small = tiny_models["cnn"], tiny_models["one_channel"]
    assert batches.batch_size(cnn) == 64 * 2**20 // (4 * (3 * 32 * 32 + 3 * 8 * 32 * 32))
    assert batches.batch_size(small) > batches.batch_size(cnn)


@pytest.mark.parametrize("size", [(28, 28), (32, 48), (160, 160), (7, 5)])
@pytest.mark.parametrize(("window", "stride"), [(5, 25), (20, 50), (33, 70), (60, 100)])
def test_squares_leave_no_pixel_uncovered(size, window, stride):
    windows = Windows.over(size, window, stride)
    covered = np.zeros(size, int)
    for row in range(windows.counts[0]):
        for column in range(windows.counts[1]):
            covered[windows.place(row, column)] += 1
    assert covered.min() >= 1
    assert np.allclose(windows.mean_map(torch.ones(windows.counts)), 1)
