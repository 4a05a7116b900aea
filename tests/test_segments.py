"""Segments: every pixel has one, about as many as asked for, grey pictures too; hiding them; the picture that shows them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from techniques.base import ParameterError
from techniques.base.segments import SPEAKS_AGAINST, SPEAKS_FOR, Segments
from techniques.base.agreement import spearman
from techniques.base.spread import agreement, in_every, told


def patches(channels: int = 3, side: int = 64) -> torch.Tensor:
    """A picture of 4 x 4 patches, no two neighbours alike, with a little noise."""
    random = torch.Generator().manual_seed(0)
    cells = torch.rand(1, channels, 4, 4, generator=random)
    even = cells.repeat_interleave(side // 4, 2).repeat_interleave(side // 4, 3)
    return (even + 0.02 * torch.rand(even.shape, generator=random)).clamp(0, 1)


@pytest.mark.parametrize("cut", ["slic", "quickshift", "felzenszwalb"])
@pytest.mark.parametrize(("channels", "side"), [(3, 64), (1, 28), (4, 32)], ids=["colour", "grey", "four channels"])
def test_every_pixel_has_a_segment_and_every_segment_a_pixel(cut, channels, side):
    segments = Segments.of(patches(channels, side), cut, 20)
    assert segments.labels.shape == (side, side)
    assert segments.labels.unique().tolist() == list(range(segments.count))
    assert 10 <= segments.count <= 40  # about 20, said by all three methods


@pytest.mark.parametrize("cut", ["slic", "quickshift", "felzenszwalb"])
def test_sixteen_even_patches_are_found(cut):
    segments = Segments.of(patches(), cut, 16)
    true = torch.arange(16).view(4, 4).repeat_interleave(16, 0).repeat_interleave(16, 1)
    purest = [torch.bincount(true[segments.labels == one]).max() for one in range(segments.count)]
    assert int(sum(purest)) >= 0.93 * 64 * 64  # pixels along a border may be drawn to the other side


def test_a_picture_of_one_colour_is_refused_where_it_does_not_fall_apart():
    flat = torch.full((1, 3, 32, 32), 0.5)
    assert Segments.of(flat, "slic", 16).count > 4
    with pytest.raises(ParameterError, match="felzenszwalb finds only one segment in this picture. Expected at least two"):
        Segments.of(flat, "felzenszwalb", 16)


def test_a_hidden_segment_shows_the_filling_and_nothing_else_does():
    pixels, filling = patches(), torch.zeros(1, 3, 64, 64)
    segments = Segments.of(pixels, "slic", 16)
    kept = ~torch.eye(segments.count, dtype=torch.bool)
    for number, picture in enumerate(segments.hidden(pixels, filling, kept)):
        inside = segments.labels == number
        assert not picture[:, inside].any() and torch.equal(picture[:, ~inside], pixels[0][:, ~inside])


def test_a_segment_is_numbered_inside_itself_even_where_its_middle_is_not():
    ring = torch.zeros(9, 9, dtype=torch.int64)
    ring[3:6, 3:6] = 1
    row, column = Segments(ring, 2).place(0)
    assert ring[row, column] == 0 and Segments(ring, 2).place(1) == (4, 4)


def test_the_picture_of_the_segments_frames_what_speaks_for_in_red_and_against_in_blue():
    labels = torch.arange(4).view(2, 2).repeat_interleave(14, 0).repeat_interleave(14, 1)
    picture = Segments(labels, 4).drawn(torch.full((1, 1, 28, 28), 0.5), np.array([1.0, 0, -2, 0]), [2, 0], "").values.numpy()
    assert picture.shape == (3, 336, 336)  # 28 px are enlarged 12 times
    assert np.allclose(picture[:, 0, 100], SPEAKS_FOR, atol=1 / 255) and np.allclose(picture[:, 335, 100], SPEAKS_AGAINST, atol=1 / 255)
    assert np.allclose(picture[:, 20, 20], 0.5, atol=1 / 255) and np.allclose(picture[:, 20, 300], 0.5 * 0.45, atol=1 / 255)


def test_the_strongest_are_those_of_the_largest_size_without_those_of_none():
    assert Segments(torch.zeros(1, 1), 4).strongest(np.array([0.1, -3.0, 0, 2.0]), 4) == [1, 3, 0]


def test_rank_correlation_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    for _ in range(5):
        first, second = random.integers(0, 6, (2, 30)).astype(float)  # many ties
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)


def test_what_agrees_is_called_stable_and_what_does_not_is_not():
    values = np.arange(10.0)
    assert agreement(np.stack([values, values * 2, values + 1])) == pytest.approx(1)
    assert in_every(np.stack([values, -values]), 3) == 3
    assert "not stable" not in told(np.stack([values, values * 2]), 3, "take more")
    words = told(np.stack([values, values[::-1]]), 3, "take more")
    assert "mean rank correlation of -1.00, and 0 of the 3" in words and words.endswith("The order of the segments is not stable: take more.")
