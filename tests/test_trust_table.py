"""The measured table: passes and memory are counted rightly, a technique that does not fit says why, rows come as they are measured."""

from __future__ import annotations

from statistics import mean

import numpy as np
import pytest
import torch
from torch import nn

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Run, Sample
from techniques.base.cost import cost_of
from techniques.base.hooks import gradient_at, logits_from_layer
from techniques.trust_table import COLUMNS

SMALL = {"stages": 2, "copies": 1, "points": 4}


def samples_for(model, count: int = 2) -> list[Sample]:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return [Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), f"noise {seed}") for seed in range(count)]


# What is counted


def test_a_pass_with_a_gradient_at_the_pixels_is_one_forward_and_one_backward_and_a_batch_counts_each_picture(tiny_model):
    pixels = samples_for(tiny_model)[0].pixels

    def work():
        wanted = pixels.clone().requires_grad_()
        gradient_at(tiny_model.logits(wanted)[0, 0], wanted)
        with torch.no_grad():
            tiny_model.logits(torch.cat([pixels] * 3))

    cost = cost_of(work, tiny_model)
    assert (cost.forward, cost.backward) == pytest.approx((4, 1))


def test_what_follows_a_layer_counts_as_its_part():
    """Two linear layers of 8 x 8 weights after one of 12 x 8: the way back to the first one's output passes 128 of 224."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    model = wrap(network, key="three", preprocessing=Preprocessing(3, (2, 2)))

    def work():
        logits, output = logits_from_layer(model, "1", torch.rand(1, 3, 2, 2))
        gradient_at(logits[0, 0], output)

    cost = cost_of(work, model)
    assert (cost.forward, cost.backward) == pytest.approx((1, 128 / 224))


def test_memory_is_what_lives_at_one_time_and_not_what_was_ever_made(tiny_models):
    def one_after_the_other():
        for _ in range(5):
            torch.zeros(1000)

    def together():
        kept = [torch.zeros(1000) for _ in range(5)]
        return kept[0].view(10, 100), kept[0][:500]  # views take nothing

    assert cost_of(one_after_the_other, tiny_models["cnn"]).bytes <= 8000
    assert cost_of(together, tiny_models["cnn"]).bytes == 20000


def test_what_is_counted_leaves_no_hook_behind(tiny_models):
    model = tiny_models["cnn"]
    with pytest.raises(ZeroDivisionError):
        cost_of(lambda: 1 / 0, model)
    assert not any(module._forward_hooks for module in model.network.modules())


# The table


def test_each_technique_has_a_row_with_the_means_over_the_pictures(tiny_models):
    model = tiny_models["cnn"]
    samples = samples_for(model)
    together = techniques.run("trust_table", samples, model, methods=("grad_cam", "saliency"), **SMALL).table
    each = [techniques.run("trust_table", [sample], model, methods=("grad_cam", "saliency"), **SMALL).table for sample in samples]
    assert together.columns == COLUMNS and [row[0] for row in together.rows] == ["Grad-CAM", "Saliency"]
    for place in range(2):
        for column in range(1, 6):
            assert together.rows[place][column] == pytest.approx(mean(table.rows[place][column] for table in each))
    assert [row[8:10] for row in together.rows][1] == pytest.approx((1, 1))


def test_rows_appear_as_they_are_measured(tiny_models):
    shown = []
    model = tiny_models["cnn"]
    techniques.run("trust_table", samples_for(model), model, methods=("grad_cam", "saliency"), run=Run(show=shown.append), **SMALL)
    assert [[row[0] for row in answer.table.rows] for answer in shown] == [["Grad-CAM"]] * 2 + [["Grad-CAM", "Saliency"]] * 2


def test_a_technique_that_does_not_fit_has_an_empty_row_and_a_sentence():
    model = wrap(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), key="flat", preprocessing=Preprocessing(3, (2, 2)))
    answer = techniques.run("trust_table", samples_for(model), model, methods=("grad_cam", "saliency"), **SMALL)
    assert [row[6] for row in answer.table.rows][0] == "does not fit this model" and isinstance(answer.table.rows[1][1], float)
    assert "Grad-CAM: no layer of this model has places" in answer.note.text


def test_the_time_is_no_number_that_a_run_would_have_to_repeat(tiny_models):
    model = tiny_models["cnn"]
    table = techniques.run("trust_table", samples_for(model), model, methods=("saliency",), **SMALL).table
    assert table.rows[0][7].endswith(" ×") and "time" not in table.arrays() and np.isfinite(table.arrays()["memory, MB"]).all()
