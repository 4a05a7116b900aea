"""Cover by hand: what is covered and with what, and the sentence that tells what came of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import techniques
from techniques.base import ParameterError, Sample
from techniques.base.covering import fill_pixels, what_changed


def sample_for(model, seed: int = 0) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


@pytest.mark.parametrize("fill", techniques.find("cover").param("fill").choices)
def test_only_the_painted_area_changes_and_it_becomes_the_fill(tiny_model, fill):
    sample = sample_for(tiny_model)
    mask = np.zeros(tiny_model.preprocessing.size, bool)
    mask[5:11, 3:20] = True
    covered = techniques.run("cover", sample, tiny_model, mask=mask, fill=fill, seed=3).covered.values
    original, filling = sample.pixels[0].numpy(), fill_pixels(fill, sample.pixels, 3)[0].numpy()
    assert np.array_equal(covered[:, ~mask], original[:, ~mask])
    assert np.array_equal(covered[:, mask], filling[:, mask])
    assert not np.allclose(covered[:, mask], original[:, mask])


def test_the_predictions_are_those_of_the_picture_and_of_the_covered_picture(tiny_model):
    sample = sample_for(tiny_model)
    answer = techniques.run("cover", sample, tiny_model)
    again = tiny_model.logits(torch.cat([sample.pixels, torch.from_numpy(answer.covered.values)[None]]))
    assert answer.predictions.names == ("before", "after")
    assert np.allclose(answer.predictions.logits, again.numpy(), atol=1e-6)  # the same batch


def test_a_mask_of_another_size_covers_the_same_part_of_the_picture(tiny_models):
    model = tiny_models["cnn"]
    mask = np.zeros((100, 50))
    mask[:, :25] = 255
    covered = techniques.run("cover", sample_for(model), model, mask=mask).covered.values
    assert np.array_equal((covered == 0.5).all((0, 1)), np.arange(32) < 16)


def test_without_a_mask_the_middle_quarter_is_covered(tiny_models):
    answer = techniques.run("cover", sample_for(tiny_models["cnn"]), tiny_models["cnn"], fill="white")
    assert np.array_equal(np.argwhere((answer.covered.values == 1).all(0)), [[r, c] for r in range(8, 24) for c in range(8, 24)])
    assert answer.note.text.startswith("With 25 % of the picture covered, ")


def test_an_empty_mask_changes_nothing(tiny_models):
    model = tiny_models["cnn"]
    answer = techniques.run("cover", sample_for(model), model, mask=np.zeros((32, 32), bool))
    assert np.allclose(*answer.predictions.logits, atol=1e-6)
    assert "With 0 % of the picture covered" in answer.note.text and "stays at" in answer.note.text


def test_a_mask_that_is_no_plane_is_refused(tiny_models):
    with pytest.raises(ParameterError, match="two-dimensional mask"):
        techniques.run("cover", sample_for(tiny_models["cnn"]), tiny_models["cnn"], mask=np.zeros((4, 32, 32)))


def test_noise_depends_on_the_seed_alone():
    pixels = torch.rand(1, 3, 9, 9)
    assert torch.equal(fill_pixels("noise", pixels, 1), fill_pixels("noise", 1 - pixels, 1))
    assert not torch.equal(fill_pixels("noise", pixels, 1), fill_pixels("noise", pixels, 2))


def test_the_mean_fill_is_the_mean_colour():
    pixels = torch.rand(1, 3, 9, 7)
    assert torch.allclose(fill_pixels("mean", pixels)[0, :, 4, 2], pixels[0].flatten(1).mean(1))


def test_blur_agrees_with_torchvision_away_from_the_border():
    from torchvision.transforms.functional import gaussian_blur

    pixels = torch.rand(1, 3, 60, 80, generator=torch.Generator().manual_seed(0))
    expected = gaussian_blur(pixels, [37, 37], [6.0, 6.0])  # a tenth of 60 px, cut off at three standard deviations
    assert torch.allclose(fill_pixels("blur", pixels)[..., 18:-18, 18:-18], expected[..., 18:-18, 18:-18], atol=1e-6)


def test_blur_leaves_an_even_picture_as_it_is():
    assert torch.allclose(fill_pixels("blur", torch.full((1, 3, 5, 28), 0.3)), torch.tensor(0.3), atol=1e-6)


@pytest.mark.parametrize(
    ("target", "before", "after", "sentence"),
    [
        (0, (2.0, 1.0), (1.0, 2.0), "“tench” falls from 73.1 % to 26.9 %; the network now says “church” (73.1 %)"),
        (0, (1.0, 2.0), (2.0, 1.0), "“tench” rises from 26.9 % to 73.1 %; the network now says “tench”"),
        (1, (1.0, 2.0), (1.0, 2.0), "“church” stays at 73.1 %; the network still says “church”"),
    ],
)
def test_what_happened_is_told_in_one_sentence(tiny_models, target, before, after, sentence):
    never = (-100.0,) * 3  # the other classes
    assert what_changed(tiny_models["cnn"], target, torch.tensor(before + never), torch.tensor(after + never)) == sentence
