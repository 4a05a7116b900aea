"""Random transformations: closed forms of turning, moving and scaling, and a gradient through all of them."""

from __future__ import annotations

import pytest
import torch

from techniques.base.covering import blurred
from techniques.base.transformations import Reach, transformed, warped

ROUNDING = 1e-6  # coordinates are float32, and a pixel is mixed from its neighbours by what is missing to a whole step


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))


def test_a_quarter_turn_is_exact_and_counterclockwise(pixels):
    square = pixels[..., :8]
    assert torch.allclose(warped(square, rotation=90), torch.rot90(square, 1, (2, 3)), rtol=0, atol=ROUNDING)


def test_a_turn_keeps_lengths_also_where_the_picture_is_no_square():
    point = torch.zeros(1, 1, 9, 15)
    point[..., 4, 10] = 1  # three to the right of the middle
    turned = warped(point, rotation=90)
    assert turned.argmax() == 1 * 15 + 7 and turned.max() == pytest.approx(1, abs=1e-5)  # three above it


def test_a_move_by_whole_pixels_shifts_them_and_repeats_the_border(pixels):
    moved = warped(pixels, across=2 / 12, down=-1 / 8)
    assert torch.allclose(moved[..., :-1, 2:], pixels[..., 1:, :-2], rtol=0, atol=ROUNDING)
    assert torch.allclose(moved[..., :-1, 0], pixels[..., 1:, 0], rtol=0, atol=ROUNDING)


def test_twice_as_large_is_the_middle_and_half_as_large_brings_it_back_where_pixels_are_even():
    steps = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16)  # bilinear interpolation keeps a slope
    larger = warped(steps, scale=2.0)
    assert torch.allclose(larger[0, 0, 0], torch.linspace(3.75, 11.25, 16), rtol=0, atol=1e-5)
    assert torch.allclose(warped(larger, scale=0.5)[..., 4:12], steps[..., 4:12], rtol=0, atol=1e-5)


def test_without_reach_nothing_happens_and_values_stay_between_black_and_white(pixels):
    generator = torch.Generator().manual_seed(1)
    assert torch.allclose(transformed(pixels, Reach(), generator), pixels, rtol=0, atol=ROUNDING)
    wild = torch.cat([transformed(pixels, Reach(0.2, 0.2, 90, 0.5, 0.5, 2), generator) for _ in range(8)])
    assert wild.min() == 0 and wild.max() == 1


def test_every_kind_of_transformation_changes_the_picture_and_lets_a_gradient_through(pixels):
    for kind, amount in {"shift": 0.2, "scale": 0.3, "rotation": 20, "brightness": 0.2, "noise": 0.1, "blur": 2}.items():
        leaf = pixels.clone().requires_grad_(True)
        changed = transformed(leaf, Reach(**{kind: amount}), torch.Generator().manual_seed(3))
        changed.sum().backward()
        assert (changed - pixels).abs().max() > 0.01 and leaf.grad.count_nonzero() > leaf.numel() / 2, kind


def test_pictures_of_a_batch_are_blurred_each_for_itself(pixels):
    together = blurred(pixels, 1.5)
    alone = torch.cat([blurred(picture[None], 1.5) for picture in pixels])
    assert torch.allclose(together, alone, rtol=0, atol=ROUNDING)
