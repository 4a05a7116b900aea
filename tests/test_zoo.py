"""ZOO: slopes of a linear model, torch's Adam, blocks, queries, numbers too large for float32, digits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import model_zoo
import techniques
from techniques.base import TECHNIQUES, Run, Sample, execute
from techniques.base.attacks import Goal, Task, attack_pixels
from techniques.zoo import _adam, _Blocks, _slopes
from tests.attack_cases import grey, linear_model, linear_weights, random_sample

DIGITS = Path(__file__).resolve().parents[1] / "ui/samples/digits"


def attacked(sample, model, run=None, **settings):
    techniques.catalogue()
    return execute(TECHNIQUES["zoo"], sample, model, settings, run)


@pytest.mark.parametrize("scale", [1.0, 1e30])
def test_the_slopes_of_a_linear_model_are_its_weights_summed_over_the_blocks(scale):
    task = Task(linear_model(scale), grey().pixels, Goal(torch.tensor([1]), False), torch.Generator(), Run())
    blocks = _Blocks.of(task.pixels, 2)
    chosen = torch.tensor([3, 0, 1])
    with torch.no_grad():
        slopes = _slopes(task, blocks, torch.zeros(4, dtype=torch.float64), chosen)
    expected = scale * linear_weights().view(2, 2, 2, 2).sum((1, 3)).flatten()[chosen].double()
    torch.testing.assert_close(slopes, expected, rtol=1e-4, atol=0)  # float32 logits of size 3, divided by 2 * 4/255
    assert task.forward == 6


def test_where_the_margin_is_past_zero_there_is_no_slope():
    task = Task(linear_model(), grey().pixels, Goal(torch.tensor([0]), False), torch.Generator(), Run())
    with torch.no_grad():
        assert not _slopes(task, _Blocks.of(task.pixels, 4), torch.zeros(16, dtype=torch.float64), torch.arange(16)).any()


def test_each_coordinate_takes_the_steps_of_torchs_adam():
    generator = torch.Generator().manual_seed(0)
    parameter = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    adam, means, values = torch.optim.Adam([parameter], lr=0.02), torch.zeros(3, 5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    for _ in range(4):
        slopes = torch.randn(5, generator=generator, dtype=torch.float64)
        parameter.grad = slopes.clone()
        adam.step()
        for chosen in (torch.tensor([4, 1]), torch.tensor([0, 2, 3])):
            values[chosen] -= 0.02 * _adam(means, chosen, slopes[chosen])
    torch.testing.assert_close(values, parameter.detach(), rtol=1e-9, atol=0)


def test_blocks_cover_the_picture_and_know_their_areas():
    blocks = _Blocks.of(torch.full((1, 2, 5, 7), 0.5), 3)
    assert blocks.areas.view(2, 3, 3)[0].tolist() == [[6, 4, 4], [6, 4, 4], [3, 2, 2]]
    changes = blocks.changed(0.1 * torch.eye(18, dtype=torch.float64)) - 0.5
    assert torch.equal((changes > 0).flatten(1).sum(1), blocks.areas) and (changes > 0).sum(0).unique().tolist() == [1]
    assert torch.equal(_Blocks.of(torch.zeros(1, 1, 5, 7), 64).areas, torch.ones(35, dtype=torch.long))


def test_on_a_linear_model_it_comes_near_the_foot_of_the_perpendicular():
    weights = linear_weights()
    nearest = float((0.5 * weights.sum() + 1) / weights.norm())
    answer = attacked(grey(), linear_model(), queries=4000)
    assert answer.measures.rows[0][-1] == 1 and nearest <= answer.measures.rows[0][3] < 1.25 * nearest


@pytest.mark.parametrize("scale", [1e-2, 1e10, 1e30])
def test_logits_of_any_size_are_followed(scale):
    answer = attacked(grey(), linear_model(scale), weight=1000.0)
    assert answer.measures.rows[0][-1] == 1 and answer.measures.rows[0][3] < 1


def test_it_never_asks_more_than_it_may_and_stops_when_nothing_gets_smaller(tiny_model):
    rows = [attacked(random_sample(tiny_model), tiny_model, queries=queries).measures.rows[0] for queries in (300, 20000)]
    assert rows[0][9] <= 300 and rows[1][9] < 20000
    assert all(row[10] == 0 for row in rows) and rows[1][-1] == 1


def test_every_digit_is_taken_for_another():
    model = model_zoo.load("bundled/digits")
    digits = [Sample.from_image(Image.open(DIGITS / f"{digit}.png"), model) for digit in (0, 3, 7)]
    pixels = torch.cat([sample.pixels for sample in digits])
    outcome = attack_pixels(techniques.find("zoo"), model, pixels, Goal(model.logits(pixels).argmax(1), False), Run())
    assert outcome.reached.all() and (outcome.pixels - pixels).flatten(1).norm(dim=1).max() < 5
