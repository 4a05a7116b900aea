"""Robust accuracy: numbers of the attack's own tab, what counts as right, a run that was stopped goes on, memory that stays bounded."""

from __future__ import annotations

import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import techniques
from model_zoo.loaded import wrap
from techniques.base import Cancelled, IncompatibleModel, Run
from techniques.base.attacks import memory
from techniques.base.attacks.memory import Found, Memory, question
from techniques.base.pictures import ReadPicture
from techniques.base.results import all_arrays
from techniques.base.sample import Samples, Waiting, to_image
from tests.attack_cases import grey, linear_model, random_sample


@pytest.fixture(autouse=True)
def nothing_is_remembered():
    memory.MEMORY.clear()
    yield
    memory.MEMORY.clear()


def robust_accuracy(model, *samples, **settings):
    return techniques.run("robust_accuracy", list(samples), model, **settings)


def noises(model, count: int):
    return [replace(random_sample(model, seed), origin=f"noise {seed}") for seed in range(count)]


# The numbers


def test_with_batches_of_one_each_row_is_what_the_attacks_own_tab_says(tiny_model):
    samples = noises(tiny_model, 3)
    answer = robust_accuracy(tiny_model, *samples, epsilon=1.0, batch=1, seed=4)
    fooled, by_noise = [], []
    for place, sample in enumerate(samples):
        alone = techniques.run("pgd", sample, tiny_model, epsilon=1.0, seed=4)
        measures = dict(zip(alone.measures.columns, alone.measures.rows[0]))
        row = dict(zip(answer.by_picture.columns, answer.by_picture.rows[place]))
        assert np.array_equal(answer.pictures.items[2 * place + 1].values, alone.adversarial.values)
        assert (row["success"], row["queries"]) == (measures["success"], measures["forward passes (queries)"])
        assert (row["L2"], row["L-infinity in 1/255"]) == pytest.approx((measures["L2"], measures["L-infinity in 1/255"]), rel=1e-5)  # float32
        fooled.append(measures["success"])
        by_noise.append(alone.measures.rows[1][-1])
    assert [row[1] for row in answer.accuracy.rows] == pytest.approx([1, 1 - np.mean(fooled), 1 - np.mean(by_noise)])


def test_in_one_batch_the_same_pictures_fall_as_one_by_one(tiny_models):
    model = tiny_models["cnn"]
    samples = noises(model, 5)
    together, alone = (robust_accuracy(model, *samples, method="fgsm", batch=batch) for batch in (5, 1))
    assert [row[6] for row in together.by_picture.rows] == [row[6] for row in alone.by_picture.rows]
    assert together.by_picture.arrays()["queries"].tolist() == [2] * 5  # FGSM's, for each picture of the batch


def test_what_the_model_gets_wrong_is_lost_before_the_attack_and_cannot_be_won_by_it():
    """A grey of 0.5 is “on” in the linear model by a margin of 3; told that it belongs to “off”, it is wrong from the start."""
    wrong = replace(grey(), group="off")
    answer = robust_accuracy(linear_model(), grey(), wrong, method="fgsm", epsilon=4.0)
    assert [row[1] for row in answer.accuracy.rows] == [0.5, 0.5, 0.5]
    right, lost = (dict(zip(answer.by_picture.columns, row)) for row in answer.by_picture.rows)
    assert (right["right class"], right["success"], lost["right class"], lost["success"]) == ("on", 0, "off", 1)
    assert lost["L-infinity in 1/255"] == pytest.approx(4, rel=1e-5) and lost["probability then"] > lost["probability"]  # driven further away


def test_a_chosen_class_is_what_counts_as_success(tiny_models):
    model = tiny_models["cnn"]
    answer = robust_accuracy(model, *noises(model, 3), target=2, epsilon=16.0)
    assert [row[4] == model.label(2) for row in answer.by_picture.rows] == [bool(row[6]) for row in answer.by_picture.rows] and answer.by_picture.rows[0][6] == 1


def test_an_attack_that_does_not_fit_says_so(tiny_models, monkeypatch):
    monkeypatch.setitem(techniques.TECHNIQUES, "fgsm", replace(techniques.find("fgsm"), why_not=lambda model: "it has no ears."))
    with pytest.raises(IncompatibleModel, match="^FGSM does not work on Tiny cnn: it has no ears.$"):
        robust_accuracy(tiny_models["cnn"], *noises(tiny_models["cnn"], 1), method="fgsm")


# A run that goes on


def stopped_after(batches: int):
    """A Run that stops itself when so many batches are shown."""
    stop, shown = threading.Event(), []

    def show(answer):
        shown.append(answer)
        if len(shown) == batches:
            stop.set()

    return Run(show=show, stop=stop), shown


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_numbers(tiny_models):
    model = tiny_models["cnn"]
    samples, settings = noises(model, 7), {"batch": 2, "epsilon": 1.0}
    whole = robust_accuracy(model, *samples, **settings)
    memory.MEMORY.clear()
    run, shown = stopped_after(2)
    with pytest.raises(Cancelled):
        robust_accuracy(model, *samples, run=run, **settings)
    assert len(shown[-1].by_picture.rows) == 4
    passes = []
    handle = model.network.register_forward_hook(lambda _module, inputs, _output: passes.append(len(inputs[0])))
    try:
        again = robust_accuracy(model, *samples, **settings)
    finally:
        handle.remove()
    assert again.note.text.endswith("4 of 7 were remembered.") and "remembered" not in whole.note.text
    assert again.by_picture.rows == whole.by_picture.rows
    expected, found = all_arrays(whole), all_arrays(again)
    assert expected.keys() == found.keys() and all(np.array_equal(expected[name], found[name]) for name in expected)
    assert sum(passes) == 7 + 3 * (10 + 1 + 1)  # each picture as it is; of three, ten steps, their end, and white noise


@pytest.mark.parametrize("other", [{"epsilon": 2.0}, {"norm": "l2"}, {"seed": 1}, {"target": 1}, {"method": "fgsm"}])
def test_another_question_is_not_answered_from_memory(tiny_models, other):
    model, settings = tiny_models["cnn"], {"epsilon": 1.0}
    robust_accuracy(model, *noises(model, 2), **settings)
    assert "remembered" not in robust_accuracy(model, *noises(model, 2), **{**settings, **other}).note.text
    assert "2 of 2 were remembered" in robust_accuracy(model, *noises(model, 2), **settings).note.text


def test_another_picture_of_the_same_name_another_class_and_another_model_are_not_taken_for_those_remembered(tiny_models):
    model = tiny_models["cnn"]
    sample = noises(model, 1)[0]
    robust_accuracy(model, sample)
    other = replace(noises(model, 2)[1], origin=sample.origin)
    grouped = replace(sample, group=model.label((int(model.logits(sample.pixels).argmax()) + 1) % model.classes))
    louder = wrap(Louder(model.network), key=model.key, labels=model.labels, preprocessing=model.preprocessing)
    wider = wrap(Louder(model.network), key=model.key, preprocessing=model.preprocessing, multi_label=True)
    for copy in (louder, wider):
        object.__setattr__(copy, "sha256", model.sha256)  # the same weights under the same names
    for asked_about, asked in ((other, model), (grouped, model), (sample, louder), (sample, wider)):
        assert "remembered" not in robust_accuracy(asked, asked_about).note.text


class Louder(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, pixels):
        return 1.01 * self.network(pixels)


def test_who_writes_into_an_answer_does_not_write_into_the_memory(tiny_models):
    model = tiny_models["cnn"]
    first = robust_accuracy(model, *noises(model, 1))
    expected = first.pictures.items[1].values.copy()
    first.pictures.items[1].values[:] = 0
    assert np.array_equal(robust_accuracy(model, *noises(model, 1)).pictures.items[1].values, expected)


# Bounds


def found(size: int) -> Found:
    return Found(*(torch.zeros(size) for _ in range(3)), True, 0.0, 0.0, 1, 1, None)


def test_the_memory_forgets_what_was_not_asked_for_longest():
    kept = Memory(limit=3 * found(100).bytes)
    for name in "abc":
        kept.keep(name, found(100))
    assert kept.find("a", torch.zeros(100))
    kept.keep("d", found(100))
    kept.keep("d", found(100))
    assert [bool(kept.find(name, torch.zeros(100))) for name in "abcd"] == [True, False, True, True]
    kept.keep("large", found(10_000))
    assert not any(kept.find(name, torch.zeros(100)) for name in "abcd") and kept.find("large", torch.zeros(10_000)) is None


def test_a_question_names_the_pixels_to_the_last_bit(tiny_models):
    model = tiny_models["cnn"]
    pixels = random_sample(model).pixels[0]
    other = pixels.clone()
    other[0, 0, 0] += 1e-7
    assert question(model, pixels, ()) == question(model, pixels.clone(), ()) != question(model, other, ())


def test_of_a_large_set_a_batch_is_in_memory_at_a_time_and_the_first_pictures_are_shown(tiny_models, monkeypatch):
    model, alive, most = tiny_models["one_channel"], weakref.WeakSet(), []
    make = Waiting.sample

    def counted(waiting):
        sample = make(waiting)
        alive.add(sample)
        most.append(len(alive))
        return sample

    monkeypatch.setattr(Waiting, "sample", counted)
    images = [ReadPicture(to_image(sample.pixels[0]), f"{number}.png", ()) for number, sample in enumerate(noises(model, 40))]
    answer = techniques.base.execute(techniques.find("robust_accuracy"), Samples.of(images, model), model, {"method": "fgsm", "batch": 4})
    assert len(answer.by_picture.rows) == 40 and len(answer.pictures.items) == 2 * 24
    assert max(most) <= 2 * 4 + 1  # a batch, the one before it, and its copies on their way to the device
