"""Top patches: the order against maxima read one picture at a time, and the patches by what the network answers to them alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import techniques
import techniques.base.strongest_patches as strongest_patches
import techniques.top_patches as top_patches
from model_zoo.errors import ParameterError
from techniques.base import Run, Sample, Samples, execute
from techniques.base.pictures import read_picture
from techniques.base.results import all_arrays
from techniques.base.sample import Waiting, to_image
from ui.browsing import top_html


def pictures(model, count: int) -> Samples:
    preprocessing = model.preprocessing
    pixels = torch.rand(count, preprocessing.channels, *preprocessing.size, generator=torch.Generator().manual_seed(1))
    return Samples(tuple(Sample.from_pixels(each, f"noise {number}") for number, each in enumerate(pixels)))


def top(samples: Samples, model, **settings):
    return execute(techniques.find("top_patches"), samples, model, settings)


def outputs(model, layer: str, samples: Samples) -> torch.Tensor:
    """What the layer puts out for each picture alone, as maps `[N, C, h, w]`."""
    found = []
    handle = model.module(layer).register_forward_hook(lambda _module, _inputs, output: found.append(model.layer(layer).maps(output).clone()))
    try:
        with torch.no_grad():
            for sample in samples:
                model.logits(sample.pixels)
    finally:
        handle.remove()
    return torch.cat(found)


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_the_strongest_places_of_all_pictures_come_first_however_they_are_batched(tiny_models, monkeypatch, batch):
    monkeypatch.setattr(top_patches, "BATCH", batch)
    model = tiny_models["cnn"]
    samples = pictures(model, 10)
    answer = top(samples, model, layer="2.2", patches=4)
    maxima = outputs(model, "2.2", samples).flatten(2).amax(2).T  # [16, 10]
    values, order = maxima.sort(dim=1, descending=True)
    ranking = values[:, :4].mean(1).argsort(descending=True)
    assert answer.channels.positions() == tuple(f"channel {number}" for number in ranking.tolist())
    stacked = answer.channels.cells.stacked
    np.testing.assert_allclose(stacked["activation"], values[ranking, :4], rtol=1e-5)  # sums in another order
    np.testing.assert_array_equal(stacked["picture"], order[ranking, :4])
    cell = answer.channels.cell(answer.channels.positions()[0])
    assert cell.names[0] == f"noise {int(order[ranking[0], 0])}: {float(values[ranking[0], 0]):.3g}"


def test_a_patch_alone_excites_its_channel_as_much_as_the_picture_did(tiny_models):
    model = tiny_models["one_channel"]  # no padding: each output follows from its field
    answer = top(pictures(model, 6), model, layer="4", pick="in order", count=8, patches=3)
    body = model.network[:5]
    mean, std = model.preprocessing.mean[0], model.preprocessing.std[0]
    for number in range(8):
        patches = torch.as_tensor(answer.channels.cells.stacked["patches"][number])
        assert patches.shape == (3, 1, 8, 8)
        with torch.no_grad():
            alone = body((patches - mean) / std)[:, number, 0, 0]
        np.testing.assert_allclose(alone, answer.channels.cells.stacked["activation"][number], rtol=1e-5, atol=1e-6)  # float32


def test_of_a_vector_the_patches_are_the_pictures_whose_units_are_strongest(tiny_models):
    model = tiny_models["cnn"]
    samples = pictures(model, 5)
    answer = top(samples, model, layer="5", patches=5)
    first = answer.channels.positions()[0]
    assert first.startswith("unit ") and "whole pictures are shown" in answer.note.text
    with torch.no_grad():
        best = int(model.network(normalised(model, samples.pixels))[:, int(first.split()[1])].argmax())
    np.testing.assert_array_equal(answer.channels.cell(first).items[0].values, samples[best].pixels[0])


def normalised(model, pixels: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (model.preprocessing.mean, model.preprocessing.std))
    return (pixels - mean) / std


def test_channels_in_order_begin_with_the_first_and_what_is_not_there_is_refused(tiny_models):
    model = tiny_models["cnn"]
    samples = pictures(model, 2)
    answer = top(samples, model, layer="2.2", pick="in order", first=14)
    assert answer.channels.positions() == ("channel 14", "channel 15") and len(answer.channels.cell("channel 14").items) == 2
    with pytest.raises(ParameterError, match="First: received 16, but the channels of 2.2 are numbered from 0 to 15"):
        top(samples, model, layer="2.2", pick="in order", first=16)
    with pytest.raises(ParameterError, match="received none"):
        top(Samples(()), model)


def test_each_picture_is_made_once_and_once_more_for_its_patches(tiny_models, monkeypatch):
    model, made = tiny_models["cnn"], []
    read = [read_picture(to_image(sample.pixels[0]), sample.origin) for sample in pictures(model, 12)]
    whole = Waiting.sample
    monkeypatch.setattr(Waiting, "sample", lambda self: made.append(self.origin) or whole(self))
    monkeypatch.setattr(top_patches, "BATCH", 4)
    answer = top(Samples.of(read, model), model, layer="2.2", patches=1)
    cut = set(all_arrays(answer)["channels.picture"].ravel().tolist())
    assert made[:12] == [picture.origin for picture in read] and set(made[12:]) == {read[number].origin for number in cut}


def test_patches_are_made_smaller_where_there_are_too_many_numbers(tiny_models, monkeypatch):
    monkeypatch.setattr(strongest_patches, "NUMBERS", 5 * 2 * 3 * 10**2)
    model = tiny_models["cnn"]
    answer = top(pictures(model, 2), model, layer="5", patches=2)
    assert all_arrays(answer)["channels.patches"].shape == (5, 2, 3, 10, 10)


def test_what_has_been_seen_is_shown_after_each_batch(tiny_models, monkeypatch):
    monkeypatch.setattr(top_patches, "BATCH", 2)
    model, shown = tiny_models["cnn"], []
    execute(techniques.find("top_patches"), pictures(model, 6), model, {"patches": 3}, Run(show=shown.append))
    assert [text.split(" over ")[1].split(" pictures")[0] for text in (answer.note.text for answer in shown)] == ["2 of 6", "4 of 6", "6"]


def test_the_page_shows_the_strongest_patch_of_every_channel_small(tiny_models):
    model = tiny_models["cnn"]
    answer = top(pictures(model, 3), model, layer="2.2")
    html = top_html(answer.channels, None)
    assert html.count("<img") == 16 and "All 16. Click to open." in html
