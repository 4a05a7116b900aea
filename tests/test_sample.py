"""Samples: pictures fitted to models, and exact pixels handed on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from model_zoo.errors import ParameterError
from techniques.base import Picture, Sample
from techniques.base.drawing import picture_image
from techniques.base.sample import to_image


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


# Fitted to the model's size


@pytest.fixture
def flag(tiny_models) -> Image.Image:
    """96 wide and 32 high, in three squares: black, grey, white."""
    columns = np.repeat([0, 128, 255], 32).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(columns, (32, 96)).copy()).convert("RGB")


def middle_row(flag, tiny_models, framing: str) -> np.ndarray:
    return 255 * Sample.from_image(flag, tiny_models["cnn"], framing=framing).pixels[0, 0, 16].numpy()


def test_cropping_keeps_the_largest_middle_square(flag, tiny_models):
    assert middle_row(flag, tiny_models, "crop") == pytest.approx(np.full(32, 128), abs=0.5)  # 8-bit levels, one pixel for one


def test_squashing_keeps_everything_and_its_order(flag, tiny_models):
    row = middle_row(flag, tiny_models, "squash")
    assert row[[3, 16, 28]] == pytest.approx([0, 128, 255], abs=2)  # interpolation rings a little


def test_padding_keeps_the_proportions_between_bars_of_the_mean_colour(flag, tiny_models):
    pixels = 255 * Sample.from_image(flag, tiny_models["cnn"], framing="pad").pixels[0].numpy()
    mean = np.array(tiny_models["cnn"].preprocessing.mean) * 255
    assert pixels[:, 2] == pytest.approx(np.broadcast_to(mean[:, None], (3, 32)), abs=1)  # rounded to 8-bit levels
    assert pixels[0, 16, [3, 16, 28]] == pytest.approx([0, 128, 255], abs=2)


def test_the_models_own_way_is_the_default(flag, tiny_models):
    default = Sample.from_image(flag, tiny_models["cnn"])
    assert default.framing == "model" and np.array_equal(255 * default.pixels[0, 0, 16].numpy(), middle_row(flag, tiny_models, "model"))


def test_a_sample_stays_fitted_its_way_for_another_model(flag, tiny_models):
    sample = Sample.from_image(flag, tiny_models["cnn"], framing="squash")
    assert torch.equal(sample.fit(tiny_models["transformer"]).pixels, Sample.from_image(flag, tiny_models["transformer"], framing="squash").pixels)


def test_an_unknown_way_is_told(flag, tiny_models):
    with pytest.raises(ParameterError, match=r"^Framing: received 'stretch', expected one of model, crop, squash, pad\.$"):
        Sample.from_image(flag, tiny_models["cnn"], framing="stretch")


def test_a_picture_is_rounded_to_the_very_file_that_is_downloaded():
    """Half-way between two levels float32 would make ties of many products: attacks that step by half a level are full of such values."""
    pixels = ((torch.arange(255.0) + 0.5) / 255).view(1, 15, 17).repeat(3, 1, 1)
    assert np.array_equal(np.asarray(to_image(pixels)), np.asarray(picture_image(Picture(pixels.numpy()))))
