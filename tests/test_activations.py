"""Activations: every number against outputs read with hooks of the test's own; order, scale, layers, memory, the grid on the page."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import techniques
import techniques.activations as activations_module
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Browser, Sample, Stack
from techniques.base.activations import laid_out, shrunk
from techniques.base.drawing import gallery_scales, tiles
from techniques.base.pairs import execute_pair
from techniques.base.results import all_arrays
from ui.browsing import top_html


def noise(model) -> Sample:
    preprocessing = model.preprocessing
    pixels = torch.rand(preprocessing.channels, *preprocessing.size, generator=torch.Generator().manual_seed(0))
    return Sample.from_pixels(pixels, "noise")


def outputs(model, sample) -> dict[str, np.ndarray]:
    """Each layer's maps `[C, h, w]` at its last use."""
    found, handles = {}, []
    for layer in model.layers:
        def keep(_module, _inputs, output, layer=layer):
            found[layer.name] = layer.maps(output)[0].clone().numpy()

        handles.append(model.module(layer.name).register_forward_hook(keep))
    with torch.no_grad():
        model.logits(sample.pixels)
    for handle in handles:
        handle.remove()
    return found


def look(model, **settings):
    sample = noise(model)
    return techniques.run("activations", sample, model, **settings), outputs(model, sample)


def test_every_channel_of_a_chosen_layer_is_what_the_layer_puts_out_laid_over_the_picture(tiny_model):
    for layer in [tiny_model.layer(), *(layer for layer in tiny_model.layers if layer.weighted)]:
        answer, expected = look(tiny_model, layer=layer.name, sort="index")
        maps = expected[layer.name]
        if layer.kind == "vector":
            (cell,) = (cell for _, cell in answer.channels.leaves())
            np.testing.assert_array_equal(cell.items[0].values.ravel(), maps.ravel())
            continue
        assert answer.channels.positions() == tuple(f"channel {number}" for number in range(len(maps)))
        height, width = tiny_model.preprocessing.size
        rows, columns = (np.arange(side) * count // side for side, count in zip((height, width), maps.shape[1:]))
        for number in (0, len(maps) - 1):
            heat = answer.channels.cell(f"channel {number}").items[0]
            np.testing.assert_array_equal(heat.values, maps[number][rows][:, columns])
            assert heat.values.shape == (height, width) and heat.signed == (maps.min() < 0)


@pytest.mark.parametrize(("sort", "strength"), [("mean", np.mean), ("maximum", np.max)])
def test_channels_come_by_the_size_of_their_output_and_between_layers_in_root_mean_squares(tiny_models, sort, strength):
    model = tiny_models["cnn"]
    answer, expected = look(model, layer="1.1", sort=sort, layers="all")  # a batch norm: both signs
    sizes = strength(np.abs(expected["1.1"]), axis=(1, 2))
    assert answer.channels.positions() == tuple(f"channel {number}" for number in np.argsort(-sizes))
    ranked = []
    for name in answer.sparsity.ticks:
        if model.layer(name).kind != "vector":
            mean_square = np.mean(expected[name].astype(np.float64) ** 2)
            for number, size in enumerate(strength(np.abs(expected[name]), axis=(1, 2)) / np.sqrt(mean_square)):
                ranked.append((size, f"{name}, channel {number}"))
    ranked.sort(reverse=True)
    first = answer.strongest.cells["all layers"]
    np.testing.assert_allclose(first.stacked["strength"], [size for size, _ in ranked[: len(first)]], rtol=1e-5)  # float32
    assert set(first.names[:5]) == {name for _, name in ranked[:5]} and ranked[0][1] in answer.note.text


def test_the_shares_at_rest_are_those_of_the_output_and_no_output_is_counted_under_two_names(tiny_models):
    answer, expected = look(tiny_models["cnn"])
    ticks = answer.sparsity.ticks
    assert ticks[:3] == ("0.2", "1.2", "2.2")  # the rectifiers, not the blocks "0", "1" and "2" that hand on what these put out
    for place, name in enumerate(ticks):
        maps = expected[name]
        shares = [np.mean(maps <= 0), np.mean(maps == 0), np.mean((maps <= 0).reshape(len(maps), -1).all(1))]
        np.testing.assert_allclose([line[place] for line in answer.sparsity.lines.values()], shares, atol=1e-6)  # means in float32
    assert answer.strongest.positions()[1:] == ticks  # a click in the chart finds its layer


def test_of_a_layer_that_is_used_twice_the_last_use_is_read():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.relu, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Linear(4, 3)

        def forward(self, pixels):
            return self.head(self.relu(self.second(self.relu(self.first(pixels)))).mean((2, 3)))

    torch.manual_seed(0)
    model = wrap(Twice(), key="twice", preprocessing=Preprocessing(3, (8, 8), crop_fraction=1.0))
    answer, expected = look(model, layer="relu", sort="index", layers="all")
    np.testing.assert_array_equal(answer.channels.cells.stacked["activation"], expected["relu"])
    assert answer.sparsity.ticks == ("first", "second", "relu", "head")


def test_prefix_tokens_are_left_out_and_said_to_be(tiny_models):
    answer, expected = look(tiny_models["transformer"], layer="blocks.1", sort="index")
    assert answer.channels.cells.stacked["activation"].shape == (24, 4, 4) and "1 prefix tokens have no place" in answer.note.text


def test_a_common_scale_goes_up_to_the_largest_output_of_the_layer_and_one_per_channel_to_its_own(tiny_models):
    for scale in ("common", "per channel"):
        answer, expected = look(tiny_models["cnn"], layer="2.2", scale=scale)
        largest = float(expected["2.2"].max())
        highs = [high for _, high in gallery_scales(tiles(answer.channels, ()))]
        cells = [gallery_scales(cell)[0][1] for _, cell in answer.channels.leaves()]
        if scale == "common":
            assert highs == pytest.approx([largest] * 16, rel=1e-6) and cells == pytest.approx(highs, rel=1e-6)
        else:
            assert len({round(high, 4) for high in highs}) > 8 and max(highs) <= largest * (1 + 1e-6)


def test_maps_too_many_for_the_memory_become_means_over_neighbouring_places():
    maps = torch.rand(4, 8, 8)
    assert shrunk(maps, 256) is maps
    fewer = shrunk(maps, 4 * 16)
    torch.testing.assert_close(fewer, maps.unflatten(2, (4, 2)).unflatten(1, (4, 2)).mean((2, 4)))
    assert shrunk(torch.rand(100, 30, 20), 5000).numel() <= 5000
    assert laid_out(np.array([[1, 2]]), (2, 4)).tolist() == [[1, 1, 2, 2]] * 2


def test_a_network_of_many_layers_keeps_no_more_than_its_budget(tiny_models, monkeypatch):
    monkeypatch.setattr(activations_module, "MOST", 2000)
    answer, _ = look(tiny_models["cnn"], layers="all")
    kept = sum(array.size for name, array in all_arrays(answer).items() if name.startswith("strongest.") and "all layers" not in name)
    assert kept <= 2000 and len(answer.strongest.positions()) > 8


def test_the_page_shows_all_channels_at_once_and_each_opens_its_cell(tiny_models):
    answer, _ = look(tiny_models["cnn"], layer="2.2")
    html = top_html(answer.channels, None)
    assert html.count("<button") == 16 and "All 16. Click to open." in html
    assert f"data-place='16' title='Open {answer.channels.positions()[15]}'" in html
    assert top_html(answer.strongest, "0.2").count("<img") == 8  # a layer of 8 channels
    assert top_html(Browser(("channel",), dict(answer.channels.cells)), None) == ""  # the same cells, but not held as a stack with tiles


def test_of_two_pictures_the_channels_stay_a_few_arrays_and_the_differences_are_shown_small(tiny_models):
    model = tiny_models["cnn"]
    first = noise(model)
    second = Sample.from_pixels(1 - first.pixels[0], "negative")
    answer = execute_pair(techniques.find("activations"), first, second, model, {"layer": "2.2"})
    assert isinstance(answer.channels.cells, Stack) and len(answer.channels.positions()) == 16
    name = answer.channels.positions()[0]
    before, after, difference = (item.values for item in answer.channels.cell(name).items)
    for shown, sample in ((before, first), (after, second)):
        expected = outputs(model, sample)["2.2"][int(name.split()[1])]
        np.testing.assert_array_equal(shown, laid_out(expected, (32, 32)))
    np.testing.assert_array_equal(difference, after - before)
    assert "output: difference" in top_html(answer.channels, None)
