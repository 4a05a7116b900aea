"""The architecture's table adds up: parameters, buffers and multiply-adds by hand, and against what torch counts itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import techniques
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Sample
from tests.timm_models import build


def look(model: LoadedModel, **settings):
    preprocessing = model.preprocessing
    sample = Sample.from_pixels(torch.full((preprocessing.channels, *preprocessing.size), 0.5), "grey")
    return techniques.run("architecture", sample, model, **settings)


def column(table, name: str) -> list:
    return [row[table.columns.index(name)] for row in table.rows]


def totals(answer) -> dict[str, float]:
    return {name: value for name, value, _ in answer.totals.rows}


def test_the_rows_of_a_small_network_are_what_one_counts_by_hand(tiny_models):
    answer = look(tiny_models["cnn"], show="layers with weights")
    assert [row[:4] for row in answer.layers.rows] == [
        ("0.0", "Conv2d", "8 × 32 × 32", 3 * 8 * 9),
        ("0.1", "BatchNorm2d", "8 × 32 × 32", 2 * 8),
        ("1.0", "Conv2d", "12 × 16 × 16", 8 * 12 * 9),
        ("1.1", "BatchNorm2d", "12 × 16 × 16", 2 * 12),
        ("2.0", "Conv2d", "16 × 8 × 8", 12 * 16 * 9),
        ("2.1", "BatchNorm2d", "16 × 8 × 8", 2 * 16),
        ("5", "Linear", "5", 16 * 5 + 5),
    ]
    # each weight of a convolution works once at each place of its output
    assert totals(answer)["multiply-adds"] == 3 * 8 * 9 * 32**2 + 8 * 12 * 9 * 16**2 + 12 * 16 * 9 * 8**2 + 16 * 5


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_050", "vgg11", "mixer_s32_224"])
def test_multiply_adds_are_half_of_the_operations_that_torch_counts(name):
    model = build(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.logits(torch.full((1, 3, 64, 64), 0.5))
    assert totals(look(model))["multiply-adds"] == counter.get_total_flops() / 2


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "convnext_atto", "cait_xxs24_224"])
def test_parameters_and_shares_add_up_where_modules_hold_some_beside_those_of_their_parts(name):
    model = build(name)
    answer = look(model)
    count = sum(parameter.numel() for parameter in model.network.parameters())
    assert sum(column(answer.layers, "parameters")) == totals(answer)["parameters"] == count
    assert sum(column(answer.layers, "share of all in %")) == pytest.approx(100, abs=1e-9)  # a sum of a hundred doubles


def test_tokens_that_the_network_holds_itself_have_a_row():
    answer = look(build("vit_tiny_patch16_224"))
    # a class token and a position for each of 1 + 4 x 4 tokens, 96 numbers each
    assert answer.layers.rows[-1][:4] == ("(the network itself)", "VisionTransformer", "–", 96 + 17 * 96)


def test_buffers_and_memory_are_counted(tiny_models):
    # three batch norms: mean and variance per channel, and a counter of 8 bytes each
    assert totals(look(tiny_models["cnn"]))["buffers"] == 2 * (8 + 12 + 16) + 3
    assert totals(look(tiny_models["cnn"]))["memory"] == tiny_models["cnn"].bytes / 2**20


def frozen_in_part() -> LoadedModel:
    """A convolution that was not trained any more, with a second one that is never used."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.unused, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, pixels):
            return self.head(self.conv(pixels).mean((2, 3)))

    network = Network()
    network.conv.requires_grad_(False)
    network.head.bias.requires_grad_(False)
    return wrap(network, key="mine", preprocessing=Preprocessing(size=(8, 8)))


def test_what_was_trainable_before_loading_is_told():
    answer = look(frozen_in_part())
    assert dict(zip(column(answer.layers, "layer"), column(answer.layers, "trainable"))) == {"conv": "no", "head": "partly", "unused": "yes"}
    assert totals(answer)["trainable parameters"] == 4 * 2 + 3 * 4 * 9 + 4


def test_a_module_with_parameters_that_never_runs_comes_last_without_an_output():
    assert look(frozen_in_part()).layers.rows[-1][:3] == ("unused", "Conv2d", "–")


@pytest.mark.parametrize("show", ["layers with weights", "places in the picture"])
def test_totals_do_not_depend_on_what_is_shown(tiny_model, show):
    few, all_of_them = look(tiny_model, show=show), look(tiny_model)
    assert few.totals.rows == all_of_them.totals.rows and len(few.layers.rows) < len(all_of_them.layers.rows)


def test_places_in_the_picture_are_the_layers_that_grad_cam_takes(tiny_models):
    model = tiny_models["transformer"]
    assert set(column(look(model, show="places in the picture").layers, "layer")) == {layer.name for layer in model.spatial_layers()}


def test_the_facts_of_the_model_are_shown_with_their_reasons(tiny_model):
    assert look(tiny_model).facts.rows == tuple((fact.name, fact.value, fact.reason) for fact in tiny_model.facts)


def test_a_module_that_runs_twice_is_one_row_with_the_work_of_both():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 3, 1), nn.Linear(3, 2)

        def forward(self, pixels):
            return self.head(self.conv(self.conv(pixels)).mean((2, 3)))

    answer = look(wrap(Twice(), key="twice", preprocessing=Preprocessing(size=(8, 8))))
    assert column(answer.layers, "layer") == ["conv", "head"] and answer.layers.rows[0][-1] == 2 * 9 * 64
