"""Excited by this: units, places and patches against outputs read with a hook of the test's own, patterns against the channel they are made for."""

from __future__ import annotations

import numpy as np
import torch

import techniques
from techniques.base import Run, Sample, execute
from techniques.base.activations import laid_out
from tests.test_contract import linear


def noise(model) -> Sample:
    preprocessing = model.preprocessing
    pixels = torch.rand(preprocessing.channels, *preprocessing.size, generator=torch.Generator().manual_seed(0))
    return Sample.from_pixels(pixels, "noise")


def outputs(model, layer: str, pixels: torch.Tensor) -> np.ndarray:
    """What the layer puts out for pixels `[1, C, H, W]`, as maps `[C, h, w]`."""
    found = []
    handle = model.module(layer).register_forward_hook(lambda _module, _inputs, output: found.append(model.layer(layer).maps(output)[0].clone()))
    try:
        with torch.no_grad():
            model.logits(pixels)
    finally:
        handle.remove()
    return found[-1].numpy()


def test_the_units_are_the_strongest_channels_of_each_layer_with_their_maps(tiny_models):
    for model in (tiny_models["cnn"], tiny_models["transformer"]):
        sample = noise(model)
        answer = techniques.run("excited_by_this", sample, model, layers=16, units=3, steps=0)
        for name in answer.places.positions():
            maps = outputs(model, name, sample.pixels)
            order = np.argsort(-maps.reshape(len(maps), -1).max(1), kind="stable")[:3]
            assert answer.places.positions(name) == tuple(f"channel {number}" for number in order)
            for number in order:
                shown = answer.places.cell(name, f"channel {number}").items[0].values
                np.testing.assert_array_equal(shown, laid_out(maps[number], sample.pixels.shape[2:]))


def test_layers_go_from_the_first_to_the_last_and_no_output_has_two_rows(tiny_models):
    model = tiny_models["cnn"]
    everything = techniques.run("excited_by_this", noise(model), model, layers=16, steps=0).places.positions()
    assert everything == ("0.2", "1.2", "2.2")  # the rectifiers, not the blocks that hand on what these put out
    assert techniques.run("excited_by_this", noise(model), model, layers=2, steps=0).places.positions() == ("0.2", "2.2")


def test_a_patch_is_cut_out_where_its_channel_is_strongest(tiny_models):
    model = tiny_models["one_channel"]  # no padding: place p of layer 4 has seen 8 x 8 pixels from 2 p on
    sample = noise(model)
    answer = techniques.run("excited_by_this", sample, model, layers=16, units=2, steps=0)
    row = answer.places.positions().index("4")
    maps = outputs(model, "4", sample.pixels)
    for column, channel in enumerate(np.argsort(-maps.reshape(8, -1).max(1))[:2]):
        top, left = np.unravel_index(maps[channel].argmax(), maps.shape[1:])
        expected = sample.pixels[0, :, 2 * top : 2 * top + 8, 2 * left : 2 * left + 8]
        np.testing.assert_array_equal(answer.units.items[2 * row + column].values, expected)
        assert answer.units.names[2 * row + column] == f"4, channel {channel}: {maps[channel].max():.3g}"


def test_beside_each_patch_is_a_pattern_that_excites_its_channel_more_with_each_step(tiny_models):
    model = tiny_models["cnn"]
    begun, done = (techniques.run("excited_by_this", noise(model), model, layers=16, units=2, steps=steps) for steps in (1, 24))
    assert done.units.columns == 4 and len(done.units.items) == 3 * 4
    for row, name in enumerate(done.places.positions()):
        for column, unit in enumerate(done.places.positions(name)):
            patterns = (torch.as_tensor(answer.units.items[4 * row + 2 * column + 1].values)[None] for answer in (begun, done))
            before, after = (outputs(model, name, pattern)[int(unit.split()[1])].mean() for pattern in patterns)
            assert after > 1.1 * before  # on average over all places; one step has hardly changed faint noise


def test_patches_are_shown_before_the_first_pattern_is_begun(tiny_models):
    model, shown = tiny_models["cnn"], []
    final = execute(techniques.find("excited_by_this"), noise(model), model, {"steps": 3}, Run(show=shown.append))
    patterns = [np.stack([item.values for item in answer.units.items[1::2]]) for answer in shown]
    assert np.ptp(patterns[0]) == 0 and len(shown) > 3 * 3
    np.testing.assert_array_equal(patterns[-1], np.stack([item.values for item in final.units.items[1::2]]))


def test_a_network_without_places_shows_units_and_the_whole_picture():
    model = linear()
    sample = noise(model)
    answer = techniques.run("excited_by_this", sample, model, steps=1)
    assert answer.units.names[0].split(":")[0].split(", ")[1].startswith("unit ")
    np.testing.assert_array_equal(answer.units.items[0].values, sample.pixels[0])
