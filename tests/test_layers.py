"""Where the places of a layer are in the picture, found by changing a corner of it; and what a network says about itself."""

from __future__ import annotations

from functools import cache

import pytest
import timm
import torch
from torch import nn

from model_zoo.errors import IncompatibleModel
from model_zoo.layers import inspect
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from model_zoo.traits import find_ending
from tests.timm_models import build

build = cache(build)


def plain(network: nn.Module, size: tuple[int, int] = (16, 16), channels: int = 3) -> LoadedModel:
    """A network made here, with pictures of `size`."""
    return wrap(network, key="mine", preprocessing=Preprocessing(channels, size, (0.5,) * channels, (0.25,) * channels))


def seeded(make) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def facts(model: LoadedModel) -> dict[str, str]:
    return {fact.name: fact.value for fact in model.facts}


@torch.no_grad()
def moved(model: LoadedModel, layer: str) -> torch.Tensor:
    """How much each cell `[h, w]` of a layer moves when the top left corner of the picture turns white."""
    size = model.preprocessing.size
    pixels = torch.rand(2, model.preprocessing.channels, *size, generator=torch.Generator().manual_seed(2)) * 0.5
    pixels[1] = pixels[0]
    pixels[1, :, : size[0] // 4, : size[1] // 4] = 1
    outputs = []
    handle = model.module(layer).register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        model.logits(pixels)
    finally:
        handle.remove()
    before, after = model.layer(layer).maps(outputs[-1])
    return (after - before).abs().sum(0)


# Places


PLACES = [
    ("vit_tiny_patch16_224", "blocks.1", ("tokens", (4, 4), 1, False)),
    ("vit_tiny_patch16_224", "patch_embed", ("tokens", (4, 4), 0, False)),
    ("deit_tiny_distilled_patch16_224", "blocks.1", ("tokens", (4, 4), 2, False)),
    ("vit_small_patch14_reg4_dinov2", "blocks.1", ("tokens", (4, 4), 5, False)),
    ("cait_xxs24_224", "blocks.1", ("tokens", (4, 4), 0, False)),
    ("mixer_s32_224", "blocks.1", ("tokens", (2, 2), 0, False)),
    ("swin_tiny_patch4_window7_224", "layers.0", ("spatial", (16, 16), 0, True)),
    ("swin_tiny_patch4_window7_224", "layers.1.blocks.0.mlp.fc1", ("tokens", (8, 8), 0, False)),
    ("swinv2_cr_tiny_224", "stages.0", ("spatial", (16, 16), 0, False)),
    ("convnext_atto", "stages.1.blocks.0.mlp.fc1", ("spatial", (8, 8), 0, True)),
    ("convnext_atto", "stages.1", ("spatial", (8, 8), 0, False)),
    ("mambaout_femto", "stages.1", ("spatial", (8, 8), 0, True)),
    ("hiera_tiny_224", "blocks.11", ("tokens", (2, 2), 0, False)),
    ("mobilevit_xxs", "stages.2", ("spatial", (8, 8), 0, False)),
    ("resnet18", "layer2", ("spatial", (8, 8), 0, False)),
]


@pytest.mark.parametrize(("name", "layer", "expected"), PLACES, ids=[f"{name}-{layer}" for name, layer, _ in PLACES])
def test_a_change_in_a_corner_of_the_picture_moves_that_corner_of_the_layer(name, layer, expected):
    model = build(name)
    found = model.layer(layer)
    assert (found.kind, found.grid, found.prefix_tokens, found.channels_last) == expected
    cells = moved(model, layer)
    rows, columns = (side // 2 for side in cells.shape)
    here = cells[:rows, :columns].mean()
    others = (cells[:rows, -columns:], cells[-rows:, :columns], cells[-rows:, -columns:])
    assert all(here > 1.1 * other.mean() for other in others)  # random layers mix places; another layout would give equal means


def test_tokens_in_another_order_than_the_picture_are_told_from_maps():
    model = build("hiera_tiny_224")  # its first stages keep the patches of a window next to each other
    assert not model.layer("blocks.5").local and model.layer().local
    assert facts(model)["places in another order"].endswith("layers with a grid")


class Reverse(nn.Module):
    """The cells of a map in reverse order."""

    def forward(self, maps):
        return maps.flip(2, 3)


def test_the_default_layer_is_one_whose_cells_stand_where_they_are_in_the_picture():
    model = plain(seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), Reverse(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))))
    assert not model.layer("1").local and model.default_layer == "0"


@pytest.mark.parametrize("last", [True, False])
def test_of_two_layouts_that_both_fit_the_one_that_answers_locally_is_taken(last):
    class Cube(nn.Module):
        """Four rows, four columns, four channels: the shape does not say which is which."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 4, 4, stride=4), nn.Hardtanh(-1e6, 1e6), nn.Linear(64, 3)

        def forward(self, pixels):
            maps = self.conv(pixels)
            return self.head(self.norm(maps.permute(0, 2, 3, 1) if last else maps).flatten(1))

    layer = plain(seeded(Cube)).layer("norm")
    assert (layer.shape, layer.channels_last) == ((4, 4, 4), last)


@pytest.mark.parametrize("size", [(32, 48), (48, 32)])
def test_patches_of_a_picture_that_is_not_square_lie_in_its_proportions(size):
    small = {"num_classes": 3, "depth": 2, "embed_dim": 24, "num_heads": 2}
    network = seeded(lambda: timm.create_model("vit_tiny_patch16_224", img_size=size, patch_size=8, **small))
    layer = plain(network, size).layer("blocks.0")
    assert (layer.grid, layer.prefix_tokens) == ((size[0] // 8, size[1] // 8), 1)


@pytest.mark.parametrize("registers", [0, 1, 2, 5])
def test_prefix_tokens_that_the_network_does_not_tell_of_are_found(registers):
    class Prefixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.block, self.head = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 8), nn.Linear(8, 3)
            self.registers = nn.Parameter(torch.randn(1, registers, 8))

        def forward(self, pixels):
            tokens = self.patches(pixels).flatten(2).transpose(1, 2)
            tokens = torch.cat([self.registers.expand(len(tokens), -1, -1), tokens], 1)
            return self.head(self.block(tokens).mean(1))

    layer = plain(seeded(Prefixed)).layer("block")
    assert (layer.kind, layer.grid, layer.prefix_tokens) == ("tokens", (4, 4), registers)


def test_a_deep_layer_that_sees_everything_from_everywhere_is_not_passed_over():
    network = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 9, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    )
    assert plain(network).default_layer == "2"


# What it says about itself


def test_squeezenet_says_that_it_has_no_linear_head():
    from torchvision import models

    model = plain(seeded(lambda: models.squeezenet1_1(num_classes=7)), (64, 64))
    assert model.head is None and facts(model)["linear head"] == "none: the last layer is a convolution"


def test_a_distilled_transformer_says_that_it_has_two_heads_and_two_prefix_tokens():
    said = facts(build("deit_tiny_distilled_patch16_224"))
    assert said["linear head"] == "head, head_dist: 96 → 5" and said["places in the picture"] == "4 × 4 patches of 16 px, 2 prefix tokens"


@pytest.mark.parametrize(
    ("name", "pooled"), [("resnet18", "layer4"), ("swin_tiny_patch4_window7_224", "norm"), ("convnext_atto", None), ("vgg11", None)]
)
def test_the_layer_that_is_averaged_right_before_the_head_is_known(name, pooled):
    assert build(name).pooled_layer == pooled  # ConvNeXt normalises after its average, VGG has dense layers there


def test_the_pooled_layer_and_the_head_give_the_logits():
    model = build("resnet18")
    outputs = []
    handle = model.module(model.pooled_layer).register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        logits = model.logits(torch.rand(2, 3, 64, 64))
    finally:
        handle.remove()
    head = model.module(model.head)
    # the same sums in another order, in float32
    assert torch.allclose(model.layer(model.pooled_layer).maps(outputs[0]).mean((2, 3)) @ head.weight.T + head.bias, logits, atol=1e-4)


def test_one_logit_is_offered_in_both_directions(tiny_models):
    assert facts(tiny_models["single_logit"])["classes"] == "one logit, offered as two opposite classes"
    assert tiny_models["single_logit"].classes == 2


def test_a_model_of_one_channel_and_28_px_says_so(tiny_models):
    said = facts(tiny_models["one_channel"])
    assert said["input"] == "1 channel, 28 × 28 px, fixed" and tiny_models["one_channel"].default_layer == "5"


@pytest.mark.parametrize(("name", "fixed"), [("resnet18", False), ("vit_tiny_patch16_224", True), ("mixer_s32_224", True), ("pvt_v2_b0", False)])
def test_whether_another_picture_size_is_possible_has_been_tried(name, fixed):
    assert facts(build(name))["input"] == f"3 channels, 64 × 64 px, {'fixed' if fixed else 'other sizes possible'}"


@pytest.mark.parametrize(("name", "kinds"), [("resnet18", "ReLU × 17"), ("convnext_atto", "GELU × 12"), ("vit_tiny_patch16_224", "GELU × 4")])
def test_activations_are_counted_by_kind(name, kinds):
    assert facts(build(name))["activations"] == kinds


def test_an_activation_module_that_is_used_twice_counts_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act, self.head = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Linear(4, 2)

        def forward(self, pixels):
            return self.head(self.act(self.act(self.conv(pixels)).mean((2, 3))))

    said = facts(plain(seeded(Twice)))
    assert (said["activations"], said["modules used several times"], said["in-place activations"]) == ("ReLU × 2", "1", "1 switched off")


def test_windows_are_seen_and_not_taken_for_layers():
    model = build("swin_tiny_patch4_window7_224")
    assert "layers.0.blocks.0.attn" not in [layer.name for layer in model.layers]
    assert facts(model)["parts worked on separately"].endswith(" modules") and facts(model)["channels last"].endswith("layers with maps")


@pytest.mark.parametrize("answer", [lambda scores: (scores, None), lambda scores: {"features": None, "logits": scores}])
def test_a_network_that_answers_with_a_tuple_or_a_dictionary_has_a_default_layer(answer):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

        def forward(self, pixels):
            return answer(self.head(self.conv(pixels).mean((2, 3))))

    model = plain(seeded(Wrapped))
    assert (model.default_layer, model.pooled_layer, model.head) == ("conv", "conv", "head")


def test_a_network_that_torch_cannot_differentiate_is_looked_at_all_the_same():
    class Rounded(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

        def forward(self, pixels):
            with torch.no_grad():
                return self.head(self.conv(pixels).mean((2, 3)))

    model = plain(seeded(Rounded))
    assert model.default_layer == "conv" and "no layer has places that move" in model.facts[0].reason


def test_every_fact_has_a_value_and_a_reason_in_a_sentence(tiny_model):
    assert len(tiny_model.facts) >= 5
    assert all(fact.name and fact.value and fact.reason[0].isupper() and fact.reason.endswith(".") for fact in tiny_model.facts)


def test_own_parameters_of_all_layers_are_those_of_the_network(tiny_models):
    network = tiny_models["cnn"].network
    assert sum(layer.parameters for layer in tiny_models["cnn"].layers) == sum(parameter.numel() for parameter in network.parameters())


def test_which_parameters_were_trainable_is_remembered():
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)))
    network[0].requires_grad_(False)
    assert plain(network).trainable == {"3.weight", "3.bias"}


def test_no_torch_text_reaches_the_visitor_when_a_network_does_not_run():
    with pytest.raises(Exception, match="does not run on a 3 x 16 x 16 picture. Check its input channels") as refusal:
        plain(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4, 2)))
    assert "Given groups" not in str(refusal.value)


def test_a_network_of_dense_layers_says_that_it_has_no_place_for_a_heat_map():
    model = plain(nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.ReLU(), nn.Linear(8, 2)))
    assert facts(model)["default layer for heat maps"] == "none" and "places in the picture" not in facts(model)
    with pytest.raises(IncompatibleModel):
        model.layer()


def test_looking_takes_two_passes_more_than_trying_the_network_once():
    """With pictures of one size: two in one batch, one for the gradient; another, smaller one at another size."""
    batches = []
    network = seeded(lambda: timm.create_model("resnet18", num_classes=3))
    network.register_forward_pre_hook(lambda _module, inputs: batches.append(tuple(inputs[0].shape[::3])))
    plain(network, (64, 64))
    assert batches == [(2, 64), (1, 64), (1, 32)]


@pytest.mark.parametrize("fails", [False, True])
def test_following_the_gradient_back_leaves_no_hook(fails):
    network = seeded(lambda: timm.create_model("resnet18", num_classes=3)).eval()
    seen = inspect(network, torch.rand(1, 3, 64, 64), None)

    def scores(output):
        if fails:
            raise ValueError
        return output

    try:
        find_ending(network, seen.layers, torch.rand(1, 3, 64, 64), 3, scores)
    except ValueError:
        assert fails
    assert sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()) == 0
