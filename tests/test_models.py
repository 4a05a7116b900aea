"""What a loaded model knows about itself: layers, default layer, labels, logits, preprocessing, fingerprint."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from model_zoo.errors import IncompatibleModel, ModelLoadError, ParameterError
from model_zoo.layers import inspect
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from tests import tiny_models
from tests.tiny_models import TINY_MODELS


def _random(name: str, size: int, **settings) -> LoadedModel:
    """A network of timm with random weights at a small input size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=7, **settings)
    return wrap(network, key=name, preprocessing=Preprocessing(size=(size, size)))


def _pixels(model: LoadedModel, count: int = 2) -> torch.Tensor:
    """Uniform noise `[count, C, H, W]` of the model's own size."""
    preprocessing = model.preprocessing
    return torch.rand(count, preprocessing.channels, *preprocessing.size, generator=torch.Generator().manual_seed(1))


# The tiny models that every other test stands on


def test_a_tiny_model_is_the_same_every_time_it_is_made(tiny_model):
    again = TINY_MODELS[tiny_model.key.partition("/")[2]]()
    assert again.sha256 == tiny_model.sha256


def test_a_tiny_model_answers_differently_to_different_pictures(tiny_model):
    predictions = tiny_model.probabilities(_pixels(tiny_model, 16)).argmax(1)
    assert predictions.unique().numel() > 1


# Layers


def test_a_convolution_is_a_spatial_layer_with_its_grid_and_stride(tiny_models):
    layer = tiny_models["cnn"].layer("1.0")
    assert (layer.kind, layer.channels, layer.grid, layer.stride, layer.weighted) == ("spatial", 12, (16, 16), 2, True)


def test_a_pooled_map_of_one_cell_is_a_vector(tiny_models):
    layer = tiny_models["cnn"].layer("3")
    assert (layer.kind, layer.channels, layer.grid) == ("vector", 16, (1, 1))


def test_a_transformer_block_is_a_token_layer_with_one_prefix_token(tiny_models):
    layer = tiny_models["transformer"].layer("blocks.0")
    assert (layer.kind, layer.channels, layer.grid, layer.stride, layer.prefix_tokens) == ("tokens", 24, (4, 4), 8, 1)


def test_maps_of_tokens_put_every_patch_in_its_place(tiny_models):
    layer = tiny_models["transformer"].layer("blocks.0")
    tokens = torch.arange(17.0).view(1, 17, 1).expand(1, 17, 24)  # token 0 is the class token
    assert layer.maps(tokens)[0, 0].flatten().tolist() == list(range(1, 17))


def test_maps_are_a_differentiable_view_of_every_layer(tiny_model):
    for layer in tiny_model.layers:
        maps = layer.maps(torch.zeros(1, *layer.shape, requires_grad=True))
        assert maps.shape == (1, layer.channels, *layer.grid) and maps.requires_grad


def test_attention_heads_are_not_taken_for_maps(tiny_models):
    # queries and keys are [batch, 2 heads, 17 tokens, 12]: no picture of 17 x 12 cells
    assert {layer.grid for layer in tiny_models["transformer"].layers} == {(4, 4), (1, 1)}


def test_a_module_that_hands_on_its_input_is_not_a_layer(tiny_models):
    names = [layer.name for layer in tiny_models["transformer"].layers]
    assert "blocks.0" in names and "blocks.0.drop_path1" not in names and "pos_drop" not in names


def test_layers_of_swin_have_their_channels_last():
    model = _random("swin_tiny_patch4_window7_224", 56, img_size=56, depths=(1, 1, 1, 1), embed_dim=24)
    layer = model.layer("layers.0")
    assert (layer.kind, layer.channels_last, layer.channels, layer.grid, layer.stride) == ("spatial", True, 24, (14, 14), 4)
    assert layer.maps(torch.zeros(1, *layer.shape)).shape == (1, 24, 14, 14)


def test_layers_of_convnext_are_spatial_in_both_layouts():
    model = _random("convnext_atto", 64)
    first, inner = model.layer("stages.0"), model.layer("stages.1.blocks.0.mlp.fc1")
    assert (first.channels_last, first.channels, first.grid, first.stride) == (False, 40, (16, 16), 4)
    assert (inner.channels_last, inner.channels, inner.grid, inner.stride) == (False, 320, (8, 8), 8)


def test_layers_are_read_rightly_from_a_picture_that_is_not_square():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    layer = wrap(network, key="wide", preprocessing=Preprocessing(size=(20, 30))).layer("1")
    assert (layer.kind, layer.grid, layer.stride, layer.channels_last) == ("spatial", (10, 15), 2, False)


def test_layers_come_in_the_order_of_execution(tiny_models):
    order = ["0.0", "0.1", "0.2", "0", "1.0", "1.1", "1.2", "1", "2.0", "2.1", "2.2", "2", "3", "4", "5"]
    assert [layer.name for layer in tiny_models["cnn"].layers] == order


def test_a_module_used_twice_is_one_layer_with_two_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 2)

        def forward(self, pixels):
            return self.head(self.conv(self.conv(pixels)).mean((2, 3)))

    assert wrap(Twice(), key="twice", preprocessing=Preprocessing(size=(8, 8))).layer("conv").calls == 2


@pytest.mark.parametrize("fails", [False, True])
def test_looking_at_the_layers_leaves_no_hook(fails):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(1 if fails else 144, 2))
    if fails:
        with pytest.raises(RuntimeError):
            inspect(network, torch.zeros(1, 3, 8, 8), 0)
    else:
        inspect(network, torch.zeros(1, 3, 8, 8), 0)
    assert sum(len(module._forward_hooks) for module in network.modules()) == 0


def test_a_loaded_model_has_no_hooks_and_no_parameter_with_a_gradient(tiny_model):
    assert sum(len(module._forward_hooks) + len(module._backward_hooks) for module in tiny_model.network.modules()) == 0
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in tiny_model.network.parameters())


def test_a_layer_that_does_not_exist_is_answered_with_near_names(tiny_models):
    with pytest.raises(ParameterError, match=r"no layer “blocks.1.norm3”.*blocks\.1\.norm[12]"):
        tiny_models["transformer"].layer("blocks.1.norm3")


# The default layer


@pytest.mark.parametrize(
    ("name", "size", "settings", "expected"),
    [
        ("resnet18", 64, {}, "layer4"),
        ("vgg11", 64, {"mlp_ratio": 0.02}, "features"),  # with small dense layers
        ("mobilenetv3_small_050", 64, {}, "blocks"),
        ("densenet121", 64, {}, "features"),
        ("convnext_atto", 64, {}, "stages"),
        ("vit_tiny_patch16_224", 64, {"img_size": 64, "depth": 2}, "blocks.1.norm1"),
        ("deit_tiny_distilled_patch16_224", 64, {"img_size": 64, "depth": 2}, "blocks.1.norm1"),
        ("swin_tiny_patch4_window7_224", 56, {"img_size": 56, "depths": (1, 1, 1, 1), "embed_dim": 24}, "norm"),
        ("mixer_s32_224", 64, {"img_size": 64}, "norm"),
    ],
)
def test_the_default_layer_is_the_last_place_that_still_matters(name, size, settings, expected):
    assert _random(name, size, **settings).default_layer == expected


def test_the_default_layer_of_squeezenet_is_not_its_map_of_class_scores():
    from torchvision import models

    model = wrap(models.squeezenet1_0(), key="squeezenet")
    assert (model.default_layer, model.layer().channels) == ("features", 512)


@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_every_cell_of_the_default_layer_has_a_gradient(tiny_models, name):
    model, seen = tiny_models[name], []
    handle = model.module(model.default_layer).register_forward_hook(lambda _m, _i, output: seen.append(output))
    try:
        logits = model.logits(_pixels(model, 1).requires_grad_(True))
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, 0], seen)
    assert model.layer().maps(gradient).abs().sum(1).gt(0).all()


def test_a_model_of_dense_layers_has_no_default_layer_and_says_so():
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 2))
    model = wrap(network, key="dense", preprocessing=Preprocessing(size=(4, 4)))
    with pytest.raises(IncompatibleModel, match="no layer with a spatial grid"):
        model.layer()


def test_the_head_is_the_linear_layer_that_puts_out_the_logits(tiny_models):
    assert {name: model.head for name, model in tiny_models.items()} == {
        "cnn": "5", "transformer": "head", "one_channel": "9", "single_logit": "5", "several_labels": "5",
    }  # fmt: skip


# Logits


def test_a_single_logit_becomes_two_classes_with_exactly_its_sigmoid(tiny_models):
    model = tiny_models["single_logit"]
    pixels = _pixels(model)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.preprocessing.mean, model.preprocessing.std))
    expected = torch.sigmoid(model.network((pixels - mean) / std))
    # the softmax of (-z/2, z/2) is the sigmoid of z; float32 rounds to 6e-8 near 1
    assert torch.allclose(model.probabilities(pixels)[:, 1:], expected, atol=2e-7)


def test_both_sides_of_a_single_logit_have_opposite_gradients(tiny_models):
    model = tiny_models["single_logit"]
    pixels = _pixels(model, 1).requires_grad_(True)
    logits = model.logits(pixels)
    no, yes = (torch.autograd.grad(logits[0, side], pixels, retain_graph=True)[0] for side in (0, 1))
    assert yes.abs().sum() > 0 and torch.equal(no, -yes)


def test_switching_in_place_activations_off_changes_no_number():
    def build() -> nn.Module:
        torch.manual_seed(0)
        return timm.create_model("resnet18", num_classes=5).eval()

    with torch.random.fork_rng(devices=[]):
        before, after = build(), build()
    model = wrap(after, key="resnet18", preprocessing=Preprocessing(size=(64, 64), mean=(0.0,) * 3, std=(1.0,) * 3))
    assert any(getattr(module, "inplace", False) for module in before.modules())
    assert not any(getattr(module, "inplace", False) for module in after.modules())
    with torch.no_grad():
        assert torch.equal(model.logits(_pixels(model)), before(_pixels(model)))


@pytest.mark.parametrize("answer", [lambda scores: (scores, None), lambda scores: {"features": None, "logits": scores}])
def test_the_class_scores_are_found_in_a_tuple_or_a_dictionary(answer):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(48, 4)

        def forward(self, pixels):
            return answer(self.head(pixels.flatten(1)))

    assert wrap(Wrapped(), key="wrapped", preprocessing=Preprocessing(size=(4, 4))).logits(torch.zeros(2, 3, 4, 4)).shape == (2, 4)


# Labels


@pytest.mark.parametrize("name", ["golf ball", "Golf Ball", " golf ball ", "2", 2])
def test_a_class_is_found_by_its_label_in_any_case_or_its_number(tiny_models, name):
    assert tiny_models["cnn"].find_label(name) == 2


def test_a_class_name_that_does_not_exist_is_answered_with_near_ones(tiny_models):
    with pytest.raises(ParameterError, match="no class “gulf ball”.*Did you mean golf ball"):
        tiny_models["cnn"].find_label("gulf ball")


def test_a_digit_is_found_as_a_label_before_it_is_read_as_a_number():
    labels = tuple("9876543210")
    model = tiny_models.one_channel()
    reversed_labels = wrap(model.network, key="reversed", labels=labels, preprocessing=model.preprocessing)
    assert reversed_labels.find_label("9") == 0


# What is refused


def test_weights_that_are_not_numbers_are_refused():
    network = tiny_models.cnn().network
    with torch.no_grad():
        network[0][0].weight[0] = float("nan")
    with pytest.raises(ModelLoadError, match="no valid numbers"):
        wrap(network, key="damaged", preprocessing=Preprocessing(size=(32, 32)))


def test_a_wrong_number_of_labels_is_refused():
    with pytest.raises(ModelLoadError, match="3 labels do not fit a network with 5 classes"):
        wrap(tiny_models.cnn().network, key="cnn", labels=("a", "b", "c"), preprocessing=Preprocessing(size=(32, 32)))


def test_a_network_that_does_not_fit_its_picture_size_is_refused():
    with pytest.raises(ModelLoadError, match="does not run on a 1 x 32 x 32 picture"):
        wrap(tiny_models.cnn().network, key="cnn", preprocessing=Preprocessing(1, (32, 32), (0.5,), (0.5,)))


# Preprocessing


@pytest.mark.parametrize(
    "config",
    [
        {"input_size": (3, 64, 64), "crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic"},
        {"input_size": (3, 80, 80), "crop_pct": 0.95, "crop_mode": "center", "interpolation": "bilinear"},
        {"input_size": (3, 64, 64), "crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bicubic"},
        {"input_size": (3, 48, 48), "crop_pct": 0.9, "crop_mode": "border", "interpolation": "bicubic"},
    ],
    ids=lambda config: config["crop_mode"],
)
def test_pixels_are_what_timms_own_transform_makes(config, photograph):
    config = {**config, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    pixels = Preprocessing.of_timm(config).pixels(photograph)[0]
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    theirs = timm.data.create_transform(**config)(photograph) * std + mean
    # the same bytes: 8-bit values agree, and undoing the normalisation rounds in float32
    assert (pixels - theirs).abs().max() < 1e-6


def test_a_model_of_one_channel_sees_a_grey_picture(photograph, tiny_models):
    pixels = tiny_models["one_channel"].preprocessing.pixels(photograph)
    assert pixels.shape == (1, 1, 28, 28) and 0 <= pixels.min() < pixels.max() <= 1


def test_black_and_white_are_exactly_zero_and_one(tiny_models):
    preprocessing = tiny_models["cnn"].preprocessing
    ends = [preprocessing.pixels(Image.fromarray(np.full((40, 40, 3), value, np.uint8))) for value in (0, 255)]
    assert ends[0].unique().tolist() == [0.0] and ends[1].unique().tolist() == [1.0]


# Fingerprint


def test_the_fingerprint_changes_when_one_weight_changes():
    model, changed = tiny_models.cnn(), tiny_models.cnn()
    with torch.no_grad():
        changed.network[0][0].weight[0, 0, 0, 0] += 1e-3
    assert model.sha256 != changed.sha256


def test_the_memory_of_a_model_is_that_of_its_parameters_and_buffers(tiny_models):
    # 3 blocks: 8*3*9 + 12*8*9 + 16*12*9 weights, 4 batch-norm numbers per channel and a counter of 8 bytes each; a head of 16*5 + 5
    numbers = (8 * 3 + 12 * 8 + 16 * 12) * 9 + 4 * (8 + 12 + 16) + 16 * 5 + 5
    assert tiny_models["cnn"].bytes == 4 * numbers + 3 * 8
