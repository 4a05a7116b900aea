"""The registry: a technique is one file, and a mistake in it is told by name when it is imported."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import techniques
from techniques.__main__ import main, technique_parser
from techniques.base import TECHNIQUES, IncompatibleModel, ParameterError, Picture, Sample
from tests.test_contract import check_answer

ROOT = Path(__file__).resolve().parents[1]

NEGATIVE = '''"""The picture as a negative.

After Nobody 2026, arXiv:0000.00000.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from techniques.base import Help, LoadedModel, Picture, Range, Run, Sample, TargetClass, technique


@technique(title="Negative", family="Covering", paper="arXiv:0000.00000", limits="Anything about the network.")
def negative(
    sample: Sample, model: LoadedModel, run: Run, *,
    strength: Annotated[float, Range(0, 1, 0.1, "of the way"), Help("How far to go.")] = 1.0,
) -> Picture:
    """The negative, `[C, H, W]` in `[0, 1]`."""
    return Picture((sample.pixels + strength * (1 - 2 * sample.pixels))[0])
'''


@pytest.fixture
def add(tmp_path, monkeypatch):
    """A function that puts a file of this source into a second folder of techniques; all is forgotten afterwards."""
    techniques.catalogue()
    known = dict(TECHNIQUES)
    monkeypatch.setattr(techniques, "__path__", [*techniques.__path__, str(tmp_path)])
    added = []

    def add(source: str, name: str = "negative") -> None:
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        importlib.invalidate_caches()
        added.append(name)

    yield add
    TECHNIQUES.clear()
    TECHNIQUES.update(known)
    for name in added:
        sys.modules.pop(f"techniques.{name}", None)
        vars(techniques).pop(name, None)


def varied(old: str, new: str) -> str:
    """The source of the negative with one thing changed."""
    assert NEGATIVE.count(old) == 1
    return NEGATIVE.replace(old, new)


def noise(model, seed: int = 0) -> Sample:
    preprocessing = model.preprocessing
    return Sample.from_pixels(torch.rand(preprocessing.channels, *preprocessing.size, generator=torch.Generator().manual_seed(seed)), "noise")


# One file is enough


def test_a_file_in_the_folder_is_in_the_catalogue_and_runs(add, tiny_models):
    add(NEGATIVE)
    assert "negative" in techniques.catalogue()
    sample = noise(tiny_models["cnn"])
    answer = techniques.run("negative", sample, tiny_models["cnn"])
    assert np.allclose(answer.values, 1 - sample.pixels[0].numpy(), atol=1e-6)  # one rounding in float32


def test_what_the_page_says_of_a_technique_is_read_from_its_file(add):
    add(NEGATIVE)
    found = techniques.find("negative")
    assert (found.meaning, found.many, found.results) == ("The picture as a negative.", False, {"result": Picture})
    (strength,) = found.params
    assert (strength.name, strength.kind, strength.default, strength.help) == ("strength", "number", 1.0, "How far to go.")
    assert strength.expected == "a number from 0 to 1 of the way"


def test_a_new_file_is_a_command_with_its_own_options(add, capsys):
    add(NEGATIVE)
    assert main([]) == 0
    assert re.search(r"^  negative +The picture as a negative\.$", capsys.readouterr().out, re.MULTILINE)
    assert "--strength NUMBER" in technique_parser(techniques.find("negative")).format_help()


def test_a_new_file_is_a_tab_and_an_endpoint_with_named_parameters(add):
    from ui.page import build
    from ui.settings import read_settings

    add(NEGATIVE)
    page = build(read_settings([]))
    components = page.get_config_file()["components"]
    assert [part["props"]["label"] for part in components if part["type"] == "tabitem" and part["props"]["id"] == "negative"] == ["Negative"]
    (slider,) = [part["props"] for part in components if part["props"].get("elem_id") == "negative-strength"]
    assert (slider["minimum"], slider["maximum"], slider["step"], slider["value"], slider["info"]) == (0, 1, 0.1, 1.0, "How far to go.")
    endpoint = page.get_api_info()["named_endpoints"]["/negative"]
    assert [parameter["parameter_name"] for parameter in endpoint["parameters"]] == ["image", "model", "strength", "framing"]


def test_a_technique_on_a_set_of_pictures_says_so_in_its_first_argument(add, tiny_models):
    add(NEGATIVE.replace("Sample", "Samples").replace("sample:", "samples:").replace("sample.", "samples[-1]."))
    assert techniques.find("negative").many
    model = tiny_models["one_channel"]
    pictures = [noise(model, seed) for seed in (1, 2)]
    answer = techniques.run("negative", pictures, model)
    assert np.allclose(answer.values, 1 - pictures[1].pixels[0].numpy(), atol=1e-6)  # one rounding in float32


def test_several_results_are_a_panel_each_in_the_order_of_the_fields(add):
    answer = "class Answer(NamedTuple):\n    after: Picture\n    before: Picture | None\n\n\n@technique("
    add(varied("@technique(", answer).replace("-> Picture", "-> Answer"))
    assert list(techniques.find("negative").results.items()) == [("after", Picture), ("before", Picture)]


def test_why_not_keeps_a_model_out_with_its_sentence(add, tiny_models):
    add(varied("title=", 'why_not=lambda model: None if model.classes > 5 else "it has too few classes.", title='))
    with pytest.raises(IncompatibleModel, match="Negative does not work on Tiny cnn: it has too few classes."):
        techniques.run("negative", noise(tiny_models["cnn"]), tiny_models["cnn"])
    assert techniques.run("negative", noise(tiny_models["one_channel"]), tiny_models["one_channel"]).values.shape == (1, 28, 28)


def test_a_technique_that_does_not_exist_is_refused_with_the_names_of_those_that_do():
    with pytest.raises(ParameterError, match="There is no technique “gradcam”. Expected one of .*grad_cam"):
        techniques.find("gradcam")


def test_techniques_stand_in_the_order_of_their_families():
    families = [technique.family for technique in techniques.catalogue().values()]
    assert families == sorted(families, key=list(techniques.base.FAMILIES).index)


# Mistakes are told by name

HELP = ', Help("How far to go.")'
RANGE = ', Range(0, 1, 0.1, "of the way")'
MISTAKES = {
    "no default": ("] = 1.0,", "],", "parameter “strength”: it has no default"),
    "no range": (RANGE, "", "parameter “strength”: a number needs a Range"),
    "no help": (HELP, "", "parameter “strength”: it has no Help sentence"),
    "a bare setting": (f": Annotated[float{RANGE}{HELP}] = 1.0", "=1.0", "parameter “strength”: it has no Help sentence"),
    "an unknown type of setting": (f"float{RANGE}", "bytes", "parameter “strength”: its type <class 'bytes'> is none of int, float"),
    "a default outside the range": ("= 1.0", "= 1.5", "parameter “strength”: the default 1.5 is not allowed. Expected a number from 0 to 1"),
    "a default that is no choice": (f"float{RANGE}", 'Literal["half", "full"]', "the default 1.0 is not allowed. Expected one of half, full"),
    "choices that are no texts": (f"float{RANGE}", "Literal[1, 2]", "its choices (1, 2) must be texts"),
    "a class as the default": (f"Annotated[float{RANGE}{HELP}] = 1.0", "TargetClass = 3", "the default 3 does not fit every model. Expected None"),
    "settings without the star": ("run: Run, *,", "run: Run,", "its arguments must be a Sample or Samples, a LoadedModel, a Run"),
    "pixels instead of a sample": ("sample: Sample,", "sample: list,", "its arguments must be a Sample or Samples"),
    "no run": ("run: Run, *", "*", "its arguments must be a Sample or Samples, a LoadedModel, a Run"),
    "an unknown kind of result": ("-> Picture", "-> list", "“result” is of kind <class 'list'>. Expected one of Heatmap, Picture"),
    "no kind of result": (" -> Picture", "", "“result” is of kind None. Expected one of Heatmap, Picture"),
    "one unknown kind among several": ("-> Picture", '-> NamedTuple("Answer", [("map", Picture), ("loss", float)])', "“loss” is of kind <class 'float'>"),
    "an unknown family": ("Covering", "What it dreams", "unknown family “What it dreams”. Expected one of Regions, "),
    "no limits": ("Anything about the network.", "", "it needs a module docstring that says what the picture means, and limits"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_fails_at_import_with_a_sentence_that_names_it(add, old, new, sentence):
    add(varied(old, new))
    with pytest.raises((TypeError, ValueError)) as refusal:
        importlib.import_module("techniques.negative")
    assert str(refusal.value).startswith("technique “negative”") and sentence in str(refusal.value)
    assert "negative" not in TECHNIQUES


def test_a_file_without_a_docstring_fails_at_import(add):
    add(NEGATIVE.partition('"""\n\n')[2])
    with pytest.raises(TypeError, match="technique “negative”: it needs a module docstring"):
        importlib.import_module("techniques.negative")


def test_a_second_technique_of_the_same_name_fails_and_the_first_one_stays(add, tmp_path, monkeypatch):
    first = techniques.find("saliency")
    folder = tmp_path / "workshop"
    folder.mkdir()
    (folder / "saliency.py").write_text(NEGATIVE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="technique “saliency” is registered already, by techniques.saliency"):
        importlib.import_module("workshop.saliency")
    assert techniques.find("saliency") is first


# The example in CONTRIBUTING.md


@pytest.fixture
def frame(add) -> str:
    """The source of the example's own test; it and the example of an attack are among the techniques."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    source, test, attack = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    add(source, "frame")
    add(attack, "sign_search")
    return test


def test_the_example_of_the_contributing_page_works_as_it_stands(frame, tiny_model):
    answer = techniques.run("frame", noise(tiny_model), tiny_model, points=5)
    check_answer(techniques.find("frame"), tiny_model, answer)
    (probabilities,) = answer.lines.values()
    shape = (1, tiny_model.preprocessing.channels, *tiny_model.preprocessing.size)
    of_grey = tiny_model.probabilities(torch.full(shape, 0.5))[0, tiny_model.target(None, noise(tiny_model).pixels)]
    assert answer.x.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert probabilities[-1] == pytest.approx(float(of_grey), abs=1e-6)  # the same pass, in float32


def test_the_attack_of_the_contributing_page_works_as_it_stands(frame, tiny_model):
    answer = techniques.run("sign_search", noise(tiny_model), tiny_model, epsilon=32.0)
    check_answer(techniques.find("sign_search"), tiny_model, answer)
    before, after, _ = answer.predictions.logits
    assert before.argmax() != after.argmax() and answer.replay.names[0].startswith("step 0: ")


def test_the_test_on_the_contributing_page_passes(frame, tiny_model):
    names: dict = {}
    exec(frame, names)
    (test,) = [value for name, value in names.items() if name.startswith("test_")]
    test(tiny_model)
