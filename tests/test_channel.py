"""The page of one channel: each part against the technique that shows it alone, the effect against a network changed by the test."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import techniques
from model_zoo.errors import ParameterError
from techniques.base import Heatmap, Picture, execute
from techniques.base.activations import laid_out
from techniques.base.bundled_pictures import bundled_pictures
from tests.test_excited_by_this import noise, outputs
from ui.samples import digits, photographs


def look(model, **settings):
    sample = noise(model)
    return sample, techniques.run("channel", sample, model, **({"steps": 0} | settings))


def test_its_map_is_what_the_channel_puts_out(tiny_models):
    for name, layer in (("cnn", "2.2"), ("transformer", "blocks.0")):
        sample, answer = look(tiny_models[name], layer=layer, channel=5)
        maps = outputs(tiny_models[name], layer, sample.pixels)
        np.testing.assert_array_equal(answer.where.values, laid_out(maps[5], (32, 32)))
        assert answer.where.signed == (maps.min() < 0)


def test_without_a_number_it_is_the_channel_that_the_picture_excites_most(tiny_model):
    layer = tiny_model.layer()
    sample, answer = look(tiny_model)
    strongest = outputs(tiny_model, layer.name, sample.pixels).reshape(layer.channels, -1).max(1).argmax()
    assert answer.note.text.startswith(f"{layer.name}, channel {strongest}: ") and f"number 1 of {layer.channels}" in answer.note.text


@pytest.mark.parametrize(("name", "layer"), [("cnn", "1.2"), ("cnn", "3"), ("transformer", "blocks.0"), ("one_channel", "2"), ("several_labels", "5")])
def test_the_effect_is_what_the_network_says_when_the_channel_is_zero(tiny_models, name, layer):
    model, channel = tiny_models[name], 3
    sample, answer = look(model, layer=layer, channel=channel)

    def remove(_module, _inputs, output):
        changed = output.clone()
        if name == "transformer":
            changed[:, 1:, channel] = 0  # the class token stays
        else:
            changed[:, channel] = 0
        return changed

    with torch.no_grad():
        before = model.logits(sample.pixels)
        handle = model.module(layer).register_forward_hook(remove)
        after = model.logits(sample.pixels)
        handle.remove()
    np.testing.assert_allclose(answer.effect.logits, torch.cat([before, after]), rtol=0, atol=1e-5)  # a batch of one either way
    assert answer.effect.names == ("as it is", "without " + ("unit 3" if model.layer(layer).kind == "vector" else "channel 3"))
    assert not torch.allclose(before, after)


def test_its_patches_are_those_that_top_patches_finds_in_the_bundled_pictures(tiny_models):
    model = tiny_models["cnn"]
    _, answer = look(model, layer="2.2", channel=7, patches=4)
    settings = {"layer": "2.2", "pick": "in order", "first": 7, "count": 1, "patches": 4}
    alone = execute(techniques.find("top_patches"), bundled_pictures(model), model, settings).channels.cell("channel 7")
    assert answer.top_patches.names == alone.names and answer.top_patches.caption == alone.caption
    for item, expected in zip(answer.top_patches.items, alone.items):
        np.testing.assert_array_equal(item.values, expected.values)


def test_its_pattern_is_that_of_feature_visualisation(tiny_models):
    model = tiny_models["cnn"]
    sample, answer = look(model, layer="1.2", channel=4, steps=5, seed=2)
    alone = techniques.run("feature_visualisation", sample, model, maximise="channels", layer="1.2", first=4, steps=5, seed=2)
    np.testing.assert_array_equal(answer.looks_for.items[1].values, alone.pictures.items[0].values)


def test_its_weights_are_in_colour_where_it_reads_the_picture_and_else_input_by_input(tiny_models):
    model = tiny_models["cnn"]
    _, first = look(model, layer="0.2", channel=6)
    assert isinstance(first.weights.items[0], Picture) and first.weights.caption == "Weights of 0.0, which 0.2 follows"
    np.testing.assert_array_equal(first.weights.items[0].values, model.module("0.0").weight[6])
    _, second = look(model, layer="1.0", channel=6)
    assert isinstance(second.weights.items[0], Heatmap) and second.weights.caption == "Weights of 1.0"
    np.testing.assert_array_equal(second.weights.items[0].values[:3, :3], model.module("1.0").weight[6, 0])
    _, vector = look(model, layer="5", channel=2)
    np.testing.assert_array_equal(vector.weights.items[0].values.ravel(), model.module("5").weight[2])
    _, flattened = look(tiny_models["one_channel"], layer="6", channel=2)
    assert flattened.weights is None  # 200 numbers, and no filter for each


def test_of_a_vector_all_units_are_one_rectangle_and_its_place_is_told(tiny_models):
    model = tiny_models["cnn"]
    sample, answer = look(model, layer="3", channel=6)
    np.testing.assert_array_equal(answer.where.values.ravel(), outputs(model, "3", sample.pixels).ravel())
    assert answer.where.values.shape == (4, 4) and "unit 6 is in row 2 of 4, column 3 of 4" in answer.where.caption


def test_a_channel_that_the_layer_does_not_have_is_refused(tiny_models):
    with pytest.raises(ParameterError, match="Channel: received 16, but the channels of 2.2 are numbered from 0 to 15"):
        look(tiny_models["cnn"], layer="2.2", channel=16)


def test_the_bundled_pictures_are_photographs_or_digits_as_the_model_wants(tiny_models):
    own = {picture.path.stem.replace("_", " ") for picture in photographs() if picture.path.parent.name == "samples"}
    assert set(bundled_pictures(tiny_models["cnn"]).origins) == own
    assert len(bundled_pictures(tiny_models["one_channel"])) == len(digits())
