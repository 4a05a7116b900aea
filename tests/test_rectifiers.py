"""Guided backpropagation, deconvolution and guided Grad-CAM: captum's numbers on plain networks, and the same numbers where
activations are in place, called as functions, clamps, or used twice; closed forms where they are not ReLU."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from captum.attr import Deconvolution, GuidedBackprop, GuidedGradCam
from torch import nn

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import IncompatibleModel, Sample
from techniques.base.rectifiers import rectified_gradient

PEERS = {"guided_backpropagation": GuidedBackprop, "deconvolution": Deconvolution}
AS_IT_IS = {"mean": (0.0,) * 3, "std": (1.0,) * 3}  # pixels go into the network without normalisation
both = pytest.mark.parametrize("name", list(PEERS))


class Tidy(nn.Module):
    """Every activation is a module of its own, as captum needs it."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.second, self.third = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 1)
        self.relu1, self.relu2, self.relu3, self.relu4 = nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.pool, self.head = nn.MaxPool2d(3, 2, 1), nn.Linear(16, 4)

    def forward(self, x):
        x = self.pool(self.relu1(self.norm(self.first(x))))
        x = self.relu3(self.second(self.relu2(self.second(x))) + x)
        return self.head(self.relu4(self.third(x)).mean((2, 3)))


class Untidy(Tidy):
    """The same network: its activations are a function in place, one module used twice, and a clamp in place."""

    def forward(self, x):
        x = self.pool(F.relu(self.norm(self.first(x)), True))
        y = self.second(self.relu1(self.second(x)))
        y += x
        x = self.third(self.relu1(y))
        x.clamp_(min=0)
        return self.head(x.mean((2, 3)))


def wrapped(network: nn.Module, size: int = 12):
    return wrap(network, key="tested", preprocessing=Preprocessing(3, (size, size), **AS_IT_IS))


@pytest.fixture(scope="module")
def twins():
    """(tidy, untidy) with the same weights."""
    torch.manual_seed(0)
    tidy = Tidy()
    nn.init.uniform_(tidy.norm.running_mean, -0.3, 0.3)
    for layer in (tidy.first, tidy.second, tidy.third, tidy.head):
        layer.weight.data *= 4  # logits that differ by more than rounding
    untidy = Untidy()
    untidy.load_state_dict(tidy.state_dict())
    return wrapped(tidy), wrapped(untidy)


def sample_for(model, seed: int = 0) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


class Logits(nn.Module):
    """What captum wants: a module whose submodules it hooks, from pixels to logits."""

    def __init__(self, model):
        super().__init__()
        self.network, self.logits = model.network, model.logits

    def forward(self, pixels):
        return self.logits(pixels)


@both
def test_it_agrees_with_captum_on_a_plain_network(name, twins):
    model = twins[0]
    sample = sample_for(model)
    answer = techniques.run(name, sample, model, target=2)
    expected = PEERS[name](Logits(model)).attribute(sample.pixels.clone().requires_grad_(), target=2)[0].detach().numpy()
    assert expected.std() > 1e-3
    assert np.allclose(answer.in_colour.values, expected, atol=1e-6)  # the same two passes
    assert np.allclose(answer[0].values, np.abs(expected).max(0), atol=1e-6)


@both
def test_it_agrees_with_captum_on_a_residual_network_of_timm(name):
    torch.manual_seed(0)
    model = wrapped(timm.create_model("resnet18", num_classes=8, zero_init_last=False), 64)
    sample = sample_for(model)
    found = techniques.run(name, sample, model, target=3).in_colour.values
    expected = PEERS[name](Logits(model)).attribute(sample.pixels.clone().requires_grad_(), target=3)[0].detach().numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()  # float32 through 18 layers


@both
def test_activations_in_place_as_functions_clamped_or_used_twice_count_like_modules_of_their_own(name, twins):
    tidy, untidy = twins
    sample = sample_for(tidy)
    assert torch.allclose(tidy.logits(sample.pixels), untidy.logits(sample.pixels), atol=1e-6)
    expected, found = (techniques.run(name, sample, model, target=1) for model in twins)
    assert "4 ReLU," in expected.note.text and "3 ReLU, 1 ReLU by clamping" in found.note.text
    assert np.allclose(found.in_colour.values, expected.in_colour.values, atol=1e-6)
    plain = techniques.run("saliency", sample, tidy, target=1).saliency.values
    assert not np.allclose(found[0].values, plain, atol=1e-3)


def test_guided_grad_cam_agrees_with_captum_up_to_how_the_map_is_enlarged(twins):
    model = twins[0]
    sample = sample_for(model)
    answer = techniques.run("guided_grad_cam", sample, model, target=0, layer="relu3")
    peer = GuidedGradCam(Logits(model), model.network.relu3)
    expected = peer.attribute(sample.pixels.clone().requires_grad_(), target=0, interpolate_mode="bilinear")[0].detach().numpy()
    assert expected.std() > 1e-6
    assert np.allclose(answer.in_colour.values, expected, rtol=1e-4, atol=1e-5)  # products of two float32 numbers that are equal to 1e-6
    grad_cam = techniques.run("grad_cam", sample, model, target=0, layer="relu3").grad_cam.cell(model.label(0)).values
    assert np.array_equal(answer.grad_cam.values, grad_cam)


def two_layers(activation) -> tuple:
    """logits = B f(A x), and A, B in float64."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 30), activation, nn.Linear(30, 3))
    return wrapped(network, 2), network[1], network[3]


LIKE_A_RELU = [nn.SiLU(), nn.Hardswish(), nn.GELU(), nn.ReLU6(), nn.LeakyReLU(0.1), nn.ELU(), nn.Mish(), nn.PReLU()]


@pytest.mark.parametrize("activation", LIKE_A_RELU, ids=repr)
def test_what_is_not_a_relu_is_multiplied_with_its_slope_and_what_is_negative_is_cut_off_before_and_after(activation):
    model, first, last = two_layers(activation)
    sample = sample_for(model)
    inner = first(sample.pixels.flatten(1)).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(activation(inner).sum(), inner)
    guided = (last.weight[1].relu() * slope).relu() @ first.weight
    found = rectified_gradient(model, sample.pixels, 1, "guided")
    torch.testing.assert_close(found.gradient.flatten(1), guided)
    deconvolved = rectified_gradient(model, sample.pixels, 1, "deconvolution")
    torch.testing.assert_close(deconvolved.gradient.flatten(), last.weight[1].relu() @ first.weight)


@both
def test_on_silu_it_is_not_the_plain_gradient_in_disguise_and_says_that_the_rule_was_carried_over(name):
    model, _, _ = two_layers(nn.SiLU())
    sample = sample_for(model)
    answer = techniques.run(name, sample, model, target=0)
    assert "1 SiLU. The method was made for ReLU; SiLU only resembles it" in answer.note.text
    assert not np.allclose(answer[0].values, techniques.run("saliency", sample, model, target=0).saliency.values, rtol=0.1)


@pytest.mark.parametrize("name", [*PEERS, "guided_grad_cam"])
def test_a_network_without_a_rectifier_is_refused_before_the_run_or_when_it_has_called_none(name):
    layers = [nn.Conv2d(3, 4, 3), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(4, 2)]
    linear = wrapped(nn.Sequential(*layers))
    assert "this is the plain gradient. Saliency shows that" in techniques.find(name).why_not(linear)
    model = wrapped(nn.Sequential(layers[0], nn.Tanh(), *layers[1:]))
    assert techniques.find(name).why_not(model) is None
    with pytest.raises(IncompatibleModel, match="calls no rectifier"):
        techniques.run(name, sample_for(model), model)


def test_a_clamp_that_does_not_cut_at_zero_is_left_alone():
    class Clamped(nn.Sequential):
        def forward(self, x):
            return super().forward(x).clamp(-50, 50)

    model = wrapped(Clamped(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2)), 2)
    assert rectified_gradient(model, sample_for(model).pixels, 0, "guided").met == {"ReLU": 1}


@both
def test_nothing_stands_between_torch_and_its_caller_after_a_run_or_an_error(name, twins, monkeypatch):
    model = twins[1]
    techniques.run(name, sample_for(model), model)
    assert torch._C._len_torch_function_stack() == 0

    def fail(*_):
        raise RuntimeError("broken layer")

    monkeypatch.setattr(model.network.head, "forward", fail)
    with pytest.raises(RuntimeError, match="broken layer"):
        techniques.run(name, sample_for(model), model)
    assert torch._C._len_torch_function_stack() == 0


def test_where_nothing_in_the_default_layer_speaks_for_the_class_the_last_layer_before_it_in_which_something_does_is_taken(tiny_models):
    model = tiny_models["one_channel"]
    sample = Sample.from_pixels(torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(3)), "noise")
    assert not techniques.run("grad_cam", sample, model).grad_cam.cell("6").values.any()
    answer = techniques.run("guided_grad_cam", sample, model, target="6")
    assert model.default_layer not in answer.grad_cam.caption and answer.guided_grad_cam.values.any()
    with pytest.raises(IncompatibleModel, match=f"Nothing in the layer “{model.default_layer}” speaks for “6” here"):
        techniques.run("guided_grad_cam", sample, model, target="6", layer=model.default_layer)


def test_guided_grad_cam_refuses_a_layer_without_places(twins):
    with pytest.raises(IncompatibleModel, match="the layer “head” has no places"):
        techniques.run("guided_grad_cam", sample_for(twins[0]), twins[0], layer="head")


@pytest.mark.parametrize("name", ["vgg11", "densenet121", "mobilenetv2_050", "mobilenetv3_small_050", "tf_efficientnetv2_b0"])
def test_every_kind_of_activation_block_of_timm_is_reached(name):
    from tests.timm_models import build

    model = build(name)
    expected = {
        "vgg11": {"ReLU": 10}, "densenet121": {"ReLU": 121}, "mobilenetv2_050": {"ReLU6": 35},
        "mobilenetv3_small_050": {"Hardswish": 19, "ReLU": 14}, "tf_efficientnetv2_b0": {"SiLU": 55},
    }  # fmt: skip
    assert rectified_gradient(model, sample_for(model).pixels, 0, "guided").met == expected[name]
