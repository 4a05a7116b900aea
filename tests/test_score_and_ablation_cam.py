"""Score-CAM and Ablation-CAM: slow second implementations, agreement with pytorch-grad-cam and torchcam, and what they may skip."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

import techniques
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from techniques import ablation_cam, score_cam
from techniques.base import Cancelled, IncompatibleModel, Run, execute
from techniques.base.class_maps import maps_of_layer
from tests.cam_cases import LABELS, enlarge, far, of_pytorch_grad_cam, of_torchcam, sample_for, small_resnet
from tests.timm_models import build

CLOSE = 1e-4  # of the largest value: the same sums in float32 in another order


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return small_resnet()


@pytest.fixture
def in_float32(monkeypatch):
    monkeypatch.setattr(score_cam, "multiplies_bfloat16", lambda device: False)


# Score-CAM


def slow_score_cam(model: LoadedModel, layer: str, sample, target: int, background: float) -> np.ndarray:
    """Algorithm 1 of the paper, one channel after the other."""
    maps, _ = maps_of_layer(sample, model, model.layer(layer))
    scores = []
    for channel in maps:
        stencil = torch.as_tensor(enlarge(channel, model))
        size = stencil.max() - stencil.min()
        stencil = (stencil - stencil.min()) / size if size > 0 else torch.zeros_like(stencil)
        picture = background + stencil * (sample.pixels - background)
        with torch.no_grad():
            scores.append(model.logits(picture)[0, target] - model.logits(torch.full_like(picture, background))[0, target])
    weights = torch.stack(scores).softmax(0)
    return enlarge(torch.einsum("k,khw->hw", weights, maps).relu(), model)


@pytest.mark.parametrize(("fill", "background"), [("grey", 0.5), ("black", 0.0)])
def test_score_cam_agrees_with_a_slow_second_implementation(model, in_float32, fill, background):
    sample = sample_for(model)
    found = techniques.run("score_cam", sample, model, target=3, layer="layer2", fill=fill).score_cam.cell("d").values
    assert far(found, slow_score_cam(model, "layer2", sample, 3, background)) < CLOSE


def test_score_cam_agrees_with_torchcam(model, in_float32):
    """It scales the small maps, not the enlarged ones; where their extremes lie between pixels its stencils are a little paler."""
    library = pytest.importorskip("torchcam.methods")
    sample = sample_for(model)
    found = techniques.run("score_cam", sample, model, target=3, layer="layer2", fill="black").score_cam.cell("d").values
    assert far(found, of_torchcam(library.ScoreCAM, model, "layer2", sample, 3)) < 0.02


def test_score_cam_agrees_with_pytorch_grad_cam(model, in_float32, monkeypatch):
    """It enlarges stencils with their corners aligned; so do ours here."""
    monkeypatch.setattr(score_cam, "enlarged", lambda maps, size: nn.functional.interpolate(maps, size, mode="bilinear", align_corners=True))
    library = pytest.importorskip("pytorch_grad_cam")
    sample = sample_for(model)
    found = techniques.run("score_cam", sample, model, target=3, layer="layer2", fill="black").score_cam.cell("d").values
    assert far(found, of_pytorch_grad_cam(library.ScoreCAM, model, "layer2", sample, 3).clip(0)) < CLOSE


def test_a_channel_without_variation_lets_nothing_through():
    """Its picture is the filling alone: two of three channels here have the weight of the filling."""
    network = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    with torch.no_grad():
        network[0].weight.zero_()[0, 0] = 1.0
        network[4].weight.copy_(torch.tensor([[2.0, 0, 0], [0, 1, 1]]))
    model = wrap(network, key="dead", preprocessing=Preprocessing(3, (8, 8), mean=(0.0,) * 3, std=(1.0,) * 3))
    sample = sample_for(model)
    found = techniques.run("score_cam", sample, model, target=0, layer="1", fill="black").score_cam.cell("class 0").values
    assert far(found, slow_score_cam(model, "1", sample, 0, 0.0)) < CLOSE


def test_fewer_channels_are_those_that_vary_most(model, in_float32):
    sample = sample_for(model)
    maps, _ = maps_of_layer(sample, model, model.layer("layer2"))
    order = (maps.amax((1, 2)) - maps.amin((1, 2))).argsort(descending=True)[:16]
    seen = []
    handle = model.network.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    found = techniques.run("score_cam", sample, model, target=3, layer="layer2", channels=16).score_cam.cell("d").values
    handle.remove()
    assert sum(seen) == 2 + 16  # the picture, the filling, and one for each channel
    kept = torch.zeros(len(maps), dtype=torch.bool).index_fill(0, order, True)
    span = enlarge(maps[kept].sum(0), model)
    assert (found[span == 0] == 0).all()


def test_in_a_layer_with_values_below_zero_maps_count_from_their_smallest_value_up(tiny_models):
    model = tiny_models["transformer"]
    sample = sample_for(model)
    maps, _ = maps_of_layer(sample, model, model.layer())
    assert maps.min() < 0
    cells = [cell for _, cell in techniques.run("score_cam", sample, model).score_cam.leaves()]
    assert all(cell.values.min() >= 0 and cell.values.max() > 0 for cell in cells)


def rounded(bits: int):
    """Logits as a processor that halves numbers gives them: rounded to so many bits after the leading one."""

    def look(self, part, halved=False):
        plain(self, part, False)
        if halved:
            mantissa, exponent = torch.frexp(self.logits[part])
            self.logits[part] = torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent)

    plain = score_cam.Scores.look
    return look


@pytest.mark.parametrize("spread", [0.3, 6.0])
def test_what_bfloat16_changes_stays_below_a_percent_of_the_map(monkeypatch, spread):
    """With nearly equal weights errors average out; where few channels take all of the weight, these are looked at again."""
    model = small_resnet()
    with torch.no_grad():
        model.network.fc.weight.mul_(spread / 0.3)
    sample = sample_for(model)
    monkeypatch.setattr(score_cam, "multiplies_bfloat16", lambda device: False)
    expected = techniques.run("score_cam", sample, model, layer="layer3").score_cam
    monkeypatch.setattr(score_cam, "multiplies_bfloat16", lambda device: True)
    monkeypatch.setattr(score_cam.Scores, "look", rounded(8))
    found = techniques.run("score_cam", sample, model, layer="layer3").score_cam
    for (_, first), (_, second) in zip(found.leaves(), expected.leaves()):
        assert far(first.values, second.values) < 0.01


# Ablation-CAM


def slow_ablation_cam(model: LoadedModel, layer: str, sample, target: int) -> np.ndarray:
    """One whole pass per channel, with that channel at zero."""
    chosen = model.layer(layer)
    maps, logits = maps_of_layer(sample, model, chosen)
    total = torch.zeros(maps.shape[1:])
    for channel in range(chosen.channels):

        def without(_module, _inputs, output, channel=channel):
            output = output.clone()
            if chosen.kind == "tokens":
                output[:, chosen.prefix_tokens :, channel] = 0
            elif chosen.channels_last:
                output[..., channel] = 0
            else:
                output[:, channel] = 0
            return output

        handle = model.module(layer).register_forward_hook(without)
        with torch.no_grad():
            total += (logits - model.logits(sample.pixels))[0, target] * maps[channel]
        handle.remove()
    return enlarge(total, model)


@pytest.mark.parametrize("layer", ["layer4", "layer3.0.bn2", "layer2.0.conv1"])
def test_ablation_cam_agrees_with_a_slow_second_implementation(model, layer):
    sample = sample_for(model)
    found = techniques.run("ablation_cam", sample, model, target=3, layer=layer, signed=True).ablation_cam.cell("d").values
    assert far(found, slow_ablation_cam(model, layer, sample, 3)) < 1e-3  # differences of nearly equal float32 logits


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "pit_ti_224", "densenet121", "mambaout_femto"])
def test_ablation_cam_agrees_on_tokens_dense_blocks_and_channels_that_come_last(name):
    """Networks that join what goes on with what went around the layer, or know their batch size beforehand."""
    model = build(name)
    layer = {"densenet121": "features.denseblock1.denselayer2.norm1", "pit_ti_224": "transformers.0.blocks.1.norm1", "mambaout_femto": "stages.0"}
    layer = layer.get(name, model.default_layer)
    sample = sample_for(model)
    found = techniques.run("ablation_cam", sample, model, target=2, layer=layer, signed=True).ablation_cam.cell("class 2").values
    assert far(found, slow_ablation_cam(model, layer, sample, 2)) < 0.01  # differences of nearly equal float32 logits


def test_ablation_cam_agrees_with_pytorch_grad_cam_but_for_the_logit_it_divides_by(model):
    library = pytest.importorskip("pytorch_grad_cam")
    sample = sample_for(model)
    logit = float(model.logits(sample.pixels)[0, 3])
    found = techniques.run("ablation_cam", sample, model, target=3, layer="layer3", signed=True).ablation_cam.cell("d").values
    assert far(found / logit, of_pytorch_grad_cam(library.AblationCAM, model, "layer3", sample, 3)) < 1e-3


def pictures_through(model: LoadedModel, layer: str, *names: str) -> dict[str, int]:
    """How many pictures each module is given while Ablation-CAM runs; a version that vmap keeps apart is not counted."""
    seen = dict.fromkeys(names, 0)
    handles = []
    for name in names:

        def count(_module, inputs, name=name):
            seen[name] += len(inputs[0])

        handles.append(model.module(name).register_forward_pre_hook(count))
    techniques.run("ablation_cam", sample_for(model), model, layer=layer)
    for handle in handles:
        handle.remove()
    return seen


def test_what_stands_before_the_layer_runs_once_per_batch_of_channels(model):
    passes = pictures_through(model, "layer4", "conv1")["conv1"]
    assert passes <= 5  # 96 channels; one pass for the maps, two whole ones and one to compare, and one for each batch


class AddsInPlace(nn.Module):
    """Adds what the layer puts out to what went around it, in the memory of the latter: nothing that vmap can keep apart."""

    def __init__(self):
        super().__init__()
        self.around, self.layer = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))

    def forward(self, pixels):
        around = self.around(pixels)
        around += self.layer(pixels).relu()
        return self.head(around)


def test_a_network_whose_end_cannot_run_alone_takes_whole_passes():
    torch.manual_seed(0)
    model = wrap(AddsInPlace(), key="in-place", preprocessing=Preprocessing(3, (8, 8)))
    sample = sample_for(model)
    found = techniques.run("ablation_cam", sample, model, target=1, layer="layer", signed=True).ablation_cam.cell("class 1").values
    assert far(found, slow_ablation_cam(model, "layer", sample, 1)) < 1e-3
    assert pictures_through(model, "layer", "around")["around"] >= 6


def test_an_end_that_answers_otherwise_when_it_runs_alone_is_found_out(model, monkeypatch):
    real, sample = ablation_cam.logits_with, sample_for(model)
    monkeypatch.setattr(ablation_cam, "logits_with", lambda model, layer, pixels, change: real(model, layer, pixels, change) * len(pixels))
    way, size = ablation_cam._way(model, model.layer("layer4"), sample.pixels, torch.tensor([0, 1]))
    assert way.__name__ == "whole" and size == ablation_cam.batch_size(model)


def test_where_a_layer_is_used_twice_its_last_use_is_changed():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 4)

        def forward(self, pixels):
            return self.head(self.layer(self.layer(pixels).relu()).relu().mean((2, 3)))

    torch.manual_seed(0)
    model = wrap(Twice(), key="twice", preprocessing=Preprocessing(3, (8, 8)))
    sample = sample_for(model)
    assert model.layer("layer").calls == 2
    maps, logits = maps_of_layer(sample, model, model.layer("layer"))
    found = techniques.run("ablation_cam", sample, model, target=1, layer="layer", signed=True).ablation_cam.cell("class 1").values
    drops = [float(model.network.head.weight[1, channel] * maps[channel].relu().mean()) for channel in range(3)]
    expected = sum(drop * channel for drop, channel in zip(drops, maps))
    assert far(found, enlarge(expected, model)) < 1e-3


def test_a_layer_that_moves_no_logit_is_refused(tiny_models):
    model = tiny_models["transformer"]
    with pytest.raises(IncompatibleModel, match="No place in the layer “norm” moves a logit here"):
        techniques.run("ablation_cam", sample_for(model), model, layer="norm")


# Both


@pytest.mark.parametrize("name", ["score_cam", "ablation_cam"])
def test_a_picture_is_shown_after_the_first_batch_and_stop_works_between_batches(name, model, monkeypatch):
    """The first pictures are made of the strongest channels; the last one shown is not the first."""
    for module in (score_cam, ablation_cam):
        monkeypatch.setattr(module, "batch_size", lambda *arguments, **named: 8)
    technique, stop, shown = techniques.find(name), threading.Event(), []

    def show(answer) -> None:
        shown.append(answer)
        if len(shown) == 3:
            stop.set()

    with pytest.raises(Cancelled):
        execute(technique, sample_for(model), model, {"layer": "layer2"}, Run(show=show, stop=stop))
    first, _, third = (next(answer[0].leaves())[1].values for answer in shown)
    assert first.any() and not np.array_equal(first, third)


@pytest.mark.parametrize("name", ["score_cam", "ablation_cam"])
def test_the_numbers_do_not_depend_on_how_many_go_through_at_once(name, model, monkeypatch, in_float32):
    expected = techniques.run(name, sample_for(model), model, layer="layer2")[0]
    for module in (score_cam, ablation_cam):
        monkeypatch.setattr(module, "batch_size", lambda *arguments, **named: 5)
    found = techniques.run(name, sample_for(model), model, layer="layer2")[0]
    for (_, first), (_, second) in zip(found.leaves(), expected.leaves()):
        assert far(first.values, second.values) < CLOSE


@pytest.mark.parametrize("name", ["score_cam", "ablation_cam"])
def test_all_classes_come_from_the_same_passes(name, model, in_float32):
    answer = techniques.run(name, sample_for(model), model, layer="layer2", target=7)
    assert len(answer[0].cells) >= 5 and next(iter(answer[0].cells)) == LABELS[7]
    assert len({cell.values.tobytes() for _, cell in answer[0].leaves()}) == len(answer[0].cells)
