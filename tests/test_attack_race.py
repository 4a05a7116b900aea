"""The race: equal budgets that are never exceeded, rows that the attacks' own tabs confirm, success over the passes spent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import techniques
from techniques.base import TECHNIQUES, Run
from techniques.base.attacks import Goal, Iterate, attack_pixels
from techniques.base.attacks.budget import affordable
from techniques.base.attacks.method import Method
from techniques.base.attacks.race import Lap
from techniques.base.parameters import Param, Range
from tests.attack_cases import grey, linear_model, random_sample

techniques.catalogue()


def race(model, *samples, **settings):
    return techniques.run("attack_race", list(samples), model, **{"methods": ("fgsm", "pgd"), **settings})


def row(answer, name: str) -> dict:
    return next(dict(zip(answer.standings.columns, row)) for row in answer.standings.rows if row[0] == name)


@pytest.fixture
def add(monkeypatch):
    """Enters a search as an attack of this name."""

    def add(name: str, search, *params: Param, **about) -> None:
        method = Method(search, about.pop("knowledge", "scores"), None, False)
        monkeypatch.setitem(TECHNIQUES, name, replace(TECHNIQUES["fgsm"], name=name, title=name, params=params, attack=method, **about))

    return add


def asks_for_ever(task, **settings):
    """Never succeeds, never ends, and yields after every fifth question."""
    while True:
        for _ in range(5):
            logits = task.logits(task.pixels)
        yield Iterate(task.pixels, logits)


# The budget


@pytest.mark.parametrize("budget", [4, 12, 23])
def test_a_budget_is_spent_to_the_last_pass_and_never_exceeded(add, tiny_models, budget):
    add("endless", asks_for_ever)
    model, passes = tiny_models["cnn"], []
    pixels = random_sample(model).pixels
    goal = Goal(model.logits(pixels).argmax(1), targeted=False)
    handle = model.network.register_forward_hook(lambda _module, inputs, _output: passes.append(len(inputs[0])))
    try:
        found = attack_pixels(TECHNIQUES["endless"], model, pixels, goal, Run(), budget=budget)
    finally:
        handle.remove()
    assert found.forward == budget and sum(passes) == budget + (budget < 5)  # nothing was found yet: the picture is looked at as it is
    assert torch.equal(found.pixels, pixels) and torch.equal(found.logits, model.logits(pixels))


def test_a_question_with_a_way_back_costs_two_and_is_not_asked_with_one_pass_left(tiny_models):
    model = tiny_models["cnn"]
    pixels = torch.cat([random_sample(model, seed).pixels for seed in (1, 2, 3)])
    goal = Goal(model.logits(pixels).argmax(1), targeted=False)
    found = attack_pixels(TECHNIQUES["pgd"], model, pixels, goal, Run(), budget=9, steps=100)
    assert (found.forward, found.backward) == (12, 12)  # 4 steps of 3 pictures; a fifth would need 30 passes, 27 may be made


def test_an_attack_that_is_cut_short_answers_with_where_it_stood(tiny_models):
    model = tiny_models["cnn"]
    pixels = random_sample(model).pixels
    goal = Goal(model.logits(pixels).argmax(1), targeted=False)
    cut, short = (
        attack_pixels(TECHNIQUES["pgd"], model, pixels, goal, Run(), budget=budget, steps=steps, shrinking=False)
        for budget, steps in ((8, 100), (None, 3))
    )
    assert torch.equal(cut.pixels, short.pixels)


@pytest.mark.parametrize(("restarts", "steps"), [(1, 24), (2, 12)])
def test_the_steps_that_a_budget_pays_for_are_those_that_fit_into_it(tiny_models, restarts, steps):
    model = tiny_models["cnn"]
    pixels, settings = random_sample(model).pixels, {"restarts": restarts}
    goal = Goal(model.logits(pixels).argmax(1), targeted=False)
    found = affordable(TECHNIQUES["pgd"], model, pixels, goal, 50, settings, Run())
    made = attack_pixels(TECHNIQUES["pgd"], model, pixels, goal, Run(), **settings, **found)
    assert found == {"steps": steps} and 48 <= made.forward + made.backward <= 50  # two passes a step, one more for each start


def test_an_attack_that_counts_its_queries_has_as_many_as_the_budget_and_one_without_length_is_left_alone(add, tiny_models):
    add("asking", asks_for_ever, Param("queries", "integer", 1000, "How many.", Range(10, 5000)))
    pixels = random_sample(tiny_models["cnn"]).pixels
    given = [affordable(TECHNIQUES[name], tiny_models["cnn"], pixels, None, budget, {}, Run()) for name, budget in
             (("asking", 300), ("asking", 5), ("asking", 9000), ("fgsm", 300))]  # fmt: skip
    assert given == [{"queries": 300}, {"queries": 10}, {"queries": 5000}, {}]


# The table


def test_a_row_has_the_numbers_that_the_attacks_own_tab_shows(tiny_models):
    model = tiny_models["cnn"]
    sample = random_sample(model)
    answer = race(model, sample, budget=20, epsilon=4.0, seed=5)
    for name, settings in (("fgsm", {}), ("pgd", {"steps": 9})):
        alone = techniques.run(name, sample, model, epsilon=4.0, seed=5, **settings)
        measures, found = dict(zip(alone.measures.columns, alone.measures.rows[0])), row(answer, TECHNIQUES[name].title)
        assert np.array_equal(answer.pictures.items[{"fgsm": 1, "pgd": 2}[name]].values, alone.adversarial.values)
        assert found["success"] == measures["success"] == 1
        assert (found["L2"], found["SSIM"]) == pytest.approx((measures["L2"], measures["SSIM"]), rel=1e-5)  # summed in float32 and float64
        assert (found["queries"], found["passes"]) == (
            measures["forward passes (queries)"], measures["forward passes (queries)"] + measures["backward passes"],
        )  # fmt: skip
        assert found["limited by"] == "epsilon 4/255" and found["time"].endswith(" s")
    noise = techniques.run("pgd", sample, model, epsilon=4.0, seed=5, steps=1).white_noise.values
    assert np.array_equal(answer.pictures.items[3].values, noise)


def test_controls_are_measured_like_attacks():
    """A linear model with logits (0, w . x + 1): its margin over a flat grey is 1 + 0.5 * sum(w) = 3, and falls by epsilon * |w|."""
    answer = race(linear_model(), grey(), epsilon=40.0)
    assert row(answer, "FGSM")["success"] == 1 and row(answer, "FGSM")["L-infinity in 1/255"] == pytest.approx(40, rel=1e-5)
    assert row(answer, "white noise")["success"] == 0 and row(answer, "white noise")["queries"] == 1 and row(answer, "white noise")["L2"] == ""
    assert [row(answer, "nothing")[key] for key in ("success", "passes", "queries", "time")] == [0, 0, 0, ""]
    aimed = race(linear_model(), grey(), target="on")  # which it is already
    assert row(aimed, "nothing")["success"] == 1 and row(aimed, "nothing")["SSIM"] == pytest.approx(1)


def test_success_over_passes_steps_up_where_the_attack_succeeds_and_ends_at_the_share_in_the_table(tiny_models):
    model = tiny_models["cnn"]
    samples = [random_sample(model, seed) for seed in range(4)]
    answer = race(model, *samples, budget=40, epsilon=0.5)
    for name in ("FGSM", "PGD", "white noise"):
        line = answer.success.lines[name]
        assert line[0] == 0 and line[-1] == pytest.approx(row(answer, name)["success"])
    assert 0 < row(answer, "FGSM")["success"] <= row(answer, "PGD")["success"]
    fgsm = answer.success.lines["FGSM"]
    assert list(answer.success.x[:4]) == [0, 1, 2, 3] and fgsm[2] == 0 and fgsm[3] == fgsm[-1]  # its three passes are made then


def test_a_lap_remembers_when_success_came_and_went():
    lap = Lap(True, 0.1, 1.0, 0.9, 20, 20, 0.1, ((0, False), (8, True), (10, False), (12, True)))
    assert [lap.reached_after(passes) for passes in (0, 7, 8, 11, 12, 40)] == [False, False, True, False, True, True] and lap.after == 12


def test_an_attack_that_does_not_fit_has_an_empty_row_and_a_sentence(add, tiny_models):
    add("choosy", asks_for_ever, why_not=lambda model: "it has no ears.")
    answer = race(tiny_models["cnn"], random_sample(tiny_models["cnn"]), methods=("choosy", "fgsm"))
    assert row(answer, "choosy")["time"] == "does not fit this model" and row(answer, "choosy")["success"] == ""
    assert "choosy: it has no ears." in answer.note.text and "choosy" not in answer.success.lines


def test_rows_come_as_pictures_are_attacked(tiny_models):
    model, shown = tiny_models["cnn"], []
    race(model, random_sample(model), random_sample(model, 2), budget=5, run=Run(show=shown.append))
    assert [[line[0] for line in answer.standings.rows[:-2]] for answer in shown] == [["FGSM"]] * 2 + [["FGSM", "PGD"]] * 2
