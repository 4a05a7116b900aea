"""A patch laid on by hand: by sliders and by what is painted, on which pictures, and what the map says of each place."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

import techniques
from model_zoo.errors import ParameterError
from techniques.base import Run, Sample
from techniques.base.placing import Placement, placed, side_of
from tests.attack_cases import random_sample


@pytest.fixture
def model(tiny_models):
    return tiny_models["cnn"]


@pytest.fixture
def pictures(model) -> list[Sample]:
    """Four pictures, the third of them a patch of stripes."""
    stripes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]).repeat_interleave(4, 1).repeat(1, 4)[:, None].expand(3, 32, 32)
    return [*(random_sample(model, seed) for seed in (1, 2)), Sample.from_pixels(stripes, "Patch for “church”, round"), random_sample(model, 3)]


def lay(pictures, model, run=None, **settings):
    return techniques.run("place_patch", pictures, model, run=run, **settings)


def test_it_lies_where_the_sliders_say_on_every_other_picture(model, pictures):
    answer = lay(pictures, model, across=40, down=60, size=20, rotation=30)
    place = Placement(0.6, 0.4, side_of(0.2, "round"), 30)
    for row, number in enumerate((0, 1, 3)):
        expected = placed(pictures[number].pixels, pictures[2].pixels, [place], "round")[0]
        assert np.array_equal(answer.pictures.items[3 * row].values, pictures[number].pixels[0])
        np.testing.assert_allclose(answer.pictures.items[3 * row + 1].values, expected, rtol=0, atol=1e-6)  # clipped to [0, 1]
    assert answer.pictures.items[1].label == "With patch for “church”, round, on noise"
    assert "On 20 % of the picture it changes the answer to" in answer.note.text


def test_what_is_painted_says_where_and_how_large(model, pictures):
    painted = np.zeros((64, 64))
    painted[16:48, 8:30] = 1  # rows 8 to 23 and columns 4 to 14 of the picture: 11 pixels fit
    found = lay(pictures, model, mask=painted, shape="square").pictures.items[1].values
    expected = placed(pictures[0].pixels, pictures[2].pixels, [Placement(0.5, 19 / 64, 22 / 64)], "square")[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    rows, columns = np.flatnonzero((found != pictures[0].pixels[0].numpy()).any((0, 2))), np.flatnonzero((found != pictures[0].pixels[0].numpy()).any((0, 1)))
    assert (rows[0], rows[-1]) == (10, 21) and (columns[0], columns[-1]) == (4, 14)  # half a row above and below is covered half


def test_two_painted_areas_are_two_patches_and_an_empty_one_is_none(model, pictures):
    planes = np.zeros((3, 32, 32))
    planes[0, :8, :8] = planes[1, 16:32, 16:32] = 1
    found = lay(pictures, model, mask=planes, shape="square").pictures.items[1].values
    changed = (found != pictures[0].pixels[0].numpy()).any(0)
    assert changed[:8, :8].all() and changed[16:, 16:].all() and changed.sum() == 8 * 8 + 16 * 16
    untouched, sliders = (lay(pictures, model, **settings).pictures.items[1].values for settings in ({"mask": np.zeros((32, 32))}, {}))
    assert np.array_equal(untouched, sliders)


def test_the_patch_is_known_by_its_name_or_else_it_is_the_last(model, pictures):
    def others(order, **settings):
        return [row[0] for row in lay(order, model, **settings).table.rows]

    named = [Sample.from_pixels(sample.pixels, name) for sample, name in zip(pictures, ("a", "PATCH.png", "patch 2", "d"))]
    assert others(named) == ["a", "PATCH.png", "d"]  # the last of two
    assert others(named, patch="first") == ["PATCH.png", "patch 2", "d"] and others(named, patch="last") == ["a", "PATCH.png", "patch 2"]
    assert others([named[0], named[3]]) == ["a"]


def test_a_patch_alone_is_told_what_is_missing(model, pictures):
    with pytest.raises(ParameterError, match="^There is one picture in the set; a patch and at least one other picture are needed."):
        lay(pictures[2:3], model)


def test_the_table_says_what_the_model_says_before_and_after_and_under_noise(model, pictures):
    answer = lay(pictures, model, size=40, seed=3)
    place = [Placement(0.7, 0.7, side_of(0.4, "round"))]
    noise = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    after = []
    for row, number in zip(answer.table.rows, (0, 1, 3)):
        pixels = pictures[number].pixels
        versions = (pixels, placed(pixels, pictures[2].pixels, place, "round"), placed(pixels, noise, place, "round"))
        before, patched, noisy = (model.probabilities(version)[0] for version in versions)
        labels = [model.label(int(shares.argmax())) for shares in (before, patched, noisy)]
        assert (row[1], row[3], row[6]) == tuple(labels) and (row[5], row[7]) == (int(labels[1] != labels[0]), int(labels[2] != labels[0]))
        assert (row[2], row[4]) == pytest.approx((float(before.max()), float(patched.max())), abs=1e-5)  # alone and in a batch
        after.append(labels[1])
    most, count = Counter(after).most_common(1)[0]
    assert f"With it {count} are answered as “{most}”" in answer.note.text
    assert answer.predictions.names == ("as it is", "with the patch", "with noise")


def test_the_map_holds_the_probability_with_the_patch_at_each_place(model, pictures):
    answer = lay(pictures, model, target=1, size=25, shape="square", grid=3)
    values = answer.everywhere.values
    for down, row in ((0.25, 7.5), (0.5, 15.5), (0.75, 23.5)):  # half of the side is 0.25; pixel 7 ends where the middle may be first
        place = Placement(down, 0.25, 0.5)
        expected = float(model.probabilities(placed(pictures[0].pixels, pictures[2].pixels, [place], "square"))[0, 1])
        assert np.mean([values[int(row), 7], values[int(row) + 1, 7]]) == pytest.approx(expected, abs=0.01)  # pixels lie half a pixel beside it
    assert np.array_equal(values[:, 0], values[:, 7]) and values.shape == (32, 32)  # towards the border the nearest place counts
    assert np.ptp(lay(pictures, model, size=60, shape="square", mask=np.ones((2, 2))).everywhere.values) == 0  # it fits in one place only


def test_pictures_come_first_then_the_table_then_the_map(model, pictures):
    shown = []
    lay(pictures, model, run=Run(show=shown.append))
    assert [(answer.table is None, answer.everywhere is None) for answer in shown] == [(True, True), (False, True)]


def test_of_a_large_set_a_few_pictures_are_shown_and_all_are_counted(model, pictures):
    answer = lay([*pictures, *(random_sample(model, seed) for seed in range(40))], model)
    assert len(answer.table.rows) == 43 and len(answer.pictures.items) == 3 * 6
