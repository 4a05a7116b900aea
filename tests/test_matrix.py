"""Every technique on networks of many families of timm: each cell is a result or a sentence, and docs/matrix.md says which.

Weights are random but brought to life (see tests/timm_models.py), pictures small where the architecture allows it. Some
techniques get settings that cost less, QUICK; all others run with their defaults. Set LOUPE_WRITE_MATRIX=1 to write
the table anew, with all architectures; without it SOME are tried and held against the table, as far as it has a column for a technique.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import techniques
from model_zoo.errors import AppError
from model_zoo.loaded import LoadedModel, wrap
from techniques.base import (
    Animation, Browser, Curve, Gallery, Heatmap, Histogram, Note, Picture, Predictions, Sample, Samples, Scatter, Table, Technique, execute,
)  # fmt: skip
from techniques.base.results import KINDS, Result, all_arrays, panels
from tests.quick_settings import QUICK
from tests.timm_models import ARCHITECTURES, build, family, network_of, pictures

TABLE = Path(__file__).resolve().parents[1] / "docs" / "matrix.md"
CATALOGUE = techniques.catalogue()
YES = "yes"
WRITE = os.environ.get("LOUPE_WRITE_MATRIX") == "1"
SOME = (  # one of each kind; all of them take longer than all other tests together
    "resnet18", "mobilenetv3_small_050", "convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "levit_128s",
)  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, str]]:
    """What has been found so far, by architecture."""
    return {}


@pytest.mark.parametrize("name", ARCHITECTURES if WRITE else SOME)
def test_every_technique_gives_a_result_or_a_sentence(name, rows):
    model = build(name)
    cells = {technique.name: cell(technique, model) for technique in CATALOGUE.values()}
    rows[name] = {"family": family(name), **places(model), **cells}
    assert [said for said in cells.values() if said != YES and not is_a_sentence(said)] == []


def test_the_published_table_is_what_was_found(rows):
    if WRITE and set(rows) == set(ARCHITECTURES):
        TABLE.write_text(table(rows), encoding="utf-8")
    published = read_table(TABLE.read_text(encoding="utf-8"))
    assert set(published) == set(ARCHITECTURES)
    differing = {name: {key: said for key, said in row.items() if published[name].get(key, said) != said} for name, row in rows.items()}
    assert WRITE <= all(set(row) <= set(published[name]) for name, row in rows.items())
    assert not any(differing.values()), "run the tests in this file with LOUPE_WRITE_MATRIX=1"


def test_the_matrix_has_at_least_forty_families():
    assert len({family(name) for name in ARCHITECTURES}) >= 40


def cell(technique: Technique, model: LoadedModel) -> str:
    """YES for an answer that is alive, else the sentence that says why there is none."""
    sample, dead = given(technique, model), []
    quick = [QUICK[technique.name]] if technique.name in QUICK else []
    for settings in (*quick, {}):  # what costs less may come to nothing, and so may an attack
        try:
            answer = execute(technique, sample, model, settings)
        except AppError as refusal:
            return str(refusal).replace(model.title, "this model")
        assert all(np.isfinite(array).all() for array in all_arrays(answer).values() if array.dtype.kind == "f")
        dead = [panel for panel, result in panels(answer).items() if not alive(result)]
        if not dead:
            return YES
    if dead == ["perturbation"]:
        return YES
    raise AssertionError(f"{technique.name} shows nothing in {', '.join(dead)}")


def given(technique: Technique, model: LoadedModel) -> Sample | Samples:
    """One picture, or two different ones, that the model was not brought to life with."""
    preprocessing = model.preprocessing
    pixels = pictures(2, preprocessing.channels, *preprocessing.size, seed=5)
    samples = tuple(Sample.from_pixels(picture, f"patches {number}") for number, picture in enumerate(pixels))
    return Samples(samples) if technique.many else samples[0]


def varies(values: np.ndarray) -> bool:
    return bool(np.ptp(values) > 0)


ALIVE = {
    Heatmap: lambda result: varies(result.values),
    Picture: lambda result: varies(result.values),
    Gallery: lambda result: any(alive(item) for item in result.items),
    Predictions: lambda result: all(varies(row) for row in result.logits),
    Table: lambda result: bool(result.rows),
    Curve: lambda result: any(varies(line) for line in result.lines.values()),
    Histogram: lambda result: any(counts.any() for counts in result.counts.values()),
    Animation: lambda result: varies(result.frames),
    Scatter: lambda result: varies(result.points),
    Note: lambda result: bool(result.text),
    Browser: lambda result: any(alive(leaf) for _, leaf in result.leaves()),  # one filter may be dead, and one class have nothing for it
}


def alive(result: Result) -> bool:
    """Whether a panel shows anything: a map or a picture more than one value, a table a row, a browser a cell that does."""
    return ALIVE[type(result)](result)


def test_every_kind_of_result_can_be_told_alive_from_dead():
    assert set(ALIVE) == set(KINDS)
    assert alive(Heatmap(np.eye(2))) and not alive(Heatmap(np.ones((2, 2))))


def is_a_sentence(text: str) -> bool:
    """A plain sentence or two for a visitor: no traceback, no path, no name of an exception."""
    return len(text) < 300 and text.endswith(".") and text[0].isupper() and not re.search(r"Traceback|Error|/\w+/|\n", text)


@pytest.mark.parametrize("text", ["RuntimeError: shape '[2, 3]' is invalid.", "no layer", "See /usr/lib/python.", "One.\nTwo."])
def test_what_is_no_sentence_is_told(text):
    assert not is_a_sentence(text) and is_a_sentence("No layer of this model has places in the picture.")


def places(model: LoadedModel) -> dict[str, str]:
    """The default layer of a model and its grid, in words."""
    if not model.default_layer:
        return {"default layer": "none", "grid": ""}
    layer = model.layer()
    prefix = f", {layer.prefix_tokens} prefix" if layer.prefix_tokens else ""
    kind = "tokens" if layer.kind == "tokens" else "channels last" if layer.channels_last else "maps"
    return {"default layer": layer.name, "grid": f"{layer.grid[0]} × {layer.grid[1]} {kind}{prefix}"}


def table(rows: dict[str, dict[str, str]]) -> str:
    """The published page: a row per architecture, a column per technique, reasons below."""
    reasons = list(dict.fromkeys(row[name] for row in rows.values() for name in CATALOGUE if row[name] != YES))
    columns = ("architecture", "family in timm", "pictures", "default layer", "its grid", *(technique.title for technique in CATALOGUE.values()))
    lines = [
        "# Every technique on many architectures",
        "",
        "Made by `LOUPE_WRITE_MATRIX=1 python -m pytest tests/test_matrix.py`, which fails when this page is not what it finds. Weights are random;",
        "pictures are as small as the architecture allows, and some networks are narrower or shallower than those with trained weights.",
        "“yes” is a result of finite numbers that are not all the same, but for an attack that may come to nothing; a number points to",
        "the sentence that a visitor reads instead.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
    ]
    for name, row in rows.items():
        cells = (YES if row[technique] == YES else f"[{reasons.index(row[technique]) + 1}]" for technique in CATALOGUE)
        side = ARCHITECTURES[name].side
        lines.append("| " + " | ".join((f"`{name}`", row["family"], f"{side} px", f"`{row['default layer']}`", row["grid"], *cells)) + " |")
    lines += ["", f"{len(rows)} architectures of {len({row['family'] for row in rows.values()})} families in timm."]
    lines += [""] * bool(reasons) + [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join(lines) + "\n"


def read_table(page: str) -> dict[str, dict[str, str]]:
    """The rows of the published page, as they were found; columns are known by their titles."""
    lines = [[part.strip() for part in line.strip("| ").split(" | ")] for line in page.splitlines() if line.startswith(("| `", "| architecture"))]
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", page, re.M))
    titles = {"family in timm": "family", "default layer": "default layer", "its grid": "grid", **{t.title: t.name for t in CATALOGUE.values()}}
    keys = [titles.get(title, "") for title in lines[0][1:]]
    found = {}
    for name, *cells in lines[1:]:
        row = dict(zip(keys, (reasons.get(cell.strip("[]"), cell) for cell in cells)))
        found[name.strip("`")] = {key: cell.strip("`") if key == "default layer" else cell for key, cell in row.items() if key}
    return found


@pytest.mark.parametrize("name", ["resnet18", "swinv2_tiny_window8_256", "levit_128s", "efficientvit_m0", "eva02_tiny_patch14_224", "mvitv2_tiny"])
def test_looking_at_a_network_changes_no_answer_of_it(name):
    """It was tried at another picture size, too, and some networks keep things for a size; in-place work was switched off."""
    network, preprocessing = network_of(name)
    pixels = pictures(1, 3, *preprocessing.size)
    with torch.no_grad():
        before = network(pixels)
        assert torch.equal(wrap(network, key=name, preprocessing=preprocessing).network(pixels), before)
