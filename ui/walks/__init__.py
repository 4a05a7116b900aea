"""Ready-made experiments, one data file each: a few steps with a model, a picture, a technique and its settings, and a
sentence before and after each. CONTRIBUTING says how to add one; what a text says, the file claims, and a test checks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from techniques.base import Gallery, Sample
from techniques.base.pictures import ReadPicture, read_picture
from techniques.base.results import panels
from ui.samples import sample

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel

FOLDER = Path(__file__).parent
BUNDLED = "bundled/"  # walks need no network
PANEL_KEYS = {"step", "panel", "item"}


@dataclass(frozen=True)
class Step:
    """One thing to look at.

    `pictures` are names of samples, or panels of earlier steps: {"step": 2, "panel": "adversarial"}, of a gallery with "item".
    Two of them are a pair for a technique that compares. `before` says what is done, `after` what is seen; `claims` are what a test
    checks of it (`tests/walk_claims.py`).
    """

    title: str
    model: str
    pictures: tuple[str | Mapping[str, Any], ...]
    technique: str
    before: str
    after: str
    claims: tuple[Mapping[str, Any], ...]
    target: str = ""
    settings: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Walk:
    """An experiment: `name` is that of its file."""

    name: str
    title: str
    introduction: str
    order: int
    steps: tuple[Step, ...]


@lru_cache(maxsize=1)
def walks() -> Mapping[str, Walk]:
    """Every walk of this folder by its name, small `order` first."""
    read = [read_walk(path) for path in FOLDER.glob("*.json")]
    return {walk.name: walk for walk in sorted(read, key=lambda walk: (walk.order, walk.name))}


def read_walk(path: Path) -> Walk:
    """The walk in a file; ValueError names the file and the step in which something is missing or too much."""
    given = json.loads(path.read_text(encoding="utf-8"))
    _check_keys(path.name, given, {"title", "introduction", "order", "steps"}, set())
    steps: list[Step] = []
    optional = {field.name for field in fields(Step) if field.default is None or field.default == ""}
    for number, entry in enumerate(given["steps"], 1):
        where = f"{path.name}, step {number}"
        _check_keys(where, entry, {field.name for field in fields(Step)} - optional, optional)
        step = Step(**{**entry, "pictures": tuple(entry["pictures"]), "claims": tuple(entry["claims"])})
        _check_step(where, step, number)
        steps.append(step)
    return Walk(path.stem, given["title"], given["introduction"], given["order"], tuple(steps))


def _check_keys(where: str, given: Mapping[str, Any], needed: set[str], optional: set[str]) -> None:
    missing, unknown = needed - set(given), set(given) - needed - optional
    if missing or unknown:
        wrong = [f"it lacks {', '.join(sorted(missing))}"] * bool(missing) + [f"it has no use for {', '.join(sorted(unknown))}"] * bool(unknown)
        raise ValueError(f"{where}: {' and '.join(wrong)}.")


def _check_step(where: str, step: Step, number: int) -> None:
    if not step.model.startswith(BUNDLED):
        raise ValueError(f"{where}: the model {step.model} is not bundled. Expected {BUNDLED}<name>, so that no network is needed.")
    if not step.pictures or not step.claims:
        raise ValueError(f"{where}: a step needs a picture, and a claim for what its text says.")
    for picture in step.pictures:
        if isinstance(picture, str):
            sample(picture)
        elif not {"step", "panel"} <= set(picture) <= PANEL_KEYS or not 1 <= picture["step"] < number:
            raise ValueError(f'{where}: {picture} is no panel of an earlier step. Expected {{"step": 1, "panel": "adversarial"}}.')


def pictures_of(walk: Walk, number: int, model: LoadedModel) -> list[ReadPicture | Sample]:
    """The pictures of step `number` (from 0). Panels of earlier steps are made anew, at full precision, so that it does not
    matter what a visitor has done in between."""
    return [_picture(walk, picture, model) for picture in walk.steps[number].pictures]


def _picture(walk: Walk, picture: str | Mapping[str, Any], model: LoadedModel) -> ReadPicture | Sample:
    if isinstance(picture, str):
        entry = sample(picture)
        return read_picture(entry.path, entry.title)
    result = panels(answer_of(walk, picture["step"] - 1, model))[picture["panel"]]
    result = result.items[picture["item"]] if isinstance(result, Gallery) else result
    return Sample.from_pixels(result.values, result.label or picture["panel"])


def answer_of(walk: Walk, number: int, model: LoadedModel) -> Any:
    """What the technique of step `number` (from 0) answers; `model` is the step's own."""
    import techniques

    step = walk.steps[number]
    pictures = [_for_model(picture, model) for picture in pictures_of(walk, number, model)]
    settings = dict(step.settings or {})
    technique = techniques.find(step.technique)
    if technique.param("target") and step.target:
        settings["target"] = step.target
    return techniques.run(step.technique, pictures if technique.many or len(pictures) > 1 else pictures[0], model, **settings)


def _for_model(picture: ReadPicture | Sample, model: LoadedModel) -> Sample:
    if isinstance(picture, Sample):
        return picture.fit(model)
    return Sample.from_image(picture.image, model, picture.origin, picture.notes)
