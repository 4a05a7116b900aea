"""Trust: each reading against captum, quantus, scipy or a closed form; guided backpropagation is flagged and Grad-CAM is not."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from captum import metrics
from PIL import Image
from torch import nn

import model_zoo
import techniques
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base.agreement import rank_correlation
from techniques.base import Heatmap, IncompatibleModel, ParameterError, Run, Sample, batches
from techniques.base.covering import fill_pixels
from techniques.base.hooks import gradient_at
from techniques.base.maps import Question, heat_maps, map_of
from techniques.base.scrambling import scrambled, shifted
from techniques.base.trust import (
    READINGS, Curves, Readings, Scrambling, Sizes, area, curves, gain, infidelity, noise, perturbations, readings, relative_change,
    scrambling,
)  # fmt: skip
from techniques.base.verdict import flagged, likeness, verdict
from techniques.trust import trust_in

CATALOGUE = techniques.catalogue()
AS_IT_IS = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


def sample_for(model, seed: int = 0) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


@pytest.fixture(scope="module")
def linear() -> LoadedModel:
    """logits = weight @ pixels on 3 x 6 x 6 pixels, not normalised, two classes with opposite weights, the first with a bias."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(108, 2))
    weights = torch.randn(108, generator=torch.Generator().manual_seed(0))
    network[1].weight.data = torch.stack([weights, -weights])
    network[1].bias.data = torch.zeros(2)
    return wrap(network, key="linear", preprocessing=Preprocessing(3, (6, 6), **AS_IT_IS))


# Which techniques have a map


def test_the_techniques_with_a_map_of_one_class_are_found():
    assert {"grad_cam", "saliency", "occlusion"} <= set(heat_maps())
    assert not {"trust", "trust_table", "cover", "fgsm", "architecture", "average_activation"} & set(heat_maps())


@pytest.mark.parametrize("name", heat_maps())
def test_the_map_of_a_technique_is_that_of_the_class_that_was_asked_for(name, tiny_models):
    model = tiny_models["cnn"]
    sample = sample_for(model)
    found = [map_of(techniques.run(name, sample, model, target=target)).values for target in (3, 4)]
    assert found[0].shape == (32, 32) and not np.array_equal(*found)


# Deletion and insertion


def test_on_a_linear_network_the_curves_are_those_of_sums_of_contributions(linear):
    sample = sample_for(linear)
    weights = linear.network[1].weight[0].view(3, 6, 6)
    contributions = (weights * sample.pixels[0]).sum(0)
    found = curves(contributions.numpy(), sample.pixels, linear, 0, Sizes(points=36, fill="black"), Run())
    ordered = contributions.flatten().sort(descending=True).values
    come = torch.cat([torch.zeros(1), ordered.cumsum(0)])
    assert np.allclose(found.insertion, torch.sigmoid(2 * come), atol=1e-5)  # the logits are z and -z; sums of 108 float32 numbers
    assert np.allclose(found.deletion, torch.sigmoid(2 * (come[-1] - come)), atol=1e-5)


def test_on_a_linear_network_no_other_order_is_better_than_that_of_the_contributions(linear):
    sample = sample_for(linear)
    contributions = (linear.network[1].weight[0].view(3, 6, 6) * sample.pixels[0]).sum(0).numpy()
    found = curves(contributions, sample.pixels, linear, 0, Sizes(points=36, fill="black", controls=5), Run())
    for other in ("elsewhere", "random"):
        assert (found.insertion >= getattr(found, f"insertion_{other}") - 1e-6).all()
        assert (found.deletion <= getattr(found, f"deletion_{other}") + 1e-6).all()
    assert gain(found) > 0


def test_deletion_agrees_with_quantus(tiny_models):
    quantus = pytest.importorskip("quantus")
    model = tiny_models["one_channel"]
    sample = sample_for(model)
    values = np.random.default_rng(0).random((28, 28), dtype=np.float32)  # no two alike: quantus leaves the order of equal ones to chance

    class Network(nn.Module):
        def forward(self, pixels):
            return model.logits(pixels)

    peer = quantus.PixelFlipping(features_in_step=56, perturb_baseline=0.0, normalise=False, disable_warnings=True)
    expected = peer(Network().eval(), sample.pixels.numpy(), np.array([3]), values[None, None], softmax=True, device="cpu")
    found = curves(values, sample.pixels, model, 3, Sizes(points=14, fill="black"), Run())
    assert np.allclose(found.deletion[1:], np.ravel(expected), atol=1e-6)  # the same pictures in batches of other sizes


def test_the_area_of_a_straight_line_is_its_mean():
    assert area(np.array([0.0, 0.25, 0.5])) == 0.25


def test_equal_values_of_a_map_go_in_random_order_and_not_row_by_row(tiny_models):
    model = tiny_models["cnn"]
    sample = sample_for(model)
    flat = [curves(np.zeros((32, 32)), sample.pixels, model, 0, Sizes(seed=seed), Run()).deletion for seed in (0, 0, 1)]
    assert np.array_equal(flat[0], flat[1]) and not np.array_equal(flat[0], flat[2])


def test_the_size_of_a_batch_does_not_change_a_curve(tiny_models, monkeypatch):
    model = tiny_models["cnn"]
    values, pixels = np.random.default_rng(0).random((32, 32)), sample_for(model).pixels
    whole = curves(values, pixels, model, 0, Sizes(), Run())
    monkeypatch.setitem(batches.MEMORY, "cpu", 1)
    assert np.allclose(curves(values, pixels, model, 0, Sizes(), Run()), whole, atol=1e-6)  # batches round differently


# Sensitivity and infidelity


def test_sensitivity_agrees_with_captum_on_the_same_noise(tiny_models):
    model, sizes = tiny_models["cnn"], Sizes(copies=5, seed=3)
    sample = sample_for(model)
    question = Question.about("saliency", target=2)
    found = noise(question, question.answer(sample, model, Run()), sample, model, sizes, Run())

    def explain(inputs) -> torch.Tensor:
        pixels = inputs[0] if isinstance(inputs, tuple) else inputs
        maps = [question.answer(sample, model, Run(), pixels=picture[None]).values for picture in pixels]
        return torch.from_numpy(np.stack(maps))[:, None]

    generator = torch.Generator().manual_seed(3)

    def perturb(pixels: torch.Tensor) -> torch.Tensor:
        moved = [(2 * torch.rand(1, 3, 32, 32, generator=generator) - 1) * sizes.noise for _ in pixels]
        return (pixels + torch.cat(moved)).clamp(0, 1)

    expected = metrics.sensitivity_max(explain, sample.pixels, perturb, n_perturb_samples=5, max_examples_per_batch=1)
    assert max(found.changes) == pytest.approx(float(expected), rel=1e-4)  # norms of 1024 numbers, there in float32


def test_infidelity_agrees_with_captum_as_a_share_of_the_change(tiny_models):
    model, sizes = tiny_models["cnn"], Sizes(squares=30, fill="grey")
    pixels = sample_for(model).pixels
    values = np.random.default_rng(1).normal(size=(32, 32))
    filling, gone = fill_pixels("grey", pixels), torch.from_numpy(perturbations((32, 32), 30, 0))[:, None].double()

    def forward(there: torch.Tensor) -> torch.Tensor:
        return model.logits(torch.where(there > 0, pixels, filling))[:, 1].double()

    def perturb(there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return gone, there - gone

    there = torch.ones(1, 1, 32, 32, dtype=torch.float64)
    expected = metrics.infidelity(forward, perturb, there, torch.from_numpy(values)[None, None], n_perturb_samples=30, normalize=True)
    change = forward(there) - forward(1 - gone)
    found = infidelity(values, pixels, model, 1, sizes, Run())
    assert found == pytest.approx(float(expected) / float((change**2).mean()), rel=1e-4)  # the network answers in float32


def test_on_a_linear_network_contributions_explain_all_of_the_change(linear):
    sample = sample_for(linear)
    contributions = (linear.network[1].weight[0].view(3, 6, 6) * sample.pixels[0]).sum(0).numpy()
    assert infidelity(contributions, sample.pixels, linear, 0, Sizes(fill="black"), Run()) < 1e-9  # float32, squared
    assert infidelity(np.zeros((6, 6)), sample.pixels, linear, 0, Sizes(fill="black"), Run()) == 1


def test_the_relative_change_of_a_map_of_zeros():
    assert relative_change(np.zeros(4), np.zeros(4)) == 0 and relative_change(np.zeros(4), np.ones(4)) == 1
    assert relative_change(np.array([3.0, 4.0]), np.array([3.0, 14.0])) == 2


# Scrambled weights


@pytest.mark.parametrize("seed", [0, 1])
def test_the_rank_correlation_agrees_with_scipy_also_where_values_are_equal(seed):
    from scipy.stats import spearmanr

    first, second = np.random.default_rng(seed).normal(size=(2, 9, 11)).round(1)
    assert rank_correlation(first, second) == pytest.approx(spearmanr(abs(first).ravel(), abs(second).ravel()).statistic, abs=1e-12)


def test_a_map_without_differences_is_like_another_such_map_and_like_nothing_else():
    flat, other = np.zeros((3, 3)), np.arange(9.0).reshape(3, 3)
    assert (rank_correlation(flat, flat + 2), rank_correlation(flat, other), rank_correlation(other, -other)) == pytest.approx((1, 0, 1))


@pytest.mark.parametrize("name", ["cnn", "transformer", "one_channel"])
def test_each_stage_keeps_the_numbers_of_every_layer_and_puts_those_of_the_last_ones_elsewhere(tiny_models, name):
    model = tiny_models[name]
    before = {key: value.clone() for key, value in model.network.named_parameters()}
    changed = []
    for stage in scrambled(model, sample_for(model).pixels, 4, seed=0):
        after = dict(stage.model.network.named_parameters())
        assert all(torch.equal(after[key].flatten().sort().values, value.flatten().sort().values) for key, value in before.items())
        changed.append({key.rpartition(".")[0] for key, value in before.items() if not torch.equal(after[key], value)})
    assert changed[0] == {model.head} and stage.count == stage.of
    assert all(fewer < more for fewer, more in zip(changed, changed[1:]))
    assert {key.rpartition(".")[0] for key, value in before.items() if value.unique().numel() > 1} == changed[-1]
    assert all(torch.equal(value, before[key]) for key, value in model.network.named_parameters())


def test_scrambling_leaves_a_batch_norm_the_mean_of_what_it_has_kept(tiny_models):
    model = tiny_models["cnn"]
    norm = next(name for name, module in model.network.named_modules() if isinstance(module, nn.BatchNorm2d))
    *_, last = scrambled(model, sample_for(model).pixels, 2, seed=0)
    expected = model.module(norm).running_var.mean()
    assert torch.allclose(last.model.module(norm).running_var, expected)


def guided(sample, model, run, *, target):
    """Guided backpropagation (Springenberg et al. 2015, arXiv:1412.6806): what is negative stops at every ReLU on the way back."""
    run.check()
    pixels = sample.pixels.clone().requires_grad_()
    relus = [module for module in model.network.modules() if isinstance(module, nn.ReLU)]
    handles = [module.register_full_backward_hook(lambda _module, gradients, _: (gradients[0].clamp(min=0),)) for module in relus]
    try:
        with torch.enable_grad():
            return Heatmap(gradient_at(model.logits(pixels)[0, target], pixels)[0].abs().amax(0))
    finally:
        for handle in handles:
            handle.remove()


def likenesses(model, samples) -> dict[str, list[Readings]]:
    """How Grad-CAM and guided backpropagation read on each picture when the weights are scrambled."""
    methods = {
        "grad_cam": CATALOGUE["grad_cam"],
        "guided": replace(CATALOGUE["saliency"], function=guided, params=(CATALOGUE["saliency"].param("target"),)),
    }
    found = {}
    for name, method in methods.items():
        found[name] = []
        for sample in samples:
            question = Question(method, {"target": model.target(None, sample.pixels)})
            map_ = question.answer(sample, model, Run())
            found[name].append(Readings(map_, scrambling(question, map_, sample, model, Sizes(), Run())))
    return found


def assert_guided_backpropagation_is_flagged_and_grad_cam_is_not(model, samples) -> None:
    found = likenesses(model, samples)
    assert [likeness(known) for known in found["guided"] if not flagged(known)] == []
    assert [likeness(known) for known in found["grad_cam"] if flagged(known)] == []


def test_on_the_bundled_pictures_guided_backpropagation_is_flagged_and_grad_cam_is_not():
    from ui.samples import photographs

    model = model_zoo.load("bundled/imagenette")
    samples = [Sample.from_image(Image.open(entry.path).convert("RGB"), model, entry.title) for entry in photographs()]
    assert_guided_backpropagation_is_flagged_and_grad_cam_is_not(model, samples)


def test_on_ten_photographs_of_imagenette_guided_backpropagation_is_flagged_and_grad_cam_is_not(shared_folder):
    archive = shared_folder / "data" / "imagenette2-160.tar.gz"
    if not archive.is_file():
        pytest.skip("there is no imagenette2-160.tar.gz in ../shared/data")
    model, samples = model_zoo.load("bundled/imagenette"), {}
    with tarfile.open(archive) as photographs:
        for member in photographs:
            kind = member.name.split("/")[-2] if member.name.endswith(".JPEG") and "/val/" in member.name else ""
            if kind and kind not in samples:
                image = Image.open(io.BytesIO(photographs.extractfile(member).read())).convert("RGB")
                samples[kind] = Sample.from_image(image, model, member.name)
            if len(samples) == 10:
                break
    assert_guided_backpropagation_is_flagged_and_grad_cam_is_not(model, samples.values())


# Input shift


def test_the_shifted_network_gives_the_same_logits_for_shifted_pixels(tiny_model):
    pixels = sample_for(tiny_model).pixels
    other = shifted(tiny_model, -0.5)
    assert torch.allclose(other.logits(pixels - 0.5), tiny_model.logits(pixels), atol=1e-5)  # two more roundings per pixel
    assert not torch.allclose(tiny_model.logits(pixels - 0.5), tiny_model.logits(pixels), atol=1e-3)


def test_a_gradient_does_not_see_the_shift_and_gradient_times_input_does(tiny_models):
    model, other = tiny_models["cnn"], shifted(tiny_models["cnn"], -0.5)
    sample = sample_for(model)
    moved = replace(sample, pixels=sample.pixels - 0.5)
    likenesses = {}
    for name in ("saliency", "input_x_gradient"):
        ours, theirs = techniques.run(name, sample, model, target=1), CATALOGUE[name].function(moved, other, Run(), target=1)
        likenesses[name] = rank_correlation(map_of(ours).values, map_of(theirs).values.numpy())
    assert likenesses["saliency"] > 0.9999  # rounding may swap neighbours
    assert likenesses["input_x_gradient"] < 0.9


# The whole


def test_all_readings_come_one_after_the_other_and_each_keeps_what_was_known(tiny_models):
    model = tiny_models["cnn"]
    sample = sample_for(model)
    steps = list(readings(Question.about("saliency", target=0), sample, model, 0, tuple(READINGS), Sizes(), Run()))
    assert [[name for name in READINGS if getattr(known, name) is not None] for known in steps] == [list(READINGS)[:count] for count in range(6)]


def known_with(stages: list[float]) -> Readings:
    maps = (Heatmap(np.eye(2)),) * len(stages)
    counts = tuple(range(1, 10, 4))[: len(stages)]
    return Readings(Heatmap(np.eye(2)), Scrambling(tuple(stages), ("fc",) * len(stages), counts, 9, maps))


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([0.9, 0.6], "barely changes when the weights are scrambled"), ([0.9, 0.4, 0.1], "barely changes when the weights are scrambled"),
        ([0.6, 0.3], "Part of X stays"), ([0.5, -0.2, 0.9], "as it should"),
    ],
)
def test_the_sentence_says_in_plain_words_what_scrambling_does(stages, said):
    assert said in verdict("X", known_with(stages))
    assert ("do not trust it" in verdict("X", known_with(stages))) == flagged(known_with(stages))


def test_the_sentence_warns_of_a_fill_that_the_network_still_recognises(tiny_models):
    line = np.linspace(0.9, 0.8, 5)
    told = verdict("X", replace(known_with([0.0]), curves=Curves(*[line] * 6)))
    assert "still 80.0 %" in told and "marks" not in told


def test_a_method_that_does_not_fit_is_replaced_by_one_that_does_and_the_sentence_says_so(linear):
    answer = techniques.run("trust", sample_for(linear), linear, method="grad_cam")
    assert answer.note.text.startswith("Grad-CAM does not work on this model: no layer")
    assert answer.note.caption.startswith("Saliency")


def test_what_is_not_asked_for_is_not_measured(tiny_models):
    answer = techniques.run("trust", sample_for(tiny_models["cnn"]), tiny_models["cnn"], measure=["noise"])
    assert answer.deletion_and_insertion is None and answer.scrambled_weights is None
    assert [row[0] for row in answer.numbers.rows] == ["largest relative change by noise"]


def test_the_map_that_is_measured_has_the_methods_own_settings(tiny_models):
    model = tiny_models["cnn"]
    sample = sample_for(model)
    settings = {"method": "grad_cam", "measure": ["noise"], "target": 1}
    answer = techniques.base.execute(trust_in({"signed": True}), sample, model, settings)
    expected = map_of(techniques.run("grad_cam", sample, model, target=1, signed=True)).values
    assert answer.maps.items[0].signed and np.allclose(answer.maps.items[0].values, expected / np.abs(expected).max(), atol=1e-6)


def test_a_wrong_setting_of_the_method_is_a_fault_of_the_person_who_gave_it(tiny_models):
    model = tiny_models["cnn"]
    with pytest.raises(ParameterError, match="Signed: received"):
        techniques.base.execute(trust_in({"signed": "maybe"}), sample_for(model), model, {"method": "grad_cam"})
    with pytest.raises(IncompatibleModel, match="has no places"):
        techniques.run("trust", sample_for(model), model, method="grad_cam", layer=model.head)
