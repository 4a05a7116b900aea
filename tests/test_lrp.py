"""Layer-wise relevance propagation: the formulas one connection at a time, agreement with zennit, nothing lost in any family of
timm, other ways to write the same network, nothing left behind, photographs."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Cancelled, IncompatibleModel, Run, execute
from techniques.base.relevance import relevance_of
from techniques.base.relevance_rules import Rules
from tests.attack_cases import squeezenet_and_photographs
from tests.relevance_cases import box_shares, handed_back, in_plain_numbers, model_of, plain, sample_for, tiny, with_statistics
from tests.timm_models import build, pictures

RULES = ["epsilon", "gamma", "z-plus", "alpha2-beta1"]


def close(found, expected, tolerance: float = 2e-4) -> bool:
    """Whether two maps differ by at most this share of the largest value. Relevance is divided by sums in which much cancels: in
    float32 a hundredth of a percent is what remains after a few layers."""
    found, expected = (np.asarray(values, dtype=np.float64).squeeze() for values in (found, expected))
    return np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def lrp_of(model, target=1, seed: int = 0, **rules):
    return relevance_of(model, sample_for(model, seed).pixels, target, Rules(**rules), Run())


# The formulas


def share_of(rule: str, epsilon: float = 0.0):
    """Bach et al. 2015 and Montavon et al. 2019, for the unit j of one layer: the share of each input."""

    def shares(layer, unit: int) -> list[float]:
        parts = [a * w for a, w in zip(layer.inputs, layer.weights[unit])]
        bias = layer.biases[unit]
        output = sum(parts) + bias
        above = sum(max(part, 0) for part in parts) + max(bias, 0)
        below = sum(min(part, 0) for part in parts) + min(bias, 0)
        if rule == "epsilon":
            sums = [sum(a * w for a, w in zip(layer.inputs, row)) + b for row, b in zip(layer.weights, layer.biases)]
            stabiliser = epsilon * (sum(z * z for z in sums) / len(sums)) ** 0.5
            return [part / (output + (stabiliser if output > 0 else -stabiliser)) for part in parts]
        if rule == "gamma":
            sign = 1 if output > 0 else -1
            whole = output + 0.25 * (above if output > 0 else below)
            return [(part + 0.25 * (part if part * sign > 0 else 0)) / whole for part in parts]
        if rule == "z-plus":
            return [max(part, 0) / above for part in parts]
        return [2 * max(part, 0) / above - min(part, 0) / below for part in parts]

    return shares


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_gives_the_numbers_of_its_formula_one_connection_at_a_time(rule):
    model = tiny()
    sample = sample_for(model)
    answer = techniques.run("lrp", sample, model, target=2, rule=rule, dense="as the others", first="as the others")
    expected = handed_back(in_plain_numbers(model, sample.pixels), 2, share_of(rule))
    assert close(answer.lrp.values.ravel(), expected)


@pytest.mark.parametrize("epsilon", [10, 50])
def test_epsilon_is_a_share_of_the_size_of_what_a_layer_puts_out(epsilon):
    model = tiny()
    sample = sample_for(model)
    answer = techniques.run("lrp", sample, model, target=0, rule="epsilon", first="as the others", epsilon=epsilon)
    assert close(answer.lrp.values.ravel(), handed_back(in_plain_numbers(model, sample.pixels), 0, share_of("epsilon", epsilon / 100)))


def test_by_default_convolutions_follow_gamma_dense_layers_proportion_and_pixels_their_distance_from_black_and_white():
    model = tiny()
    sample = sample_for(model)
    layers = in_plain_numbers(model, sample.pixels)
    expected = handed_back(layers, 1, share_of("epsilon"), first=box_shares)  # the only convolution is the first layer
    assert close(techniques.run("lrp", sample, model, target=1).lrp.values.ravel(), expected)


# Agreement with zennit


def by_zennit(model, pixels, target: int, rule: str, first: str, canonizer) -> torch.Tensor:
    zennit_rules = pytest.importorskip("zennit.rules")
    from zennit.attribution import Gradient
    from zennit.composites import SpecialFirstLayerMapComposite, layer_map_base
    from zennit.types import Convolution

    small = 1e-9  # its stabiliser; we need none
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (model.preprocessing.mean, model.preprocessing.std))
    rules = {
        "epsilon": zennit_rules.Epsilon(small), "gamma": zennit_rules.Gamma(0.25, small), "z-plus": zennit_rules.ZPlus(small),
        "alpha2-beta1": zennit_rules.AlphaBeta(2, 1, small),
    }  # fmt: skip
    of_pixels = {"box": zennit_rules.ZBox((0 - mean) / std, (1 - mean) / std, small), "flat": zennit_rules.Flat(small)}.get(first, rules[rule])
    layers = layer_map_base(small) + [(Convolution, rules[rule]), (nn.Linear, rules["epsilon"])]
    composite = SpecialFirstLayerMapComposite(layers, [(Convolution, of_pixels)], canonizers=[canonizer])
    with Gradient(copy.deepcopy(model.network), composite) as attributor:
        return attributor((pixels - mean) / std, lambda logits: torch.eye(logits.shape[1])[[target]] * logits)[1].detach()


@pytest.mark.parametrize("first", ["box", "flat", "as the others"])
@pytest.mark.parametrize("rule", RULES)
def test_agrees_with_zennit_on_a_plain_network(rule, first):
    canonizers = pytest.importorskip("zennit.torchvision")
    model = plain()
    expected = by_zennit(model, sample_for(model).pixels, 1, rule, first, canonizers.VGGCanonizer())
    assert close(lrp_of(model, places=rule, first=first).pixels, expected, 5e-5)


@pytest.mark.parametrize(("rule", "first"), [("gamma", "box"), ("alpha2-beta1", "flat"), ("z-plus", "as the others")])
def test_agrees_with_zennit_on_a_residual_network_that_it_knows(rule, first):
    canonizers = pytest.importorskip("zennit.torchvision")
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model = model_of(with_statistics(resnet18(num_classes=5)), 64)
    expected = by_zennit(model, sample_for(model).pixels, 1, rule, first, canonizers.ResNetCanonizer())
    assert close(lrp_of(model, places=rule, first=first).pixels, expected)


# Conservation


def lost_share(relevance) -> float:
    """What is missing, as a share of all that was handed back or kept, whatever its sign."""
    return abs(relevance.lost) / float(relevance.pixels.abs().sum() + relevance.kept.abs().sum())


@pytest.mark.parametrize("first", ["box", "flat", "as the others"])
@pytest.mark.parametrize("rule", RULES)
def test_pixels_and_what_was_kept_add_up_to_the_logit(tiny_model, rule, first):
    relevance = lrp_of(tiny_model, places=rule, dense=rule, first=first, epsilon=20)
    assert lost_share(relevance) < 1e-5  # sums of float32 numbers


@pytest.mark.parametrize("rule", RULES)
def test_without_biases_all_of_the_logit_arrives_in_the_pixels(rule):
    model = tiny(biases=0.0)
    relevance = lrp_of(model, places=rule, dense=rule)
    assert float(relevance.pixels.sum()) == pytest.approx(relevance.logit, rel=1e-4)


def test_the_curve_begins_at_the_logit_and_ends_at_the_sum_of_the_map(tiny_models):
    model = tiny_models["cnn"]
    sample = sample_for(model)
    answer = techniques.run("lrp", sample, model, target=3)
    line = answer.conservation.lines["still on its way"]
    assert line[0] == pytest.approx(float(model.logits(sample.pixels)[0, 3]), abs=1e-5)
    assert line[-1] == pytest.approx(answer.lrp.values.sum(), abs=1e-4)
    assert f"{answer.lrp.values.sum():.2f} is in the pixels" in answer.note.text


FAMILIES = [
    "resnet18", "vgg11", "densenet121", "mobilenetv3_small_050", "tf_efficientnetv2_b0", "seresnext26ts", "resnetv2_50", "repvgg_a0", "convnext_atto",
    "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "levit_128s", "cait_xxs24_224",
]  # fmt: skip


@pytest.fixture(scope="module")
def family_models() -> dict:
    return {}


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_is_lost_in_networks_of_timm(name, family_models):
    model = family_models.setdefault(name, build(name))
    pixels = pictures(1, 3, *model.preprocessing.size, seed=5)
    relevance = relevance_of(model, pixels, None, Rules("gamma", "epsilon", "box"), Run())
    assert torch.equal(relevance.logits, model.valid_logits(pixels))
    assert relevance.pixels.isfinite().all() and relevance.pixels.abs().max() > 0
    assert lost_share(relevance) < 1e-4


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_on_transformers_relevance_says_what_covering_a_patch_takes_away(name, family_models):
    """Gradient times input does not: it correlates with -0.2 and 0.6 here."""
    model = family_models.setdefault(name, build(name))
    correlations = []
    for seed in range(4):
        pixels = sample_for(model, seed).pixels
        patches = [(slice(None), slice(row, row + 16), slice(column, column + 16)) for row in range(0, 64, 16) for column in range(0, 64, 16)]
        covered = pixels.repeat(len(patches), 1, 1, 1)
        for picture, patch in zip(covered, patches):
            picture[patch] = torch.tensor(model.preprocessing.mean).view(3, 1, 1)
        drops = (model.valid_logits(pixels) - model.valid_logits(covered))[:, 0]
        relevance = lrp_of(model, 0, seed).pixels[0]
        correlations.append(np.corrcoef([float(relevance[patch].sum()) for patch in patches], drops)[0, 1])
    assert np.mean(correlations) > 0.7


# The same network, written in another way


class Written(nn.Module):
    """A residual block with a gate, once out of modules and once as people also write it; the same weights, the same numbers."""

    def __init__(self, carelessly: bool):
        super().__init__()
        self.carelessly = carelessly
        torch.manual_seed(3)
        self.stem, self.inner = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm, self.squeeze, self.head = with_statistics(nn.Sequential(nn.BatchNorm2d(6)))[0], nn.Conv2d(6, 6, 1), nn.Linear(6, 5)
        self.silu, self.sigmoid = nn.SiLU(), nn.Sigmoid()

    def forward(self, pixels):
        return self.careless(pixels) if self.carelessly else self.careful(pixels)

    def careful(self, pixels):
        stem = self.silu(self.stem(pixels))
        inner = self.silu(self.norm(self.inner(stem)))
        gate = self.sigmoid(self.squeeze(inner.mean((2, 3), keepdim=True)))
        return self.head((inner * gate + stem).mean((2, 3)))

    def careless(self, pixels):
        stem = self.stem(input=pixels)
        functional.silu(stem, inplace=True)
        inner = functional.batch_norm(self.inner(stem), self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias)
        inner = torch.nn.functional.silu(inner)
        gate = torch.sigmoid(self.squeeze(functional.adaptive_avg_pool2d(inner, 1))).expand_as(inner)
        inner *= gate
        inner.add_(stem)
        return functional.linear(inner.flatten(2).mean(-1), self.head.weight, self.head.bias)


@pytest.mark.parametrize("rule", RULES)
def test_functions_in_place_and_without_modules_give_the_map_of_the_same_network_out_of_modules(rule):
    carefully, carelessly = (lrp_of(model_of(Written(way), 16), places=rule, first="box") for way in (False, True))
    assert close(carelessly.pixels, carefully.pixels, 1e-5)
    assert lost_share(carelessly) < 1e-5


def test_a_layer_that_is_used_twice_counts_as_two():
    torch.manual_seed(0)
    body, relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()
    head = [nn.Flatten(), nn.Linear(108, 4)]
    once = model_of(nn.Sequential(body, relu, copy.deepcopy(body), nn.ReLU(), *head), 6)
    twice = model_of(nn.Sequential(body, relu, body, relu, *head), 6)
    assert torch.equal(lrp_of(once, places="gamma").pixels, lrp_of(twice, places="gamma").pixels)


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_norm_counts_as_part_of_the_layer_before_it(rule):
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 6, 3, bias=False), with_statistics(nn.Sequential(nn.BatchNorm2d(6)))[0]
    merged = nn.Conv2d(3, 6, 3)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    with torch.no_grad():
        merged.weight.copy_(convolution.weight * scale.view(-1, 1, 1, 1))
        merged.bias.copy_(norm.bias - norm.running_mean * scale)
    rest = [nn.ReLU(), nn.Flatten(), nn.Linear(96, 4)]
    apart, together = model_of(nn.Sequential(convolution, norm, *rest), 6), model_of(nn.Sequential(merged, *rest), 6)
    assert close(lrp_of(apart, places=rule).pixels, lrp_of(together, places=rule).pixels, 1e-5)


def test_a_gate_gets_nothing():
    """Where one number per channel scales the channels, the map is that of a network with these numbers for good."""

    class Gated(nn.Module):
        def __init__(self, fixed=None):
            super().__init__()
            torch.manual_seed(0)
            self.stem, self.gate, self.head, self.fixed = nn.Conv2d(3, 4, 3), nn.Linear(4, 4), nn.Linear(4 * 16, 3), fixed

        def forward(self, pixels):
            maps = self.stem(pixels).relu()
            self.seen = self.gate(maps.mean((2, 3))).sigmoid()[..., None, None] if self.fixed is None else self.fixed
            return self.head((maps * self.seen).flatten(1))

    gated = model_of(Gated(), 6)
    gated.logits(sample_for(gated).pixels)
    fixed = model_of(Gated(gated.network.seen), 6)
    assert close(lrp_of(gated, places="gamma").pixels, lrp_of(fixed, places="gamma").pixels, 1e-6)


def test_nothing_is_lost_in_torchs_own_attention():
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    network = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=48, num_classes=5)
    network.heads.head.weight.data.normal_()
    model = model_of(network, 32)
    relevance = lrp_of(model)
    assert relevance.pixels.abs().max() > 0 and lost_share(relevance) < 1e-5


def test_a_recurrent_network_is_told_which_module_has_no_rule():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.head = nn.LSTM(24, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, pixels):
            return self.head(self.rows(pixels.transpose(1, 2).flatten(2))[0][:, -1])

    model = model_of(Recurrent(), 8)
    with pytest.raises(IncompatibleModel, match="“rows” is a LSTM, for which there is no rule"):
        techniques.run("lrp", sample_for(model), model)


# Nothing left behind


class Breaking(nn.Module):
    def forward(self, values):
        if self.broken:
            raise RuntimeError("a layer that breaks")
        return values

    broken = False


@pytest.mark.parametrize("end", ["success", "error", "stop"])
def test_however_it_ends_the_network_and_later_calls_are_as_before(end):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), Breaking(), nn.Flatten(), nn.Linear(64, 3))
    model = wrap(network, key="breaking", preprocessing=Preprocessing(3, (6, 6)))
    sample, technique = sample_for(model), techniques.catalogue()["lrp"]
    before = {name: (value.clone(), value._version) for name, value in network.state_dict(keep_vars=True).items()}
    attributes = {name: set(vars(module)) for name, module in network.named_modules()}
    if end == "error":
        network[3].broken = True
        attributes["3"].add("broken")
        with pytest.raises(RuntimeError, match="a layer that breaks"):
            execute(technique, sample, model)
    elif end == "stop":
        with pytest.raises(Cancelled):
            execute(technique, sample, model, run=Run(stop=StopInside()))
    else:
        execute(technique, sample, model)
    after = network.state_dict(keep_vars=True)
    assert all(torch.equal(value, after[name]) and version == after[name]._version for name, (value, version) in before.items())
    assert {name: set(vars(module)) for name, module in network.named_modules()} == attributes
    assert not any(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks for module in network.modules())
    assert not vars(network[0](sample.pixels))  # a result of a call that was still watched would carry its layer with it


class StopInside(threading.Event):
    """Stop is pressed while the network runs: the second time anybody asks."""

    asked = 0

    def is_set(self) -> bool:
        self.asked += 1
        return self.asked > 1


# Photographs


def test_what_it_marks_on_photographs_carries_the_decision(shared_folder):
    """Of 100 squares of SqueezeNet's pictures the fifteen with most relevance are painted over in the mean colour, or fifteen others."""
    model, samples = squeezenet_and_photographs(shared_folder)
    losses = {"marked": [], "others": []}
    for sample in samples:
        target = model.target(None, sample.pixels)
        relevance = techniques.run("lrp", sample, model, target=target).lrp.values
        order = relevance.reshape(10, 16, 10, 16).sum((1, 3)).ravel().argsort()[::-1]
        before = float(model.logits(sample.pixels)[0, target])
        for name, squares in {"marked": order[:15], "others": np.random.default_rng(0).permutation(order[15:])[:15]}.items():
            covered = sample.pixels.clone()
            for row, column in zip(*np.divmod(squares, 10)):
                covered[..., row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = covered.mean((2, 3), keepdim=True)
            losses[name].append(before - float(model.logits(covered)[0, target]))
    assert np.mean(losses["marked"]) > 2 * np.mean(losses["others"])
