"""The ready-made walks: every step runs on the bundled models, and what its text says holds there."""

from __future__ import annotations

import json
import re

import pytest

import model_zoo
import techniques
from tests.walk_claims import failure, numbers
from ui.walks import FOLDER, answer_of, pictures_of, read_walk, walks

STEPS = [(name, number) for name, walk in walks().items() for number in range(len(walk.steps))]
IDS = [f"{name}-{number + 1}" for name, number in STEPS]


@pytest.fixture(scope="module")
def answers() -> dict:
    """The answer of every step, made when it is first asked for."""
    return {}


def answer(answers: dict, name: str, number: int):
    if (name, number) not in answers:
        walk = walks()[name]
        answers[name, number] = answer_of(walk, number, model_zoo.load(walk.steps[number].model))
    return answers[name, number]


@pytest.mark.parametrize("name,number", STEPS, ids=IDS)
def test_what_a_step_claims_holds_on_the_bundled_models(answers, name, number):
    found = [failure(claim, answer(answers, name, number)) for claim in walks()[name].steps[number].claims]
    assert [why for why in found if why] == []


@pytest.mark.parametrize("name,number", STEPS, ids=IDS)
def test_every_number_in_a_text_is_claimed(name, number):
    """Quoted labels and names of layers aside; numbers of earlier steps may be named again, and settings may be named."""
    walk = walks()[name]
    texts = [step.after for step in walk.steps[: number + 1]]
    said = {float(found) for found in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?!\w|\.\d)", re.sub(r"“[^”]*”", "", texts[-1]))}
    claimed = {float(value) for step in walk.steps[: number + 1] for claim in step.claims for value in numbers(claim)}
    titles = {float(digit) for picture in _samples(walk) for digit in re.findall(r"\d+", picture)}  # "the 8" is a picture
    assert said <= claimed | titles


@pytest.mark.parametrize("name,number", STEPS, ids=IDS)
def test_every_answer_that_a_text_quotes_is_claimed(name, number):
    walk = walks()[name]
    labels = set(model_zoo.load(walk.steps[number].model).labels)
    quoted = {text for text in re.findall(r"“([^”]*)”", walk.steps[number].after) if text in labels}
    claims = walk.steps[number].claims
    of_maps = {claim.get("array", "").partition(".")[2].partition("/")[0] for claim in claims}
    assert quoted <= {claim.get("label") for claim in claims} | of_maps


def _samples(walk) -> list[str]:
    return [picture for step in walk.steps for picture in step.pictures if isinstance(picture, str)]


@pytest.mark.parametrize("name,number", STEPS, ids=IDS)
def test_a_step_has_settings_that_its_technique_takes(name, number):
    step = walks()[name].steps[number]
    technique = techniques.find(step.technique)
    for setting, value in (step.settings or {}).items():
        assert technique.param(setting).check(value, None) is not None
    assert not step.target or technique.param("target")


def test_there_are_the_three_walks_to_begin_with():
    assert list(walks())[:3] == ["cover_the_decisive_region", "the_zero_that_becomes_an_eight", "class_blend_across_layers"]


def test_a_panel_of_an_earlier_step_is_sent_on_at_full_precision(answers):
    walk = walks()["the_zero_that_becomes_an_eight"]
    original, adversarial = pictures_of(walk, 2, model_zoo.load("bundled/digits"))
    made = answer(answers, walk.name, 1)
    assert original.exact and adversarial.origin == "FGSM, epsilon 51/255, of 0"
    assert (adversarial.pixels[0].numpy() == made.adversarial.values).all()


@pytest.mark.parametrize("claim,reason", [
    ({"panel": "predictions", "row": 1, "label": "8", "percent": 60}, "it is 4"),
    ({"panel": "predictions", "row": 1, "label": "0", "percent": 18, "first": True}, "the most probable class is 8"),
    ({"panel": "predictions", "row": 1, "label": "8", "more_than_percent": 90}, "it is 4"),
    ({"array": "adversarial", "mean": 0.9}, "it is 0."),
    ({"array": "predictions.probabilities", "brighter_in": [0, 0.4, 0, 1], "than_in": [0, 0.4, 0, 1]}, "is not twice as much"),
])  # fmt: skip
def test_a_claim_that_does_not_hold_says_what_is_the_case(answers, claim, reason):
    assert reason in failure(claim, answer(answers, "the_zero_that_becomes_an_eight", 1))


@pytest.mark.parametrize("change,fault", [
    ({"model": "timm/resnet18"}, "step 1: the model timm/resnet18 is not bundled"),
    ({"pictures": ["no_such"]}, "There is no sample picture “no_such”"),
    ({"pictures": [{"step": 1, "panel": "x"}]}, "is no panel of an earlier step"),
    ({"claims": []}, "a claim for what its text says"),
    ({"colour": "red"}, "it has no use for colour"),
    ({"after": None}, "it lacks after"),
])  # fmt: skip
def test_a_file_with_a_mistake_says_where_it_is(tmp_path, change, fault):
    given = json.loads((FOLDER / "the_zero_that_becomes_an_eight.json").read_text(encoding="utf-8"))
    step = given["steps"][0] | change
    given["steps"][0] = {name: value for name, value in step.items() if value is not None}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(given), encoding="utf-8")
    with pytest.raises(Exception, match=re.escape(fault)):
        read_walk(path)
