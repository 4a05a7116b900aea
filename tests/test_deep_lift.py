"""DeepLIFT: captum's numbers where captum is right, a second implementation where it is not, and maps that add up on
networks of every kind, also where activations are in place, used twice, or gates."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from captum.attr import DeepLift
from torch import nn

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import IncompatibleModel, Run, Sample
from techniques.base.attributions import attribution_maps, completeness
from techniques.base.covering import fill_pixels
from techniques.base.multipliers import multipliers
from tests.timm_models import bring_to_life, pictures

AS_IT_IS = {"mean": (0.0,) * 3, "std": (1.0,) * 3}  # pixels go into the network without normalisation


def wrapped(network: nn.Module, size: int = 12):
    return wrap(network, key="tested", preprocessing=Preprocessing(3, (size, size), **AS_IT_IS))


def sample_for(model, seed: int = 1) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


def error(model, target: int = 0, baseline: str = "black") -> float:
    """How far the map is from adding up, as a share of the difference of the logits."""
    sample = sample_for(model)
    values = techniques.run("deep_lift", sample, model, target=target, baseline=baseline).deep_lift.values
    start = fill_pixels(baseline, sample.pixels)
    difference = float((model.logits(sample.pixels) - model.logits(start))[0, target])
    assert abs(difference) > 1e-3
    return abs(values.sum() - difference) / abs(difference)


class Logits(nn.Module):
    """What captum wants: a module whose submodules it hooks, from pixels to logits."""

    def __init__(self, model):
        super().__init__()
        self.network, self.logits = model.network, model.logits

    def forward(self, pixels):
        return self.logits(pixels)


@pytest.mark.parametrize("name", ["cnn", "single_logit"])
@pytest.mark.parametrize("baseline", ["black", "blur"])
def test_it_agrees_with_captum_where_every_activation_is_a_module_of_its_own(tiny_models, name, baseline):
    model = tiny_models[name]
    sample = sample_for(model)
    start = fill_pixels(baseline, sample.pixels)
    expected = DeepLift(Logits(model), eps=1e-6).attribute(sample.pixels.clone(), start, target=1)[0].sum(0).detach().numpy()
    found = techniques.run("deep_lift", sample, model, target=1, baseline=baseline).deep_lift.values
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()  # quotients of small differences in float32


def test_without_activations_it_is_input_times_gradient_exactly():
    model = wrapped(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(100, 3)))
    sample = sample_for(model)
    found = techniques.run("deep_lift", sample, model, target=2).deep_lift.values
    expected = techniques.run("input_x_gradient", sample, model, target=2).input_x_gradient.values
    assert np.allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("baseline", ["black", "grey", "mean", "blur", "noise", "white"])
def test_the_map_adds_up_to_the_difference_of_the_logits_for_every_baseline(tiny_models, baseline):
    for name in ("cnn", "transformer", "one_channel"):
        assert error(tiny_models[name], 1, baseline) < 1e-3  # thousands of float32 shares of both signs


FAMILIES = {  # with batch norms, gates, layer norms, attention, fused blocks, and logits that differ between pictures
    "vgg11": {"mlp_ratio": 0.02}, "resnet18": {}, "densenet121": {}, "mobilenetv2_050": {}, "mobilenetv3_small_050": {}, "resnest14d": {},
    "efficientnet_b0": {}, "convnext_atto": {}, "vit_tiny_patch16_224": {"img_size": 64, "depth": 3}, "swinv2_cr_tiny_224": {"img_size": 64},
}  # fmt: skip


@pytest.mark.parametrize("name", list(FAMILIES))
def test_it_adds_up_on_networks_of_timm_with_gates_normalisation_and_attention(name):
    torch.manual_seed(0)
    network = bring_to_life(timm.create_model(name, num_classes=5, **FAMILIES[name]), pictures(4, 3, 64, 64))
    model = wrapped(network, 64)
    model.network.double()  # random weights make numbers of 1e9 cancel in EfficientNet; the rules are exact, float32 is not
    pixels = sample_for(model).pixels.double()
    found = multipliers(model, pixels, torch.full_like(pixels, 0.5), 0, Run())
    difference = float(found.logits[0] - found.of_baseline[0])
    assert abs(difference) > 1e-3
    assert float((found.multipliers * (pixels - 0.5)).sum()) == pytest.approx(difference, rel=1e-4)  # logits are handed out in float32


class Block(nn.Module):
    """A network that captum refuses: one ReLU used three times, once by adding in place before it, once as a function in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.relu = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()
        self.others, self.head = (nn.ReLU(), nn.ReLU()), nn.Linear(8, 3)

    def forward(self, x):
        x = self.relu(self.first(x))
        y = self.second(x)
        y += x
        F.relu_(y)
        return self.head(self.relu(self.second(y)).mean((2, 3)))


class PlainBlock(Block):
    """The same with nothing in place and modules of their own."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.ReLU(), nn.ReLU(), nn.ReLU()

    def forward(self, x):
        x = self.a(self.first(x))
        return self.head(self.c(self.second(self.b(self.second(x) + x))).mean((2, 3)))


def test_activations_used_twice_or_in_place_get_the_numbers_of_a_plain_network():
    torch.manual_seed(0)
    plain, block = PlainBlock(), Block()
    block.load_state_dict(plain.state_dict())
    plain, block = wrapped(plain), wrapped(block)
    sample = sample_for(plain)
    expected = DeepLift(Logits(plain), eps=1e-6).attribute(sample.pixels.clone(), torch.zeros_like(sample.pixels), target=1)[0].sum(0).detach()
    for model in (plain, block):
        found = techniques.run("deep_lift", sample, model, target=1).deep_lift.values
        assert np.abs(found - expected.numpy()).max() <= 1e-4 * float(expected.abs().max())


def test_max_pooling_behind_a_relu_hands_on_what_rises_above_the_baselines_maximum():
    """captum gives the pixel 0.4 here: it takes the plain gradient of the pooling where a ReLU comes before."""

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.pool, self.weight = nn.ReLU(), nn.MaxPool2d(2), nn.Parameter(torch.tensor([[1.0, -1.0]]))

        def forward(self, x):
            return self.pool(self.relu(x[:, :1] - 0.5)).flatten(1) @ self.weight

    here, start = torch.zeros(2, 1, 3, 2, 2)
    here[0, 0], start[0, 0] = torch.tensor([[0.9, 0.6], [0.2, 0.7]]), torch.tensor([[0.1, 0.8], [0.2, 0.55]])
    found = multipliers(wrapped(Pooled(), 2), here, start, 0, Run()).multipliers * (here - start)
    assert found[0, 0].flatten().tolist() == pytest.approx([0.4 - 0.3, 0, 0, 0], abs=1e-6)


def test_max_pooling_without_a_relu_before_it_agrees_with_captum():
    torch.manual_seed(0)
    model = wrapped(nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 3)))
    sample = sample_for(model)
    expected = DeepLift(Logits(model), eps=1e-6).attribute(sample.pixels.clone(), torch.full_like(sample.pixels, 0.5), target=1)[0].sum(0)
    found = techniques.run("deep_lift", sample, model, target=1, baseline="grey").deep_lift.values
    assert np.allclose(found, expected.detach().numpy(), atol=1e-7)


def test_overlapping_max_pooling_adds_up_and_agrees_with_a_second_implementation():
    """Window by window; captum's unpooling keeps one window only where two have the same largest input."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(2 * 36, 2))
    model = wrapped(network)
    sample = sample_for(model)
    maps, zeros = (network[0](pixels)[0].detach() for pixels in (sample.pixels, torch.full_like(sample.pixels, 0.5)))
    weights = network[3].weight[0].view(2, 6, 6)
    shares = torch.zeros_like(maps)
    for channel in range(2):
        for row in range(6):
            for column in range(6):
                rows, columns = (range(max(0, 2 * at - 1), min(12, 2 * at + 2)) for at in (row, column))
                places = [(channel, y, x) for y in rows for x in columns]
                here, there = (max(places, key=lambda place, values=values: float(values[place])) for values in (maps, zeros))
                cross = max(maps[here], zeros[there])
                shares[here] += weights[channel, row, column] * (cross - zeros[there])
                shares[there] += weights[channel, row, column] * (maps[here] - cross)
    expected = torch.einsum("khw,kc,chw->hw", shares / (maps - zeros), network[0].weight[:, :, 0, 0], sample.pixels[0] - 0.5).detach()
    found = techniques.run("deep_lift", sample, model, target=0, baseline="grey").deep_lift.values
    assert np.allclose(found, expected.numpy(), atol=1e-5)
    assert error(model, 0, "grey") < 1e-4


class Gated(nn.Module):
    """One gate over two features: sigmoid(x0) * x1, from the first pixels of two channels."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        product = x[:, 0, 0, 0].sigmoid() * x[:, 1, 0, 0]
        return torch.stack([product, self.weight * -product], 1)


def test_a_product_shares_its_difference_evenly():
    model = wrapped(Gated(), 4)
    sample = sample_for(model)
    found = multipliers(model, sample.pixels, torch.zeros_like(sample.pixels), 0, Run()).multipliers * sample.pixels
    gate, feature, start = sample.pixels[0, 0, 0, 0].sigmoid(), sample.pixels[0, 1, 0, 0], torch.tensor(0.5)
    assert found[0, 0, 0, 0] == pytest.approx(float((gate - start) * feature / 2), rel=1e-5)  # Shapley's value: both orders, averaged
    assert found[0, 1, 0, 0] == pytest.approx(float(feature * (gate + start) / 2), rel=1e-5)


def test_attention_with_a_mask_and_a_softmax_of_far_apart_numbers_add_up():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Linear(12, 24), nn.Linear(8, 2)

        def forward(self, x):
            query, key, value = self.inner(x.flatten(2).transpose(1, 2).reshape(len(x), 4, 12)).mul(30).chunk(3, -1)
            mask = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]], dtype=torch.bool)
            return self.head(F.scaled_dot_product_attention(query, key, value, attn_mask=~mask).mean(1))

    torch.manual_seed(0)
    assert error(wrapped(Attention(), 4)) < 1e-4


def test_a_step_without_a_rule_is_told_where_the_map_does_not_add_up():
    class Running(nn.Sequential):
        def forward(self, x):
            return super().forward(x).cumprod(1)

    torch.manual_seed(0)
    model = wrapped(Running(nn.Flatten(), nn.Linear(432, 3)))
    note = techniques.run("deep_lift", sample_for(model), model, target=2).note.text
    assert error(model, 2) > 0.05 and "A step of this network has no rule" in note


def test_a_network_that_takes_other_steps_for_the_baseline_is_refused():
    class Fickle(nn.Sequential):
        def forward(self, x):
            x = super().forward(x)
            return x.relu() if float(x.abs().sum()) > 0 and float(self[1].bias.sum() - x.sum()) == 0 else x.tanh()

    torch.manual_seed(0)
    model = wrapped(Fickle(nn.Flatten(), nn.Linear(432, 2)))
    with pytest.raises(IncompatibleModel, match="other steps for the baseline"):
        techniques.run("deep_lift", sample_for(model), model, target=0)


def test_the_note_tells_a_small_a_large_and_a_spoiling_error():
    texts = [completeness(total, 3.0, 1.0, "cat", "black baseline", "Rounding") for total in (2.02, 2.3, 3.0, 200.0)]
    assert texts[0].endswith("2.000 apart: an error of 1 %.")
    assert "an error of 15 %. Rounding; read it with caution." in texts[1]
    assert "an error of 50 %. Rounding; it does not account for the answer" in texts[2]
    assert "an error of 99 times the difference" in texts[3]


def test_the_averaged_map_keeps_what_the_map_adds_up_to_and_shows_what_prevails():
    shares = torch.zeros(1, 3, 40, 40)
    shares[0, :, 10, 10], shares[0, 0, 30, 30], shares[0, 0, 30, 31] = 1.0, 2.0, -2.0
    exact, averaged = attribution_maps(shares, "")
    assert float(exact.values.sum()) == pytest.approx(float(averaged.values.sum()), rel=1e-5)
    assert float(exact.values[10, 10]) == 3 and float(averaged.values[10, 10]) > 2 * float(averaged.values[28:33, 28:34].abs().max())


def test_the_rules_come_off_after_a_run_and_after_an_error(tiny_models, monkeypatch):
    model = tiny_models["cnn"]
    techniques.run("deep_lift", sample_for(model), model)
    assert torch._C._len_torch_function_stack() == 0

    def fail(*_):
        raise RuntimeError("broken layer")

    monkeypatch.setattr(model.module(model.head), "forward", fail)
    with pytest.raises(RuntimeError, match="broken layer"):
        techniques.run("deep_lift", sample_for(model), model)
    assert torch._C._len_torch_function_stack() == 0
