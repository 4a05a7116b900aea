"""Average activation: numbers against a plain loop over single pictures, order of filters, groups, memory."""

from __future__ import annotations

import json
import math
import pickle
import shutil
import weakref
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import techniques
from techniques.base import TECHNIQUES, ParameterError, Run, Sample, Samples, UploadError, execute
from techniques.base import activations as activations_module
from techniques.base.activations import average_maps, histograms, rectangle
from techniques.base.comparison import is_saved, restored
from techniques.base.export import write_bundle
from techniques.base.pictures import ReadPicture
from techniques.base.results import all_arrays
from techniques.base.saved import open_saved


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


def in_groups(samples: Samples, *names: str) -> Samples:
    return Samples(tuple(replace(sample, group=name) for sample, name in zip(samples, names, strict=True)))


def test_the_two_largest_named_groups_are_compared_and_the_others_left_out(tiny_models):
    model = tiny_models["cnn"]
    samples = in_groups(pictures(model, 7), "a", "b", "", "c", "b", "c", "c")
    answer = average(samples, model, groups="named groups")
    assert answer.note.text.startswith("c (3 pictures) against b (2 pictures): ")
    assert answer.note.text.endswith("2 pictures of other groups left out.")
    for position, members in enumerate(([3, 5, 6], [1, 4])):
        outputs = [single_outputs(model, samples[member]) for member in members]
        for layer in outputs[0]:
            expected = np.mean([output[layer] for output in outputs], axis=0)
            np.testing.assert_allclose(in_real_order(answer, layer)[position].ravel(), expected.ravel(), rtol=1e-4, atol=1e-5)  # float32 sums


@pytest.mark.parametrize(("names", "found"), [(("", "", ""), "none"), (("cats", "", "cats"), "only “cats”")])
def test_named_groups_need_two_names(tiny_models, names, found):
    with pytest.raises(ParameterError, match=f"takes pictures of two of them; received {found}. Add a zip or a folder"):
        average(in_groups(pictures(tiny_models["cnn"], 3), *names), tiny_models["cnn"], groups="named groups")


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


class Alive:
    """How many inputs of one picture are in memory, at the most."""

    def __init__(self, monkeypatch):
        self.references, self.most = [], 0
        make = Sample.__init__

        def counted(sample, pixels, *rest, **more):
            make(sample, pixels, *rest, **more)
            self.references = [reference for reference in self.references if reference() is not None] + [weakref.ref(pixels)]
            self.most = max(self.most, len(self.references))

        monkeypatch.setattr(Sample, "__init__", counted)


def test_no_more_inputs_than_a_batch_are_in_memory_for_a_thousand_pictures_as_for_two_hundred(tiny_models, monkeypatch):
    model, random = tiny_models["cnn"], np.random.default_rng(0)
    given = [ReadPicture(Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)), f"{n}", (), "ab"[n % 2]) for n in range(1000)]
    for count in (200, 1000):
        alive = Alive(monkeypatch)
        average(Samples.of(given[:count], model), model, groups="named groups")
        monkeypatch.undo()
        assert 0 < alive.most <= 2 * activations_module.BATCH  # one batch, and for a moment its predecessor


def saved_bundle(folder, model, **settings):
    """(the answer, the zip that Download gives)."""
    samples = pictures(model, 2)
    answer = average(samples, model, **settings)
    write_bundle(folder, TECHNIQUES["average_activation"], samples, model, settings, answer)
    return answer, shutil.make_archive(str(folder), "zip", folder)


@pytest.mark.parametrize("norm", ["1", "2", "infinity"])
def test_a_saved_answer_is_the_same_when_it_is_opened_without_the_model(tiny_model, tmp_path, norm):
    answer, path = saved_bundle(tmp_path / "saved", tiny_model, norm=norm, logarithmic=False)
    opened, manifest = open_saved(TECHNIQUES["average_activation"], path)
    assert manifest["model"]["key"] == tiny_model.key
    numbers, again = all_arrays(answer), all_arrays(opened)
    assert list(numbers) == list(again)
    for name, expected in numbers.items():
        np.testing.assert_allclose(again[name], expected, rtol=1e-6, err_msg=name)  # saved whole; sums run over the sorted filters
    assert opened.note.text == answer.note.text and opened.layers.ticks == answer.layers.ticks
    for name in ("browser", "layer_average", "histogram"):
        first, second = getattr(answer, name), getattr(opened, name)
        assert first.caption == second.caption
        assert [(path, cell.caption, getattr(cell, "names", ())) for path, cell in first.leaves()] == [
            (path, cell.caption, getattr(cell, "names", ())) for path, cell in second.leaves()
        ]
    assert not next(cell for _, cell in opened.histogram.leaves()).log


def test_the_arrays_alone_are_opened_too_and_their_groups_have_no_names(tiny_models, tmp_path):
    answer, _ = saved_bundle(tmp_path / "saved", tiny_models["cnn"], norm="1")
    opened, manifest = open_saved(TECHNIQUES["average_activation"], tmp_path / "saved" / "arrays.npz")
    assert manifest == {} and opened.note.text.startswith("first group against second group: ")
    assert opened.layers.y_label == answer.layers.y_label  # the order of the norm is read off the numbers


def test_a_file_of_another_technique_or_without_arrays_is_refused(tiny_models, tmp_path):
    _, path = saved_bundle(tmp_path / "saved", tiny_models["cnn"])
    other = replace(TECHNIQUES["average_activation"], name="other", title="Other")
    with pytest.raises(UploadError, match="was not saved by Other"):
        open_saved(other, path)
    with pytest.raises(UploadError, match="Grad-CAM cannot open what was saved"):
        open_saved(TECHNIQUES["grad_cam"], path)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(UploadError, match="not a saved computation"):
        open_saved(TECHNIQUES["average_activation"], tmp_path / "text.zip")
    np.savez(tmp_path / "other.npz", heat=np.zeros(3))
    with pytest.raises(UploadError, match="holds no average activations"):
        open_saved(TECHNIQUES["average_activation"], tmp_path / "other.npz")


@pytest.mark.parametrize("manifest", ["[]", "null", "not JSON", "[" * 100_000, '{"technique": "grad_cam"}'])
def test_a_manifest_that_is_none_is_refused(tiny_models, tmp_path, manifest):
    saved_bundle(tmp_path / "saved", tiny_models["cnn"])
    with zipfile.ZipFile(tmp_path / "changed.zip", "w") as archive:
        archive.write(tmp_path / "saved" / "arrays.npz", "arrays.npz")
        archive.writestr("manifest.json", manifest)
    with pytest.raises(UploadError, match="manifest.json in this file cannot be read|was not saved by"):
        open_saved(TECHNIQUES["average_activation"], tmp_path / "changed.zip")


ODD = [None, 3, "x", [], {}, [None], {"name": "browser", "names": [1, 2, 3]}, [{"name": "browser", "names": ["same", "same", "difference"]}]]


@pytest.mark.parametrize("odd", ODD, ids=json.dumps)
def test_odd_things_in_a_manifest_are_left_out(tiny_models, odd):
    answer = average(pictures(tiny_models["cnn"], 2), tiny_models["cnn"])
    arrays = {name: array for name, array in all_arrays(answer).items() if is_saved(name)}
    opened = restored({"settings": odd, "panels": odd}, arrays)
    assert opened.note.text.startswith("first group against second group")


def changed(arrays: dict[str, np.ndarray], name: str, value) -> dict[str, np.ndarray]:
    return {key: array for key, array in ({**arrays, name: value}).items() if array is not None}


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("first", lambda array: None),
        ("first", lambda array: array[:, :1]),
        ("first", lambda array: array[0]),
        ("first", lambda array: array * np.nan),
        ("first", lambda array: array * 0 + 1e35),
        ("first", lambda array: array[:0]),
        ("second", lambda array: (array * 100).astype(np.int64)),
        ("norm", lambda array: array[:-1]),
        ("norm", lambda array: array * 2),
        ("filter", lambda array: None),
        ("filter", lambda array: array - 1000),
        ("filter", lambda array: array * 0),
        ("filter", lambda array: array + 0.5),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(tiny_models, key, change):
    answer = average(pictures(tiny_models["cnn"], 2), tiny_models["cnn"])
    arrays = {name: array for name, array in all_arrays(answer).items() if is_saved(name)}
    name = f"browser.1.0/{key}"
    with pytest.raises(UploadError, match="The layer “1.0” of this file is damaged|do not belong to its averages"):
        restored({}, changed(arrays, name, change(arrays[name])))


def test_no_hook_is_left_when_a_forward_pass_fails(tiny_models):
    model = tiny_models["cnn"]
    broken = Samples((Sample.from_pixels(torch.rand(2, 32, 32).repeat(2, 1, 1)[:4], "four channels"),))
    with pytest.raises(RuntimeError):
        average_maps(model, [layer for layer in model.layers if layer.weighted], [broken], Run())
    assert not any(module._forward_hooks for module in model.network.modules())
