"""RISE: the authors' masks and their sum, a linear network in closed form, no bias, an honest standard error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Run, Sample, batches
from techniques.rise import masks_from


def sample_for(model, seed: int = 0) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


def masks_of(seed: int, masks: int, grid: int, chance: float, size: tuple[int, int]) -> torch.Tensor:
    """The masks `[N, 1, H, W]` that a run with this seed takes."""
    generator = torch.Generator().manual_seed(seed)
    cells = (torch.rand(masks, grid, grid, generator=generator) < chance).float()
    return masks_from(cells, torch.rand(masks, 2, generator=generator), size)


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(0)
    return wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 14 * 14, 3)), key="linear", preprocessing=Preprocessing(3, (14, 14)))


def test_the_map_is_the_papers_sum_less_the_mean_answer(tiny_models):
    """Equation 6 picture by picture, with black for what is hidden; the paper's sum has the noise of a constant, taken out here."""
    model = tiny_models["cnn"]
    sample = sample_for(model)
    answer = techniques.run("rise", sample, model, target=1, masks=100, visible=40, fill="black", seed=3)
    veils = masks_of(3, 100, 7, 0.4, (32, 32))
    scores = [float(model.probabilities(sample.pixels * veil)[0, 1]) for veil in veils]
    mean = np.mean(scores)
    centred = sum((score - mean) * veil[0].double().numpy() for score, veil in zip(scores, veils)) / (99 * 0.4)
    assert np.allclose(answer.probability.values, centred, atol=1e-6)  # the answers are float32
    papers = sum(score * veil[0].double().numpy() for score, veil in zip(scores, veils)) / (100 * 0.4)
    constant = mean * (veils.double().mean(0)[0].numpy() / 0.4 - 1)
    assert np.allclose(papers - mean - constant, centred * 99 / 100, atol=1e-12)


def test_masks_are_those_of_the_authors_code():
    """Enlarged bilinearly with scikit-image as in their notebook, and cropped; at the very border it goes on in another way."""
    from skimage.transform import resize

    cells, shift = (torch.rand(1, 7, 7, generator=torch.Generator().manual_seed(0)) < 0.5).float(), torch.tensor([[0.4, 0.9]])
    found = masks_from(cells, shift, (30, 44))[0, 0].numpy()
    sides = (5, 7)  # the picture's size over 7, rounded up
    large = resize(cells[0].numpy(), (40, 56), order=1, mode="reflect", anti_aliasing=False)
    top, left = int(0.4 * sides[0]), int(0.9 * sides[1])
    expected = large[top : top + 30, left : left + 44]
    assert found.shape == (30, 44) and np.allclose(found[5:, 7:], expected[5:, 7:], atol=1e-6)


def test_every_pixel_shows_through_as_often_as_every_other():
    veils = masks_of(0, 20_000, 4, 0.3, (12, 12))
    assert np.abs(veils.mean(0).numpy() - 0.3).max() < 5 * np.sqrt(0.21 / 20_000)  # five standard deviations, the border too


def test_on_a_linear_network_the_mean_over_seeds_is_the_closed_form_and_the_error_is_honest(linear):
    """The logit is a sum over pixels of weight * (pixel - filling) * mask, so its covariance with the mask is known."""
    sample = sample_for(linear)
    runs = [techniques.run("rise", sample, linear, target=0, masks=100, grid=3, seed=seed) for seed in range(60)]
    std = torch.tensor(linear.preprocessing.std).view(3, 1, 1)
    pull = (linear.network[1].weight[0].detach().view(3, 14, 14) / std * (sample.pixels[0] - 0.5)).sum(0).flatten().double()
    veils = masks_of(10**6, 30_000, 3, 0.5, (14, 14)).flatten(1).double()
    expected = (veils.T.cov() @ pull / 0.5).view(14, 14).numpy()
    maps = np.stack([run.logit.values for run in runs])
    error = maps.std(0, ddof=1) / np.sqrt(len(maps))
    assert np.abs((maps.mean(0) - expected) / error).mean() < 1.3  # 0.8 for a normal error without bias; neighbours go together
    probability = np.stack([run.probability.values for run in runs])
    told = np.mean([run.standard_error.values for run in runs], 0)
    assert np.mean(probability.std(0, ddof=1) / told) == pytest.approx(1, abs=0.15)


def test_the_place_that_decides_stands_out():
    network = nn.Sequential(nn.Flatten(), nn.Linear(400, 2))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].weight[1].view(20, 20)[4:8, 12:16] = 0.25
    model = wrap(network, key="corner", preprocessing=Preprocessing(1, (20, 20), (0.0,), (1.0,)))
    pixels = torch.zeros(1, 20, 20)
    pixels[:, 4:8, 12:16] = 1
    answer = techniques.run("rise", Sample.from_pixels(pixels, "patch"), model, target=1, fill="black")
    row, column = np.unravel_index(answer.probability.values.argmax(), (20, 20))
    assert 4 <= row < 8 and 12 <= column < 16
    assert answer.probability.values.max() > 5 * answer.standard_error.values.max()
    assert "rank correlation" in answer.note.text


def test_the_map_is_refined_while_it_is_shown_and_the_size_of_a_batch_changes_nothing(tiny_models, monkeypatch):
    model, shown = tiny_models["cnn"], []
    whole = techniques.run("rise", sample_for(model), model, target=0, masks=200)
    monkeypatch.setitem(batches.MEMORY, "cpu", 1_000_000)  # seven pictures at a time: masks with even numbers change place in a batch
    final = techniques.run("rise", sample_for(model), model, target=0, masks=200, run=Run(show=shown.append))
    assert np.allclose(final.probability.values, whole.probability.values, atol=1e-6)
    assert np.allclose(final.standard_error.values, whole.standard_error.values, atol=1e-6)
    assert final.note.text == whole.note.text
    errors = [answer.standard_error.values.mean() for answer in (*shown, final)]
    assert len(shown) >= 3 and errors == sorted(errors, reverse=True)
