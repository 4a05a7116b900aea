"""Deep Taylor decomposition: the formulas one connection at a time, agreement with zennit, all of the logit arrives, no sign changes,
the networks it is not made for."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import techniques
from techniques.base import IncompatibleModel
from tests.relevance_cases import box_shares, handed_back, in_plain_numbers, model_of, plain, sample_for, tiny
from tests.timm_models import build, pictures

ROUNDING = 1e-4  # a share of the largest value: sums of float32 numbers that partly cancel, divided by each other


def z_plus_shares(layer, unit: int) -> list[float]:
    """Montavon et al. 2017, equation of the z+ rule: a w+ over their sum, without the bias."""
    parts = [a * max(w, 0) for a, w in zip(layer.inputs, layer.weights[unit])]
    return [part / sum(parts) if sum(parts) else 0.0 for part in parts]


def squared_shares(layer, unit: int) -> list[float]:
    squares = [w * w for w in layer.weights[unit]]
    return [square / sum(squares) for square in squares]


@pytest.fixture(scope="module")
def as_in_the_paper():
    """ReLU, and no bias above zero."""
    return tiny(biases=-0.02)


def target_above_zero(model, sample) -> int:
    target = int(model.logits(sample.pixels)[0].argmax())
    assert float(model.logits(sample.pixels)[0, target]) > 0
    return target


@pytest.mark.parametrize(("pixels", "first"), [("bounded", box_shares), ("unbounded", squared_shares)])
def test_it_gives_the_numbers_of_the_formulas_one_connection_at_a_time(as_in_the_paper, pixels, first):
    sample = sample_for(as_in_the_paper)
    target = target_above_zero(as_in_the_paper, sample)
    answer = techniques.run("deep_taylor", sample, as_in_the_paper, target=target, pixels=pixels)
    expected = np.array(handed_back(in_plain_numbers(as_in_the_paper, sample.pixels), target, z_plus_shares, first))
    assert np.abs(answer.deep_taylor.values.ravel() - expected).max() <= ROUNDING * expected.max()


@pytest.mark.parametrize("pixels", ["bounded", "unbounded"])
def test_without_biases_above_zero_all_of_the_logit_arrives(as_in_the_paper, pixels):
    sample = sample_for(as_in_the_paper)
    target = target_above_zero(as_in_the_paper, sample)
    values = techniques.run("deep_taylor", sample, as_in_the_paper, target=target, pixels=pixels).deep_taylor.values
    assert values.sum() == pytest.approx(float(as_in_the_paper.logits(sample.pixels)[0, target]), rel=1e-5)


def test_agrees_with_zennit_on_a_plain_network():
    rules = pytest.importorskip("zennit.rules")
    from zennit.attribution import Gradient
    from zennit.composites import SpecialFirstLayerMapComposite, layer_map_base
    from zennit.torchvision import VGGCanonizer
    from zennit.types import Convolution, Linear

    model = plain()
    sample = sample_for(model)
    small, options = 1e-9, {"zero_params": "bias"}
    box = rules.ZBox((0 - 0.4) / 0.25, (1 - 0.4) / 0.25, small)
    layers = layer_map_base(small) + [(Linear, rules.ZPlus(small, **options))]
    composite = SpecialFirstLayerMapComposite(layers, [(Convolution, box)], canonizers=[VGGCanonizer()])
    target = target_above_zero(model, sample)
    with Gradient(copy.deepcopy(model.network), composite) as attributor:
        expected = attributor((sample.pixels - 0.4) / 0.25, lambda logits: torch.eye(5)[[target]] * logits)[1].detach()[0].sum(0).numpy()
    values = techniques.run("deep_taylor", sample, model, target=target).deep_taylor.values
    assert np.abs(values - expected).max() <= ROUNDING * expected.max()


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "densenet121", "mobilenetv3_small_050", "tf_efficientnetv2_b0"])
def test_in_networks_of_timm_nothing_is_negative_and_most_of_the_logit_arrives(name):
    """What does not was in units that their bias alone had raised."""
    model = build(name)
    sample = sample_for(model)
    sample = type(sample).from_pixels(pictures(1, 3, *model.preprocessing.size, seed=5)[0], "patches")
    target = target_above_zero(model, sample)
    values = techniques.run("deep_taylor", sample, model, target=target).deep_taylor.values
    assert values.min() >= 0
    assert 0.5 < values.sum() / float(model.logits(sample.pixels)[0, target]) < 1.001


def test_of_a_logit_below_zero_the_size_is_divided_and_the_note_says_so():
    model = plain()
    sample = sample_for(model)
    logits = model.logits(sample.pixels)[0]
    target = int(logits.argmin())
    assert logits[target] < 0
    answer = techniques.run("deep_taylor", sample, model, target=target)
    assert answer.deep_taylor.values.min() >= 0
    assert answer.deep_taylor.values.sum() == pytest.approx(-float(logits[target]), rel=0.05)  # biases have raised some units alone
    assert "It is below zero" in answer.note.text


def test_a_network_with_layer_norms_is_refused_and_told_what_works(tiny_models):
    with pytest.raises(IncompatibleModel, match="its LayerNorm lets relevance change its sign. Layer-wise relevance propagation works on it"):
        techniques.run("deep_taylor", sample_for(tiny_models["transformer"]), tiny_models["transformer"])


def test_a_product_of_two_signals_is_refused_where_it_is_met():
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(64, 3)

        def forward(self, pixels):
            return self.head((self.one(pixels) * self.other(pixels)).flatten(1))

    model = model_of(Product(), 6)
    with pytest.raises(IncompatibleModel, match="a product of two signals"):
        techniques.run("deep_taylor", sample_for(model), model)
    assert np.isfinite(techniques.run("lrp", sample_for(model), model).lrp.values).all()
