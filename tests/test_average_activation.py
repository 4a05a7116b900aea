"""Average activation: numbers against a plain loop over single pictures, order of filters, groups, memory."""

from __future__ import annotations

import math
import pickle
import weakref

import numpy as np
import pytest
import torch

import techniques
from techniques.base import TECHNIQUES, ParameterError, Run, Sample, Samples, execute
from techniques.base import activations as activations_module
from techniques.base.activations import average_maps, histograms, rectangle
from techniques.base.results import all_arrays


def average(samples, model, **settings):
    techniques.catalogue()
    return execute(TECHNIQUES["average_activation"], samples, model, settings)


def pictures(model, count: int) -> Samples:
    """Striped, coloured pictures, so different from one another that a tiny model sees several classes."""
    channels, (height, width) = model.preprocessing.channels, model.preprocessing.size
    generator = torch.Generator().manual_seed(0)
    made = []
    for number in range(1, count + 1):
        waves = 0.5 + 0.5 * torch.sin(number * torch.linspace(0, 5, height)[:, None] + torch.linspace(0, 7, width))
        made.append(Sample.from_pixels(torch.rand(channels, 1, 1, generator=generator) * waves, f"picture {number}"))
    return Samples(tuple(made))


def single_outputs(model, sample) -> dict[str, np.ndarray]:
    """Each weighted layer's maps for one picture, `[C, h, w]`, read with hooks of the test's own."""
    outputs, handles = {}, []
    for layer in model.layers:
        if layer.weighted:
            def keep(_module, _inputs, output, layer=layer):
                outputs[layer.name] = layer.maps(output)[0].numpy()

            handles.append(model.module(layer.name).register_forward_hook(keep))
    with torch.no_grad():
        model.logits(sample.pixels)
    for handle in handles:
        handle.remove()
    return outputs


def in_real_order(answer, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """The two averages of a layer, filters sorted by their number."""
    stacked = answer.browser.cells[layer].stacked
    order = np.argsort(stacked["filter"]) if "filter" in stacked else slice(None)
    return stacked["first"][order], stacked["second"][order]


def test_two_pictures_show_the_outputs_of_every_convolution_and_linear_layer(tiny_model):
    samples = pictures(tiny_model, 2)
    answer = average(samples, tiny_model)
    weighted = [layer.name for layer in tiny_model.layers if layer.weighted]
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    assert set(weighted) == {name for name, module in tiny_model.network.named_modules() if isinstance(module, kinds)}
    assert list(answer.browser.positions()) == weighted
    for expected, found in zip((single_outputs(tiny_model, sample) for sample in samples), (0, 1)):
        for layer in weighted:
            shown = in_real_order(answer, layer)[found]
            np.testing.assert_allclose(shown.ravel(), expected[layer].ravel(), rtol=1e-4, atol=1e-5)  # float32, pictures in one batch or alone


def test_two_classes_show_the_mean_over_the_pictures_predicted_as_each(tiny_models):
    model = tiny_models["cnn"]
    samples = pictures(model, 12)
    answer = average(samples, model, groups="classes")
    predicted = [model.target(None, sample.pixels) for sample in samples]
    frequent = sorted(set(predicted), key=lambda index: (-predicted.count(index), predicted.index(index)))[:2]
    for position, index in enumerate(frequent):
        members = [single_outputs(model, sample) for sample, found in zip(samples, predicted) if found == index]
        for layer in members[0]:
            expected = np.mean([outputs[layer] for outputs in members], axis=0)
            np.testing.assert_allclose(in_real_order(answer, layer)[position].ravel(), expected.ravel(), rtol=1e-4, atol=1e-5)  # float32 sums
        assert f"{model.label(index)} ({len(members)} picture" in answer.note.text


def test_sums_batch_by_batch_equal_one_batch_of_all(tiny_model, monkeypatch):
    samples = pictures(tiny_model, 7)
    layers = [layer for layer in tiny_model.layers if layer.weighted]
    (at_once,) = average_maps(tiny_model, layers, [samples], Run())
    monkeypatch.setattr(activations_module, "BATCH", 3)
    (streamed,) = average_maps(tiny_model, layers, [samples], Run())
    for name, expected in at_once.items():
        torch.testing.assert_close(streamed[name], expected, rtol=1e-4, atol=1e-5)  # float32, summed in another order


@pytest.mark.parametrize(("norm", "order"), [("1", 1), ("2", 2), ("infinity", math.inf)])
def test_filters_come_by_the_norm_of_their_difference_largest_first(tiny_models, norm, order):
    model = tiny_models["cnn"]
    samples = pictures(model, 2)
    answer = average(samples, model, norm=norm)
    first, second = (single_outputs(model, sample) for sample in samples)
    for layer in answer.browser.positions()[:-1]:
        norms = np.linalg.norm((first[layer] - second[layer]).reshape(len(first[layer]), -1), order, axis=1)
        assert answer.browser.positions(layer) == tuple(f"filter {number}" for number in np.argsort(-norms))
        np.testing.assert_allclose(answer.browser.cells[layer].stacked["norm"], np.sort(norms)[::-1], rtol=1e-4)  # float32
        column = answer.layers.ticks.index(layer)
        summary = [answer.layers.lines[name][column] for name in ("average", "smallest", "largest")]
        assert summary == pytest.approx([norms.mean(), norms.min(), norms.max()], rel=1e-4)


def test_a_cell_holds_both_averages_and_first_minus_second_all_on_one_signed_scale(tiny_models):
    answer = average(pictures(tiny_models["cnn"], 2), tiny_models["cnn"])
    layer = answer.browser.positions()[1]
    cell = answer.browser.cell(layer, answer.browser.positions(layer)[0])
    first, second, difference = (item.values for item in cell.items)
    assert np.array_equal(difference, first - second) and all(item.signed for item in cell.items)
    assert cell.names == ("picture 1", "picture 2", "difference")
    assert first.shape == (16, 16)


def test_the_average_of_a_layer_is_the_mean_difference_over_its_filters(tiny_models):
    answer = average(pictures(tiny_models["cnn"], 2), tiny_models["cnn"])
    layer = answer.browser.positions()[0]
    first, second = in_real_order(answer, layer)
    mean, size = (item.values for item in answer.layer_average.cell(layer).items)
    np.testing.assert_allclose(mean, (first - second).mean(0), atol=1e-5)  # float32, filters in another order
    np.testing.assert_allclose(size, np.abs(first - second).mean(0), atol=1e-5)


def test_a_linear_layer_is_one_rectangle_and_patches_are_a_grid(tiny_models):
    digits = average(pictures(tiny_models["one_channel"], 2), tiny_models["one_channel"])
    assert digits.browser.positions("9") == ("all 10 units",)
    assert digits.browser.cell("9", "all 10 units").items[0].values.shape == (2, 5)
    patches = average(pictures(tiny_models["transformer"], 2), tiny_models["transformer"])
    assert len(patches.browser.positions("blocks.0.attn.qkv")) == 3 * 24
    assert patches.browser.cells["blocks.0.attn.qkv"].stacked["first"].shape == (72, 4, 4)


@pytest.mark.parametrize(("count", "expected"), [(1, (1, 1)), (7, (1, 7)), (10, (2, 5)), (100, (10, 10)), (1000, (25, 40)), (4096, (64, 64))])
def test_units_fill_the_rectangle_nearest_to_a_square_and_a_prime_number_one_row(count, expected):
    assert rectangle(count) == expected


def test_histograms_agree_with_numpy():
    first, second = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)).double(), torch.linspace(-1, 3, 150).view(3, 50).double()
    found = histograms(first, second)
    for row in range(3):
        limits = (min(first[row].min(), second[row].min()).item(), max(first[row].max(), second[row].max()).item())
        for key, values in (("first", first), ("second", second)):
            counts, edges = np.histogram(values[row].numpy(), activations_module.BINS, limits)
            assert found[key][row].tolist() == counts.tolist()
            np.testing.assert_allclose(found["edges"][row], edges, atol=1e-6)  # the shares between the ends are float32


def test_the_histogram_of_a_layer_counts_every_value_once_and_a_constant_filter_falls_into_one_bin(tiny_models):
    answer = average(pictures(tiny_models["cnn"], 2), tiny_models["cnn"], logarithmic=False)
    layer = answer.histogram.positions()[0]
    whole = answer.histogram.cell(layer, "all filters")
    assert [counts.sum() for counts in whole.counts.values()] == [8 * 32 * 32] * 2 and not whole.log
    assert answer.histogram.positions(layer)[1:] == answer.browser.positions(layer)
    constant = histograms(torch.full((1, 9), 2.0), torch.full((1, 9), 2.0))
    assert constant["first"].max() == 9 and (constant["edges"][0, 0], constant["edges"][0, -1]) == (1.5, 2.5)


def test_no_picture_s_activations_outlive_their_batch(tiny_models, monkeypatch):
    model, alive, most = tiny_models["cnn"], [], []
    monkeypatch.setattr(activations_module, "BATCH", 2)

    def remember(_module, _inputs, output):
        most.append(sum(reference() is not None for reference in alive))
        alive.append(weakref.ref(output))

    handle = model.module("0.0").register_forward_hook(remember)
    try:
        average_maps(model, [layer for layer in model.layers if layer.weighted], [pictures(model, 12)], Run())
    finally:
        handle.remove()
    assert len(most) == 6 and max(most) == 0


def test_the_answer_is_a_few_arrays_per_layer_and_survives_pickling(tiny_models):
    model = tiny_models["cnn"]
    answer = average(pictures(model, 2), model)
    names = [name for name in all_arrays(answer) if name.startswith("browser.0.0/")]
    assert names == [f"browser.0.0/{key}" for key in ("first", "second", "norm", "filter")]
    again = pickle.loads(pickle.dumps(answer))
    path = ("0.0", again.browser.positions("0.0")[2])
    assert np.array_equal(again.browser.cell(*path).items[2].values, answer.browser.cell(*path).items[2].values)
    assert len(list(answer.browser.leaves())) == 8 + 12 + 16 + 1


def test_the_note_names_the_groups_the_pictures_left_out_and_the_largest_difference(tiny_models):
    model = tiny_models["cnn"]
    answer = average(pictures(model, 12), model, groups="classes", norm="infinity")
    position = int(np.argmax(answer.layers.lines["largest"]))
    layer = answer.layers.ticks[position]
    assert f"largest in layer {layer}, " in answer.note.text
    assert f"(norm infinity: {answer.layers.lines['largest'][position]:.3g})" in answer.note.text
    counts = [int(part.split("(")[1].split()[0]) for part in answer.note.text.split(":")[0].split(" against ")]
    assert f"{12 - sum(counts)} picture" in answer.note.text


def test_two_pictures_of_one_name_are_told_apart(tiny_models):
    sample = pictures(tiny_models["cnn"], 1)[0]
    answer = average(Samples((sample, sample)), tiny_models["cnn"])
    assert answer.note.text.startswith("picture 1 (first) against picture 1 (second)")
    assert max(answer.layers.lines["largest"]) == 0


@pytest.mark.parametrize(
    ("count", "groups", "sentence"),
    [
        (1, "pictures", "takes exactly two of them; received 1. Add another one."),
        (3, "pictures", "received 3. Choose two of them, or set groups to classes."),
        (1, "classes", "takes at least two pictures; received 1."),
    ],
)
def test_too_few_or_too_many_pictures_are_refused_in_a_sentence(tiny_models, count, groups, sentence):
    with pytest.raises(ParameterError, match=sentence.replace(".", r"\.")):
        average(pictures(tiny_models["cnn"], count), tiny_models["cnn"], groups=groups)


def test_pictures_of_only_one_predicted_class_are_refused_in_a_sentence(tiny_models):
    sample = pictures(tiny_models["cnn"], 1)[0]
    with pytest.raises(ParameterError, match="All 3 pictures are predicted as “.*”, and comparing needs two classes"):
        average(Samples((sample,) * 3), tiny_models["cnn"], groups="classes")


def test_no_hook_is_left_when_a_forward_pass_fails(tiny_models):
    model = tiny_models["cnn"]
    broken = Samples((Sample.from_pixels(torch.rand(2, 32, 32).repeat(2, 1, 1)[:4], "four channels"),))
    with pytest.raises(RuntimeError):
        average_maps(model, [layer for layer in model.layers if layer.weighted], [broken], Run())
    assert not any(module._forward_hooks for module in model.network.modules())
