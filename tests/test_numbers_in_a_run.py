"""Numbers that go wrong during a run: every one ends in an answer that can be drawn, or in a sentence that says what happened."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import gradio_client
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

import techniques
from model_zoo import catalogue, sources
from model_zoo.errors import AppError, IncompatibleModel, ModelLoadError, ParameterError
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Heatmap, Sample, Samples, Technique, execute
from techniques.base.drawing import heatmap_image, to_html
from techniques.base.results import all_arrays, panels
from tests.page_server import Caller
from tests.quick_settings import QUICK
from tests.tiny_models import TINY_MODELS, cnn
from ui.panels import panel
from ui.samples import sample as sample_picture

CATALOGUE = techniques.catalogue()
NOTHING = re.compile("No place .* moves a logit|Nothing in .* speaks for")  # in a picture or a network in which nothing is to be seen
RECTIFIED = ("guided_backpropagation", "deconvolution")  # a network without a rectifier is none for them, which shows in a run
ATTACKS = ("fgsm", "i_fgsm", "mi_fgsm", "pgd")
# what they make of a picture, or the pictures they bring along, may have white pixels
WHITEN = (
    "trust_table", "eot", "ensemble_attack", "epsilon_sweep", "robust_accuracy", "survival", "fooling_image", "lbfgs", "jsma", "universal_perturbation",
    "adversarial_patch", "place_patch", "one_pixel", "channel",
)  # fmt: skip
FLAT = "No region stands out: every pixel has the same value."
GREY = {(128, 128, 128)}
PLAIN = Preprocessing(3, (4, 4), (0.0,) * 3, (1.0,) * 3, crop_fraction=1.0)
NO_TEXT_OF_TORCH = re.compile(r"Error|Traceback|dtype|tensor|shape|size mismatch|mat1|/\w+/")
NOT_A_NUMBER = re.compile(r"(?<![\w+/=])(nan|NaN|inf|Infinity)(?![\w+/=])")  # and no part of a word or of a picture's letters


class Then(nn.Module):
    """A network followed by a function of its scores and of the pixels it was given."""

    def __init__(self, network: nn.Module, answer: Callable):
        super().__init__()
        self.network, self.answer = network, answer

    def forward(self, pixels):
        return self.answer(self.network(pixels), pixels)


def then(answer: Callable, make: Callable[[], LoadedModel] = cnn) -> LoadedModel:
    """A tiny model whose network answers through `answer(scores, normalised pixels)`."""
    model = make()
    return wrap(Then(model.network, answer), key="tiny/odd", title="Odd", preprocessing=model.preprocessing, multi_label=model.multi_label)


def scaled(scale: float, make: Callable[[], LoadedModel] = cnn) -> LoadedModel:
    return then(lambda scores, _: scores * scale, make)


def linear(classes: int, channels: int = 3) -> LoadedModel:
    """One linear layer on a picture of 4 x 4 px, not normalised."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(16 * channels, classes))
    return wrap(network, key="tiny/linear", preprocessing=Preprocessing(channels, (4, 4), (0.0,) * channels, (1.0,) * channels, crop_fraction=1.0))


def noise(model: LoadedModel, seed: int = 3) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), f"noise {seed}")


def given(technique: Technique, *samples: Sample) -> Sample | Samples:
    """The first picture, or both for a technique that works on a set."""
    return Samples(samples) if technique.many else samples[0]


def fitting(model: LoadedModel) -> list[Technique]:
    """The techniques that do not say beforehand why this model is none for them; the tests know how many these are at least."""
    found = [technique for technique in CATALOGUE.values() if technique.why_not(model) is None]
    assert len(found) >= len(CATALOGUE) / 2
    return found


def heat_maps(answer) -> list[Heatmap]:
    return [result for result in panels(answer).values() if isinstance(result, Heatmap)]


# A map in which nothing can be told apart


@pytest.mark.parametrize("name", ["saliency", "occlusion"])
def test_a_network_that_says_the_same_of_every_picture_gives_flat_grey_maps_that_say_so(name):
    answer = techniques.run(name, noise(cnn()), scaled(0.0))
    maps = heat_maps(answer)
    assert len(maps) == {"saliency": 1, "occlusion": 2}[name] and not any(heatmap.values.any() for heatmap in maps)
    for heatmap in maps:
        assert {colour for _, colour in heatmap_image(heatmap).getcolors()} == GREY
        assert FLAT in to_html(heatmap) and FLAT in panel(name, heatmap, None)


def test_a_grad_cam_of_nothing_but_zeros_is_said_where_it_is_shown():
    model = cnn()
    with torch.no_grad():
        model.network[5].weight.copy_(model.network[5].weight.abs().neg())  # every feature speaks against every class
    answer = techniques.run("grad_cam", noise(model), model)
    for _, heatmap in answer.grad_cam.leaves():
        assert not heatmap.values.any() and FLAT in panel("Grad-CAM", heatmap, None)


def test_a_constant_map_that_is_not_zero_is_flat_on_the_page_too():
    html = panel("a", Heatmap(np.full((2, 2), 5.0, np.float32)), None)
    assert FLAT in html and "from='5.0' to='5.0'" in html  # the page draws grey where the two are equal


def test_numbers_as_large_as_float32_holds_keep_their_place_on_the_scale():
    with np.errstate(over="raise"):
        html = panel("a", Heatmap(np.array([[3e38, 0, -3e38]], np.float32), signed=True), None)
    assert "levels='//8AgAAA'" in html  # 65535, 32768 and 0, two bytes each


def test_a_picture_so_small_that_the_last_maps_are_one_cell_is_looked_at_in_an_earlier_layer():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model("resnet18", num_classes=5)
    model = wrap(network, key="resnet18", preprocessing=Preprocessing(size=(28, 28)))
    assert network.forward_features(torch.rand(1, 3, 28, 28)).shape[2:] == (1, 1)
    assert model.layer().grid == (2, 2)
    answer = techniques.run("grad_cam", noise(model), model)
    assert any(np.ptp(heatmap.values) > 0 for _, heatmap in answer.grad_cam.leaves())


# Numbers that are not finite


@pytest.mark.parametrize(("number", "count"), [(np.nan, 1), (np.inf, 3)])
def test_numbers_in_a_map_that_are_not_finite_are_counted_and_never_drawn(number, count):
    def spoilt(sample, model, run, **settings):
        answer = CATALOGUE["saliency"].function(sample, model, run, **settings)
        answer.saliency.values[0, :count] = number
        return answer

    model = cnn()
    with pytest.raises(AppError, match=rf"^Saliency came out with {count} numbers that are not finite \(in saliency\)\."):
        execute(replace(CATALOGUE["saliency"], function=spoilt), noise(model), model)


@pytest.fixture(scope="module")
def divides() -> LoadedModel:
    """Valid numbers for every picture but one with a white pixel, for which it divides by zero."""
    network = Then(linear(5).network, lambda scores, pixels: scores / (1 - pixels.amax((1, 2, 3)))[:, None])
    return wrap(network, key="odd", title="Odd", preprocessing=PLAIN)


@pytest.mark.parametrize("technique", CATALOGUE.values(), ids=lambda technique: technique.name)
def test_a_picture_without_valid_numbers_is_told_of_and_the_next_one_works(technique, divides):
    white = Sample.from_pixels(torch.ones(3, 4, 4), "white")
    if technique.why_not(divides) is None:
        try:
            answer = execute(technique, given(technique, white, noise(divides)), divides)
        except IncompatibleModel as refusal:
            assert technique.name in RECTIFIED and "calls no rectifier" in str(refusal)
            return
        except AppError as refusal:
            assert "not finite" in str(refusal) and "numbers" in str(refusal)
        else:
            assert technique.name in ("architecture", "average_activation")  # neither of them looks at logits
            assert all(np.isfinite(array).all() for array in all_arrays(answer).values() if array.dtype.kind == "f")
        if technique.name not in WHITEN:
            execute(technique, given(technique, noise(divides), noise(divides, 4)), divides)


def test_probabilities_that_are_no_numbers_are_not_shown(divides):
    with pytest.raises(AppError, match=r"^Odd gives no valid numbers for this picture: 5 of 5 logits are not finite\.$"):
        divides.probabilities(torch.ones(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda scores, _: scores.index_fill(1, torch.tensor([1, 3]), -torch.inf), "2 of its 5 class scores are not finite"),
        (lambda scores, _: scores.index_fill(1, torch.tensor([4]), torch.nan), "1 of its 5 class scores is not finite"),
        (lambda scores, _: scores.sign() * torch.inf, "5 of its 5 class scores are not finite"),
    ],
    ids=["masked classes", "one", "all"],
)
def test_a_network_whose_scores_are_not_finite_is_refused_with_their_count(answer, told):
    with pytest.raises(ModelLoadError, match=f"^The network gives no valid numbers on a test picture: {told}. Its weights are damaged, or it masks"):
        then(answer)


def test_pixels_that_are_not_finite_are_refused_with_their_count():
    pixels = torch.full((3, 4, 4), 0.5)
    pixels[0, 0] = torch.nan
    with pytest.raises(ParameterError, match=r"^Pixels: 4 of them are not finite, expected numbers from 0 to 1\.$"):
        Sample.from_pixels(pixels, "odd")


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 4), (2, 3, 4, 4), ()])
def test_pixels_of_a_shape_that_no_picture_has_are_refused(shape):
    with pytest.raises(ParameterError, match=r"expected \[C, H, W\] with 1, 3 or 4 channels\.$"):
        Sample.from_pixels(torch.zeros(shape), "odd")


# A model that is too sure


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("scale", [1e3, 1e10, 1e30])
def test_where_the_gradient_is_zero_the_attack_says_so_and_the_margin_moves(name, norm, scale):
    model, settings = scaled(scale), {"norm": norm, **({"random_start": False} if name == "pgd" else {})}
    stuck = techniques.run(name, noise(model), model, loss="cross-entropy", **settings)
    assert stuck.note.text.endswith(" The gradient is zero: the attack cannot move; choose the loss “margin”.")
    assert not stuck.perturbation.values.any()
    moved = techniques.run(name, noise(model), model, loss="margin", **settings)
    assert "The gradient is zero" not in moved.note.text
    before, after, _ = moved.predictions.logits
    assert moved.perturbation.values.any() and after.argmax() != before.argmax()


@pytest.mark.parametrize("answer", [lambda scores, _: scores.detach(), lambda scores, _: scores.round()], ids=["cut off", "rounded"])
def test_a_network_that_cuts_its_gradient_off_gives_a_flat_map_and_an_attack_that_cannot_move(answer):
    model = then(answer)
    assert not techniques.run("saliency", noise(model), model).saliency.values.any()
    for loss, remedy in (("cross-entropy", "choose the loss “margin”"), ("margin", "no small change of a pixel moves these logits")):
        assert f"The gradient is zero: the attack cannot move; {remedy}." in techniques.run("fgsm", noise(model), model, loss=loss).note.text


def test_a_layer_that_moves_nothing_is_never_recommended_in_its_own_place():
    with pytest.raises(IncompatibleModel, match=r"moves a logit here\. Choose another layer\.$"):
        techniques.run("grad_cam", noise(cnn()), scaled(0.0))


def test_an_attack_whose_gradient_is_not_finite_says_so():
    def steep(scores, pixels):  # the square root has an infinite slope at zero
        return scores + (pixels - pixels.detach()).abs().sum((1, 2, 3))[:, None].sqrt() * torch.arange(5)

    with pytest.raises(AppError, match=r"^The attack cannot move: \d+ numbers of its gradient are not finite\. The model's scores"):
        techniques.run("fgsm", noise(cnn()), then(steep), loss="margin")


@pytest.mark.parametrize("scale", [1e30, -1e30])
def test_probabilities_of_huge_logits_add_up_to_one(scale):
    model = scaled(scale)
    predictions = techniques.run("fgsm", noise(model), model, loss="margin").predictions
    assert np.abs(predictions.logits).max() > 1e29
    assert (predictions.probabilities.sum(1) == 1).all() and set(predictions.probabilities.ravel()) == {0.0, 1.0}


@pytest.mark.parametrize("scale", [0.0, 1e30])
@pytest.mark.parametrize("make", TINY_MODELS.values(), ids=list(TINY_MODELS))
def test_whatever_the_scale_of_the_logits_no_panel_shows_a_word_in_place_of_a_number(make, scale):
    model = scaled(scale, make)
    pictures = noise(model), noise(model, 4)
    for technique in fitting(model):
        try:
            answer = execute(technique, given(technique, *pictures), model, QUICK.get(technique.name, {}))
        except IncompatibleModel as refusal:
            assert scale == 0 and NOTHING.search(str(refusal)), technique.name
            continue
        except AppError as refusal:  # a product of two numbers that a float32 still holds
            assert scale == 1e30 and "not finite" in str(refusal) and technique.name == "guided_grad_cam"
            continue
        for name, result in panels(answer).items():
            for html in (to_html(result), panel(name, result, pictures[0])):
                assert not NOT_A_NUMBER.search(html), (technique.name, name)


# One output, few outputs, none


@pytest.mark.parametrize("technique", CATALOGUE.values(), ids=lambda technique: technique.name)
def test_a_single_output_is_read_through_a_sigmoid_everywhere(technique, tiny_models):
    model = tiny_models["single_logit"]
    if technique.why_not(model):
        pytest.skip(technique.why_not(model))
    answer = execute(technique, given(technique, noise(model), noise(model, 4)), model)
    predictions = panels(answer).get("predictions")
    if predictions and technique.name != "feature_visualisation":  # that shows what the model says to the picture it has made
        outputs = model.network((noise(model).pixels - model._statistics[0]) / model._statistics[1]).detach()
        assert predictions.probabilities[0, 1] == pytest.approx(float(outputs.sigmoid()), abs=1e-6)  # float32 logits
        assert [label for _, label, _ in predictions.top(5)] in (["no", "yes"], ["yes", "no"])


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_on_a_single_output_moves_with_either_loss(name, tiny_models):
    model = tiny_models["single_logit"]
    for loss in ("cross-entropy", "margin"):
        before, after, _ = techniques.run(name, noise(model), model, loss=loss, epsilon=8.0).predictions.probabilities
        assert after[before.argmax()] < before[before.argmax()]


def test_of_fewer_than_five_classes_all_are_shown():
    model = then(lambda scores, _: scores[:, :3])
    answer = techniques.run("grad_cam", noise(model), model)
    assert len(answer.grad_cam.positions()) == len(answer.predictions.top(5)) == 3


def test_a_network_without_a_head_is_refused_wherever_it_comes_from():
    with pytest.raises(ModelLoadError, match="puts out features, not classes"):
        sources.load("timm/vit_base_patch16_224.dino")
    with pytest.raises(ModelLoadError, match="puts out features, not classes"):
        wrap(timm.create_model("resnet10t", num_classes=0), key="features", preprocessing=Preprocessing(size=(64, 64)))


def test_networks_without_a_head_are_not_in_the_catalogue():
    assert all(entry.classes > 0 for entry in catalogue.search("", limit=5000))
    assert catalogue.entry("timm/vit_base_patch16_224.dino") is None


# Channels and sizes


def test_a_colour_picture_becomes_grey_for_a_model_of_one_channel(photograph, tiny_models):
    model = tiny_models["one_channel"]
    sample = Sample.from_image(photograph, model)
    assert torch.equal(sample.pixels, Sample.from_image(photograph.convert("L"), model).pixels)
    assert techniques.run("saliency", sample, model).saliency.values.shape == (28, 28)


def test_a_picture_without_transparency_is_opaque_for_a_model_of_four_channels(photograph):
    model = linear(5, channels=4)
    sample = Sample.from_image(photograph, model)
    assert sample.pixels.shape == (1, 4, 4, 4) and (sample.pixels[:, 3] == 1).all()
    for technique in fitting(model):
        if technique.name not in RECTIFIED:
            answer = execute(technique, given(technique, sample, noise(model)), model)
            assert all(to_html(result) and panel(name, result, sample) for name, result in panels(answer).items())


@pytest.mark.parametrize("channels", [2, 5])
def test_a_network_for_pictures_that_nobody_has_is_refused(channels):
    with pytest.raises(ModelLoadError, match=rf"wants pictures of {channels} channels\. Expected 1 \(grey\), 3 \(colour\) or 4"):
        linear(5, channels)


@pytest.mark.parametrize(
    ("mean", "std"), [((0.5,), (0.5,)), ((0.5,) * 3, (0.5, 0.5, 0.0)), ((0.5,) * 3, (0.5, 0.5, -1.0)), ((0.5, 0.5, float("nan")), (0.5,) * 3)]
)
def test_a_normalisation_that_is_none_is_refused(mean, std):
    with pytest.raises(ModelLoadError, match="^Mean and standard deviation must be 3 finite numbers each"):
        wrap(linear(5).network, key="odd", preprocessing=Preprocessing(3, (4, 4), mean, std))


SIZES = {
    "vgg11": (224, {"mlp_ratio": 0.02}), "densenet121": (224, {}), "convnext_atto": (224, {}), "inception_v3": (299, {}),
    "vit_tiny_patch16_224": (224, {}), "swin_tiny_patch4_window7_224": (224, {"depths": (1, 1, 1, 1)}), "mixer_s32_224": (224, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_a_picture_too_small_for_a_network_is_enlarged_to_its_size(name, photograph):
    side, narrow = SIZES[name]
    with torch.random.fork_rng(devices=[]):
        network = timm.create_model(name, num_classes=5, **narrow)
    with pytest.raises(ModelLoadError, match=r"^The network does not run on a 3 x 28 x 28 picture\. Check its input channels and its picture"):
        wrap(network, key=name, preprocessing=Preprocessing(size=(28, 28)))
    model = wrap(network, key=name, preprocessing=Preprocessing(size=(side, side)))
    sample = Sample.from_image(photograph.resize((28, 28)), model)
    assert sample.notes == ("very small picture (28×28): maps will be coarse",)
    values = techniques.run("saliency", sample, model).saliency.values
    assert values.shape == (side, side) and np.isfinite(values).all()


# What a network answers with


class Holder:
    def __init__(self, scores):
        self.logits = scores


@pytest.mark.parametrize(
    "answer",
    [
        lambda scores, _: (scores, None), lambda scores, _: {"features": None, "logits": scores}, lambda scores, _: [None, scores],
        lambda scores, pixels: (pixels, scores.sum(1), scores),
    ],
    ids=["tuple", "dict", "list", "third of three"],
)  # fmt: skip
def test_class_scores_are_found_in_what_holds_them(answer):
    model, plain = then(answer), cnn()
    found, expected = (techniques.run("saliency", noise(plain), each).saliency.values for each in (model, plain))
    assert np.array_equal(found, expected)


ODD = {
    "nothing": lambda scores, _: None, "a number": lambda scores, _: 3, "a text": lambda scores, _: "cat",
    "an object": lambda scores, _: Holder(scores), "no classes": lambda scores, _: scores[:, :0],
    "one number per picture": lambda scores, _: scores.sum(1), "a row without its picture": lambda scores, _: scores[0],
    "three axes": lambda scores, _: scores[None], "no axis": lambda scores, _: scores.sum(), "whole numbers": lambda scores, _: scores.long(),
    "complex numbers": lambda scores, _: scores.to(torch.complex64), "an empty dict": lambda scores, _: {}, "an empty tuple": lambda scores, _: (),
    "a tuple in a tuple": lambda scores, _: ((scores,),), "one row for all pictures": lambda scores, _: scores[:1],
}  # fmt: skip


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
def test_an_answer_in_any_other_form_is_refused_in_a_sentence(answer):
    with pytest.raises(IncompatibleModel) as refusal:
        then(answer)
    assert str(refusal.value) == "The network does not answer with one row of class scores per picture; its output format is not supported."


def stopped(scores, _):
    return next(iter(()))


FAULTS = {
    "an attribute that is not there": lambda scores, _: scores.nothing, "a division by zero": lambda scores, _: 1 / 0,
    "a key": lambda scores, _: {}["logits"], "shapes that do not fit": lambda scores, _: scores @ scores,
    "an assertion": lambda scores, _: torch.testing.assert_close(scores, scores + 1), "an end": stopped,
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_network_that_raises_is_refused_without_the_words_of_what_it_raised(fault):
    with pytest.raises(ModelLoadError) as refusal:
        then(fault)
    assert str(refusal.value) == "The network does not run on a 3 x 32 x 32 picture. Check its input channels and its picture size."
    assert not NO_TEXT_OF_TORCH.search(str(refusal.value)) and refusal.value.__cause__ is not None  # the log has it all


def test_a_network_without_weights_is_refused():
    with pytest.raises(ModelLoadError, match="^The network has no weights; there is nothing in it to look into"):
        wrap(nn.Flatten(), key="empty", preprocessing=PLAIN)


# Settings outside their range


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("saliency", {"target": -1}, "or a number from 0 to 4"),
        ("saliency", {"target": 5}, "or a number from 0 to 4"),
        ("grad_cam", {"target": "-1"}, "or a number from 0 to 4"),
        ("occlusion", {"stride": 0}, "Stride: received '0', expected a whole number from 25 to 100 % of the window"),
        ("occlusion", {"window": 101}, "Window: received '101', expected a whole number from 5 to 60 % of the shorter side"),
        ("occlusion", {"window": 0}, "Window: received '0', expected a whole number from 5 to 60 % of the shorter side"),
        ("pgd", {"steps": 0}, "Steps: received '0', expected a whole number from 1 to 200 steps"),
        ("pgd", {"restarts": 0}, "Restarts: received '0', expected a whole number from 1 to 20 starts"),
        ("fgsm", {"epsilon": float("nan")}, "Epsilon: received 'nan', expected a number from 0 to 64 of 255"),
        ("fgsm", {"epsilon": -1}, "Epsilon: received '-1', expected a number from 0 to 64 of 255"),
        ("fgsm", {"seed": 2**31}, "Seed: received '2147483648', expected a whole number from 0 to"),
    ],
)
def test_a_setting_outside_its_range_is_refused_and_the_range_is_named(name, settings, told, tiny_models):
    with pytest.raises(ParameterError) as refusal:
        techniques.run(name, noise(tiny_models["cnn"]), tiny_models["cnn"], **settings)
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("saliency", {"target": -1}, "Expected one of its 10 labels or a number from 0 to 9."),
        ("occlusion", {"window": 101}, "Window: received '101', expected a whole number from 5 to 60 % of the shorter side."),
        ("pgd", {"steps": 0}, "Steps: received '0', expected a whole number from 1 to 200 steps."),
        ("fgsm", {"epsilon": 1e308}, "Epsilon: received '1e+308', expected a number from 0 to 64 of 255."),
    ],
)
def test_the_server_names_the_range_to_a_program_too(name, settings, told, server):
    with pytest.raises(gradio_client.exceptions.AppError) as refusal:
        picture = gradio_client.handle_file(str(sample_picture("digit_3").path))
        Caller(server.url).predict(image=picture, model="bundled/digits", api_name=f"/{name}", **settings)
    assert told in str(refusal.value)


# Layers


def test_grad_cam_on_a_transformer_block_is_a_map_over_the_patches(tiny_models):
    model = tiny_models["transformer"]
    answer = techniques.run("grad_cam", noise(model), model, layer="blocks.0", signed=True)
    assert model.layer("blocks.0").grid == (4, 4)
    for _, heatmap in answer.grad_cam.leaves():
        assert heatmap.values.shape == (32, 32) and len(np.unique(heatmap.values)) > 16  # 16 patches, with bilinear steps between


def test_grad_cam_on_a_layer_without_places_is_refused_with_another_layer(tiny_models):
    model = tiny_models["transformer"]
    with pytest.raises(IncompatibleModel) as refusal:
        techniques.run("grad_cam", noise(model), model, layer="head")
    assert str(refusal.value) == f"The layer “head” has no places in the picture. Choose one that has, such as “{model.default_layer}”."


# Types, modes, pictures


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_float32_from_the_start(dtype):
    network = cnn().network.to(dtype)
    model = wrap(network, key="cast", preprocessing=cnn().preprocessing)
    assert {tensor.dtype for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()} == {torch.float32}
    for technique in fitting(model):
        execute(technique, given(technique, noise(model), noise(model, 4)), model, QUICK.get(technique.name, {}))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_that_answers_in_another_precision_works_with_every_technique(dtype):
    model = then(lambda scores, _: scores.to(dtype))
    assert model.logits(noise(model).pixels).dtype == torch.float32
    for technique in fitting(model):
        execute(technique, given(technique, noise(model), noise(model, 4)), model, QUICK.get(technique.name, {}))


def test_a_network_handed_over_in_training_mode_answers_as_in_eval_mode():
    ready = cnn()
    model = wrap(cnn().network.train(), key="training", preprocessing=ready.preprocessing)
    assert not any(module.training for module in model.network.modules())
    found, expected = (techniques.run("fgsm", noise(ready), each) for each in (model, ready))
    assert np.array_equal(found.predictions.logits, expected.predictions.logits)


def stripes(side: int) -> Image.Image:
    """Columns of black and white, one pixel wide."""
    return Image.fromarray((np.indices((side, side))[1] % 2 * 255).astype(np.uint8))


EXTREME = {"black": lambda: Image.new("L", (40, 40), 0), "white": lambda: Image.new("L", (40, 40), 255), "stripes": lambda: stripes(32)}


@pytest.mark.parametrize("picture", EXTREME.values(), ids=EXTREME)
def test_pictures_of_nothing_but_black_or_white_give_numbers_that_can_be_drawn(picture, tiny_model):
    samples = Sample.from_image(picture().convert("RGB"), tiny_model, "extreme"), noise(tiny_model)
    for technique in fitting(tiny_model):
        try:
            answer = execute(technique, given(technique, *samples), tiny_model, QUICK.get(technique.name, {}))
        except IncompatibleModel as refusal:
            assert technique.name == "guided_grad_cam" and NOTHING.search(str(refusal))
            continue
        for name, result in panels(answer).items():
            assert not NOT_A_NUMBER.search(panel(name, result, samples[0])), (technique.name, name)
