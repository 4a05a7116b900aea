"""Receptive fields: against strides and kernels, and against what changes an output when it is changed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Run
from techniques.base.receptive_field import OUTSIDE, Edge, Field, receptive_field


def network(*modules: nn.Module, side: int = 48):
    """A model of these modules, which end with three channels, and a head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(*modules)
        for module in body.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.3)
        whole = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    return wrap(whole, key="fields", preprocessing=Preprocessing(3, (side, side), crop_fraction=1.0))


class Gate(nn.Module):
    """Every channel times a number that the whole picture decides on, as in squeeze and excitation."""

    def forward(self, maps):
        return maps * torch.sigmoid(maps.mean((2, 3), keepdim=True))


class Windows(nn.Module):
    """Means over windows that stay where they are, at every place of the window."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, maps):
        return nn.functional.interpolate(nn.functional.avg_pool2d(maps, self.side), scale_factor=self.side)


@pytest.mark.parametrize(
    "layers",
    [
        [(3, 1, 1)],
        [(3, 2, 1), (3, 1, 1)],
        [(5, 2, 0), (3, 2, 0), (3, 1, 0)],
        [(7, 3, 3), (3, 1, 1), (1, 1, 0)],
        [(2, 2, 0), (2, 2, 0), (3, 1, 1)],
    ],
    ids=str,
)
def test_the_whole_field_is_what_kernels_and_strides_say(layers):
    modules = [part for kernel, stride, padding in layers for part in (nn.Conv2d(3, 3, kernel, stride, padding), nn.Tanh())]
    start, step, length = 0, 1, 1
    for kernel, stride, padding in layers:
        start, step, length = start - padding * step, step * stride, length + (kernel - 1) * step
    model = network(*modules)
    field = receptive_field(model, model.layer(f"0.{len(modules) - 1}"), Run())
    assert field.whole == (length, length) and not field.everywhere
    for edge in (field.rows, field.columns):
        assert edge.step == step and edge.length <= length
        assert start <= edge.start and edge.start + edge.length <= start + length  # the effective field lies in the whole one
        assert len(layers) > 1 or edge == Edge(start, step, length)  # of one convolution every weight counts


def test_a_change_outside_the_whole_field_changes_nothing_and_one_in_the_effective_field_does(tiny_models):
    model = tiny_models["cnn"]
    layer, place = model.layer("2.1"), (3, 4)
    field = receptive_field(model, layer, Run())
    assert field.whole == (9, 9)
    pixels, seen = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)), []
    top, left, bottom, right = field.box(place)
    reach = [(whole - size + 1) // 2 for whole, size in zip(field.whole, field.size)]
    handle = model.module(layer.name).register_forward_hook(lambda _module, _inputs, output: seen.append(output[0, :, *place].clone()))
    try:
        for inside, outside in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0)):
            changed = pixels + outside
            near = (..., slice(top - reach[0], bottom + reach[0]), slice(left - reach[1], right + reach[1]))
            changed[near] = pixels[near]
            changed[..., top:bottom, left:right] += inside
            with torch.no_grad():
                model.logits(changed)
    finally:
        handle.remove()
    as_it_is, outside, inside = seen
    torch.testing.assert_close(outside, as_it_is, rtol=0, atol=1e-5)  # the same sums, rounded in another order
    assert float((inside - as_it_is).abs().max()) > 0.1


def test_what_only_a_gate_lets_through_hardly_counts():
    model = network(nn.Conv2d(3, 3, 5, 2, 2), Gate())
    field = receptive_field(model, model.layer("0.1"), Run())
    assert field.whole == (48, 48) and field.size == (5, 5) and "with what hardly counts it is 48 × 48 px" in field.told()


def test_a_patch_embedding_has_its_patch_and_attention_has_seen_everything(tiny_models):
    model = tiny_models["transformer"]
    assert receptive_field(model, model.layer("patch_embed.proj"), Run()) == Field(Edge(0, 8, 8), Edge(0, 8, 8), (8, 8), False)
    for name in ("blocks.0.attn", "blocks.1", "head"):
        field = receptive_field(model, model.layer(name), Run())
        assert field.everywhere and field.box((0, 0)) == (0, 0, 32, 32)


def test_fields_that_do_not_move_with_their_places_are_the_whole_picture():
    model = network(nn.Conv2d(3, 3, 1), Windows(16))
    assert receptive_field(model, model.layer("0.1"), Run()).everywhere


def test_a_crop_is_the_picture_there_and_grey_beyond_its_border():
    field = Field(Edge(-2.0, 4.0, 5), Edge(-2.0, 4.0, 5), (9, 9), False)
    pixels = torch.rand(3, 16, 12)
    torch.testing.assert_close(field.crop(pixels, (2, 1)), pixels[:, 6:11, 2:7])
    corner = field.crop(pixels, (0, 2))
    torch.testing.assert_close(corner[:, 2:], pixels[:, :3, 6:11])
    assert corner.shape == (3, 5, 5) and (corner[:, :2] == OUTSIDE).all()
    assert (field.crop(pixels, (3, 3))[:, :, 2:] == OUTSIDE).all()
