"""Which other models a technique can be run on besides the one in use: those that are on this machine; and which of their classes mean the
same."""

from __future__ import annotations

import re
from typing import Annotated

import model_zoo
from model_zoo.errors import ParameterError
from model_zoo.loaded import LoadedModel
from techniques.base.parameters import Help, Several

THIS = "this"  # the model that the technique is run on


def models_at_hand() -> dict[str, str]:
    """Title by key: the model in use, and those that the page offers first."""
    return {THIS: "The model in use", **{choice.key: choice.title for choice in model_zoo.keys()}}


def at_hand(key: str) -> LoadedModel:
    """The model of this key; ParameterError where it would have to be downloaded."""
    if model_zoo.needs_download(key) is not None:
        raise ParameterError(f"The model {key} is not on this machine yet. Choose it at the top of the page once, then it can be compared.")
    return model_zoo.load(key)


def chosen_models(keys: tuple[str, ...], model: LoadedModel) -> list[LoadedModel]:
    """The models of these keys, each once; `model` is the one in use."""
    found = [model if key in (THIS, model.key) else at_hand(key) for key in keys]
    return list({id(other): other for other in found}.values())


Models = Annotated[tuple[str, ...], Several(models_at_hand, "or the key of another model"), Help("Networks to compare, of those on this machine.")]


def same_class(model: LoadedModel, label: str | None) -> int | None:
    """The class of a model that a label of another one means: of the same name, or else with a synonym in common ("tench, Tinca tinca" and
    "Tench"). None where there is none, or no label."""
    if not label:
        return None
    if label in model.labels:
        return model.labels.index(label)
    wanted = _synonyms(label)
    return next((index for index, each in enumerate(model.labels) if wanted & _synonyms(each)), None)


def _synonyms(label: str) -> set[str]:
    """The names that a label lists, without capitals, spaces and hyphens."""
    return {re.sub(r"[\W_]", "", part.casefold()) for part in label.split(",")} - {""}
