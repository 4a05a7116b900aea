"""Samples: pictures fitted to models, and exact pixels handed on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from techniques.base import Sample


@pytest.mark.parametrize(("side", "noted"), [(2, True), (31, True), (32, False)])
def test_a_picture_that_must_be_enlarged_much_is_noted(tiny_models, side, noted):
    sample = Sample.from_image(Image.new("RGB", (40, side)), tiny_models["cnn"])
    assert any("very small picture" in note for note in sample.notes) is noted


def test_a_digit_that_fits_its_model_is_not_called_small(tiny_models):
    assert Sample.from_image(Image.new("L", (28, 28)), tiny_models["one_channel"]).notes == ()


def test_exact_pixels_reach_the_next_technique_bit_by_bit(tiny_models):
    model = tiny_models["cnn"]
    pixels = torch.rand(1, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(1))
    assert torch.equal(Sample.from_pixels(pixels, "PGD").fit(model).pixels, pixels)


def test_exact_pixels_are_resized_for_another_model_and_say_so(tiny_models):
    pixels = torch.full((1, 3, 64, 64), 0.25)
    fitted = Sample.from_pixels(pixels, "PGD").fit(tiny_models["one_channel"])
    height, width = tiny_models["one_channel"].preprocessing.size
    assert fitted.pixels.shape == (1, 1, height, width)
    # 0.25 becomes 64/255 in the 8-bit picture that is resized
    assert np.allclose(fitted.pixels.numpy(), 64 / 255, atol=1.01 / 255)
    assert "resized from 64" in fitted.notes[-1]


def test_the_hash_of_a_picture_depends_on_its_values_and_its_size():
    images = [Image.new("RGB", (4, 2), "red"), Image.new("RGB", (2, 4), "red"), Image.new("RGB", (4, 2), "blue")]
    hashes = {Sample(torch.zeros(1, 3, 2, 2), image).sha256 for image in images}
    assert len(hashes) == 3
