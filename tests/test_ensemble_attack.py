"""The ensemble attack: one model is I-FGSM, several are climbed by the one that is furthest from fooled, and classes are matched by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import model_zoo
import techniques
from model_zoo.errors import ParameterError
from techniques.base import LoadedModel, Run
from techniques.base.models_at_hand import same_class
from techniques.base.transformations import fitted
from tests.attack_cases import random_sample, squeezenet_and_photographs
from ui.samples import sample as sample_picture


@pytest.fixture
def at_hand(tiny_models, monkeypatch) -> dict[str, LoadedModel]:
    """Models by key in place of the model zoo's; the transformer counts its classes backwards."""
    transformer = tiny_models["transformer"]
    head = torch.nn.Sequential(transformer.network, Backwards())
    known = {
        "turned": replace(transformer, key="turned", title="Turned", network=head, labels=transformer.labels[::-1]),
        "digits": replace(tiny_models["one_channel"], key="digits", title="Digits"),
        "plain": replace(transformer, key="plain", title="Plain"),
    }
    monkeypatch.setattr(model_zoo, "load", known.__getitem__)
    monkeypatch.setattr(model_zoo, "needs_download", lambda key: None)
    return known


class Backwards(torch.nn.Module):
    def forward(self, scores):
        return scores.flip(1)


def attack(model, *keys, seed=1, run=None, **settings):
    return techniques.run("ensemble_attack", random_sample(model, seed), model, models=("this", *keys), run=run, **settings)


def test_against_one_model_it_is_pgd_from_the_picture(tiny_models):
    model = tiny_models["cnn"]
    found = attack(model, epsilon=4.0, steps=6, step_size=0.3)
    settings = {"epsilon": 4.0, "steps": 6, "step_size": 0.3, "random_start": False, "shrinking": False, "loss": "cross-entropy"}
    expected = techniques.run("pgd", random_sample(model), model, **settings)
    assert np.array_equal(found.adversarial.values, expected.adversarial.values)
    assert found.note.text.endswith("Choose more models to see who else falls for it.")
    assert [row[0] for row in found.transfer.rows] == ["the picture itself", "white noise of the same size", "found against Tiny cnn"]


@pytest.mark.parametrize("target", [None, 2])
def test_the_step_follows_the_soft_minimum_of_what_each_model_gains(tiny_models, at_hand, target):
    """In l2 and within the ball the change is the direction itself."""
    model, sample = tiny_models["cnn"], random_sample(tiny_models["cnn"])
    found = attack(model, "plain", target=target, epsilon=1.0, norm="l2", steps=1, step_size=1.0).adversarial.values
    pixels = sample.pixels.clone().requires_grad_(True)
    label = int(model.logits(pixels).argmax()) if target is None else target
    shares = torch.stack([each.logits(pixels).softmax(1)[0, label] for each in (model, at_hand["plain"])])
    gain = -shares.mean().log() if target is None else -(1 / shares).mean().log()
    gain.backward()
    step = pixels.grad / pixels.grad.norm() * (1 / 255) * (3 * 32 * 32) ** 0.5
    np.testing.assert_allclose(found, (sample.pixels + step).clamp(0, 1)[0].numpy(), rtol=0, atol=1e-6)  # sums in another order


def test_what_is_found_against_both_fools_both_and_what_is_found_against_one_does_not(tiny_models, at_hand):
    model = tiny_models["cnn"]
    answer = attack(model, "plain", target=1, epsilon=24.0, steps=20)
    fooled = {row[0]: tuple(said.partition(",")[0] for said in row[1:-1]) for row in answer.transfer.rows}
    assert answer.transfer.columns == ("picture", "fools Tiny cnn", "fools Plain", "fooled")
    assert fooled["found against all"] == ("yes", "yes") and answer.transfer.rows[-1][-1] == 2
    assert fooled["found against Tiny cnn"] == ("yes", "no") and fooled["found against Plain"] == ("no", "yes")
    assert fooled["the picture itself"] == fooled["white noise of the same size"] == ("no", "no")


def test_a_class_is_found_by_its_name_whatever_its_number(tiny_models, at_hand):
    model = tiny_models["cnn"]
    plain, turned = (attack(model, key, target=1, steps=4) for key in ("plain", "turned"))
    assert np.array_equal(plain.adversarial.values, turned.adversarial.values)
    assert [row[1:] for row in plain.transfer.rows] == [row[1:] for row in turned.transfer.rows]


def test_a_label_means_the_same_as_one_with_a_synonym_in_common(tiny_models):
    model = replace(tiny_models["cnn"], labels=("tench, Tinca tinca", "Chain-saw", "3", "maillot", "not tench"))
    assert [same_class(model, label) for label in ("Tench", "chainsaw", "tinca tinca, fish", "3", "0", "saw", "", None)] == [0, 1, 0, 2, *[None] * 4]


def test_a_model_without_the_class_is_left_out_with_a_sentence(tiny_models, at_hand):
    model = tiny_models["cnn"]
    answer = attack(model, "digits", "plain", target="church", steps=2)
    assert "Digits has no class “church” and is left out." in answer.note.text
    assert answer.transfer.columns == ("picture", "fools Tiny cnn", "fools Plain", "fooled")
    with pytest.raises(ParameterError, match="^None of the chosen models has a class “church”. Choose other models"):
        techniques.run("ensemble_attack", random_sample(model), model, models=("digits",), target="church")


def test_the_model_in_use_may_be_the_one_that_the_picture_was_never_tried_on(tiny_models, at_hand):
    model = tiny_models["cnn"]
    alone = techniques.run("ensemble_attack", random_sample(model), model, models=("plain",), target=1, steps=3)
    assert alone.transfer.columns[1:3] == ("fools Tiny cnn", "fools Plain")
    assert alone.measures.rows[0][8:11] == (3, 3 + 3, 3)  # one model is climbed, the other one looks


def test_of_three_models_all_but_one_are_attacked_too_and_every_pass_is_counted(tiny_models, at_hand):
    answer = attack(tiny_models["cnn"], "plain", "turned", steps=2)
    assert [row[0] for row in answer.transfer.rows[2:]] == [
        *(f"found against {name}" for name in ("Tiny cnn", "Plain", "Turned")),
        *(f"found against all but {name}" for name in ("Tiny cnn", "Plain", "Turned")),
        "found against all",
    ]  # fmt: skip
    assert answer.measures.rows[0][8:11] == (2, 2 * 3 + 2, 2 * 3)


def test_the_report_comes_first_and_the_table_row_by_row(tiny_models, at_hand):
    shown = []
    attack(tiny_models["cnn"], "plain", steps=3, run=Run(show=shown.append))
    assert [len(answer.transfer.rows) if hasattr(answer, "transfer") else None for answer in shown] == [None] * 3 + [2, 3, 5]


def test_another_model_sees_the_picture_in_its_own_size_and_channels(tiny_models):
    pixels, own = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0)), tiny_models["one_channel"].preprocessing
    grey = fitted(pixels, own)
    assert torch.allclose(grey[:, 0], 0.299 * pixels[:, 0] + 0.587 * pixels[:, 1] + 0.114 * pixels[:, 2], rtol=0, atol=1e-6)
    colour = fitted(grey, replace(own, channels=3, size=(56, 14)))
    assert colour.shape == (2, 3, 56, 14) and torch.equal(colour[:, 0], colour[:, 2])
    assert colour.mean() == pytest.approx(float(grey.mean()), abs=0.01)
    opaque = fitted(pixels, replace(own, channels=4))
    assert (opaque[:, 3] == 1).all() and torch.equal(opaque[:, :3], pixels) and torch.equal(fitted(opaque, replace(own, channels=3)), pixels)


def test_two_real_networks_are_fooled_together_where_each_alone_leaves_the_other_right(shared_folder, monkeypatch):
    squeezenet, _ = squeezenet_and_photographs(Path(shared_folder))
    squeezenet = replace(squeezenet, labels=_imagenet())
    model, church = model_zoo.load("bundled/imagenette"), sample_picture("church").path
    monkeypatch.setattr(model_zoo, "load", lambda key: squeezenet)
    monkeypatch.setattr(model_zoo, "needs_download", lambda key: None)
    answer = techniques.run("ensemble_attack", church, model, models=("this", "squeezenet"), target="gas pump", steps=8)
    fooled = [[said.partition(",")[0] for said in row[1:-1]] for row in answer.transfer.rows]
    assert fooled == [["no", "no"], ["no", "no"], ["yes", "no"], ["no", "yes"], ["yes", "yes"]]


def _imagenet() -> tuple[str, ...]:
    from model_zoo.labels import imagenet_labels

    return imagenet_labels(1000)
