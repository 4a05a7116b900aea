"""What a repository of the Hugging Face hub says about its timm model, read as data.

Anybody may write a `config.json`, and timm would obey it: a billion classes, two thousand layers, any file as weights.
So the architecture must be one of timm's, of its arguments only those below are passed on, and every number and word
must lie within the limits here. Nothing is built in this module.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.deferred import timm
from model_zoo.errors import ModelLoadError
from model_zoo.labels import imagenet_labels, unique
from model_zoo.preprocessing import Preprocessing

LONGEST = 100_000  # bytes of a config.json
MOST_CLASSES = 30_000
LONGEST_LABEL = 200  # characters


@dataclass(frozen=True)
class Description:
    """One of timm's architectures with the arguments to build it, how its pictures are made, the names of its
    classes (None: not given), and what was put right."""

    architecture: str
    arguments: Mapping[str, Any]
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """What a value may be: a sentence's part that says so, and a check."""

    expected: str
    allows: Callable[[Any], bool]


def _is_count(low: int, high: int) -> Rule:
    return Rule(f"a whole number from {low:,} to {high:,}", lambda value: type(value) is int and low <= value <= high)


def _is_number(low: float, high: float) -> Rule:
    return Rule(f"a number from {low} to {high}", lambda value: type(value) in (int, float) and math.isfinite(value) and low <= value <= high)


def _is_one_of(*words: str) -> Rule:
    return Rule(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


def _is_list_of(rule: Rule, counts: range) -> Rule:
    text = f"{counts.start} to {counts.stop - 1} times {rule.expected}" if len(counts) > 1 else f"{counts.start} times {rule.expected}"
    return Rule(text, lambda value: isinstance(value, list) and len(value) in counts and all(map(rule.allows, value)))


_SWITCH = Rule("true or false", lambda value: type(value) is bool)
_RATE = _is_number(0, 1)  # of dropout in training; without effect here
_CHANNELS = Rule("1, 3 or 4, which is what a picture can be turned into", lambda value: type(value) is int and value in (1, 3, 4))
_SIDE = _is_count(16, 1024)
_SIDES = _is_list_of(_SIDE, range(2, 3))
_SIZE = Rule(f"{_SIDE.expected}, or two of them", lambda value: _SIDE.allows(value) or _SIDES.allows(value))
_INPUT = Rule(
    f"channels, height and width, each side {_SIDE.expected}",
    lambda value: isinstance(value, list) and len(value) == 3 and _CHANNELS.allows(value[0]) and _SIDES.allows(value[1:]),
)

ARGUMENTS: Mapping[str, Rule] = {
    "num_classes": _is_count(1, MOST_CLASSES),
    "in_chans": _CHANNELS,
    "img_size": _SIZE,
    "global_pool": _is_one_of("avg", "max", "avgmax", "catavgmax", "fast", "fastavg", "fastmax", "fastavgmax", "fastcatavgmax", "token", "map"),
    "act_layer": _is_one_of("relu", "relu6", "leaky_relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "swish", "mish", "hard_swish"),
    "init_values": _is_number(0, 1),
    "reg_tokens": _is_count(0, 16),
    **dict.fromkeys(("class_token", "no_embed_class", "fc_norm", "pre_norm", "qkv_bias", "qk_norm", "dynamic_img_size"), _SWITCH),
    **dict.fromkeys(("drop_rate", "drop_path_rate", "proj_drop_rate", "attn_drop_rate", "pos_drop_rate", "patch_drop_rate"), _RATE),
}
FACTS: Mapping[str, Rule] = {
    "input_size": _INPUT,
    "mean": _is_list_of(_is_number(-10, 10), range(1, 5)),
    "std": _is_list_of(_is_number(0.001, 10), range(1, 5)),
    "crop_pct": _is_number(0.05, 1),
    "crop_mode": _is_one_of("center", "squash", "border"),
    "interpolation": _is_one_of("nearest", "bilinear", "bicubic", "lanczos"),
}


def read(path: Path, key: str) -> Description:
    """The description in a `config.json`, every part of it checked; `key` is what the visitor knows the model by.

    Raises ModelLoadError with a sentence that names what is wrong.
    """
    config = _parsed(path, key)
    name = config.get("architecture")
    architecture = name.partition(".")[0] if isinstance(name, str) else ""
    if architecture not in timm.list_models():
        raise ModelLoadError(f"{key} holds no timm model: its config.json names no architecture of timm. Choose another model.")
    own = config.get("pretrained_cfg", config)
    own = own if isinstance(own, dict) else {}
    default = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    arguments = _arguments(config, own, default, key)
    facts = {name: _checked(FACTS, name, own[name], key) for name in FACTS if own.get(name) is not None}
    preprocessing, notes = _preprocessing(facts, arguments, default)
    arguments["in_chans"] = preprocessing.channels
    labels, missing = _labels(config, own, arguments["num_classes"])
    return Description(architecture, arguments, preprocessing, labels, (*notes, *missing))


def _parsed(path: Path, key: str) -> dict:
    if path.stat().st_size > LONGEST:
        raise ModelLoadError(f"The config.json of {key} has more than {LONGEST // 1000} kB. Choose another model.")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"The config.json of {key} is damaged. Choose another model.") from error
    if not isinstance(config, dict):
        raise ModelLoadError(f"The config.json of {key} describes no model. Choose another one.")
    return config


def _arguments(config: dict, own: dict, default, key: str) -> dict[str, Any]:
    given = config.get("model_args") or {}
    if not isinstance(given, dict):
        raise _refused("model_args", given, "arguments by name", key)
    classes = given.get("num_classes", config.get("num_classes", own.get("num_classes", default.num_classes)))
    if classes == 0:
        raise ModelLoadError(f"{key} puts out features, not classes. Choose a model that was trained or fine-tuned to classify.")
    pool = own.get("global_pool")
    given = {**({"global_pool": pool} if pool else {}), **given, "num_classes": classes}
    return {name: _checked(ARGUMENTS, name, value, key) for name, value in given.items()}


def _checked(rules: Mapping[str, Rule], name: str, value: Any, key: str) -> Any:
    if name not in rules:
        raise ModelLoadError(f"{key}: its config.json sets “{_shown(name)}”, which is not passed on. Allowed are {', '.join(rules)}.")
    if not rules[name].allows(value):
        raise _refused(name, value, rules[name].expected, key)
    return value


def _refused(name: str, value: Any, expected: str, key: str) -> ModelLoadError:
    return ModelLoadError(f"{key}: its config.json gives {name} as {_shown(value)}. Expected {expected}. Choose another model.")


def _preprocessing(facts: dict, arguments: dict, default) -> tuple[Preprocessing, tuple[str, ...]]:
    """How pictures are made. Where mean and std are for another number of channels, as they stay when a network for
    colours is trained on grey pictures, every channel gets their average."""
    declared, height, width = facts.get("input_size", default.input_size)
    channels = arguments.get("in_chans", declared)
    size = arguments.get("img_size", [height, width])
    height, width = (size, size) if isinstance(size, int) else size
    mean, std = facts.get("mean", default.mean), facts.get("std", default.std)
    fits = len(mean) == len(std) == channels
    if not fits:
        mean, std = ([sum(values) / len(values)] * channels for values in (mean, std))
    preprocessing = Preprocessing(
        channels=channels,
        size=(height, width),
        mean=tuple(mean),
        std=tuple(std),
        crop_fraction=facts.get("crop_pct", default.crop_pct),
        crop_mode=facts.get("crop_mode", default.crop_mode),
        interpolation=facts.get("interpolation", default.interpolation),
    )
    return preprocessing, () if fits else (f"Its mean and std are not for {channels} channels; every channel gets their average.",)


def _labels(config: dict, own: dict, classes: int) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Names of the classes, from `label_names` and `label_descriptions`, or ImageNet's; and what is to be said about them."""
    names = config.get("label_names", own.get("label_names", own.get("labels")))
    if names is None:
        labels = imagenet_labels(classes)
        return labels, () if labels else (f"The repository gives no names for its {classes} classes; they are numbered.",)
    if not (isinstance(names, list) and len(names) == classes and all(isinstance(name, str) for name in names)):
        return None, (f"The names in the repository are not one for each of {classes} classes; they are numbered.",)
    descriptions = config.get("label_descriptions", own.get("label_descriptions"))
    described = [descriptions.get(name) for name in names] if isinstance(descriptions, dict) else []
    longer = [described] if described and all(isinstance(text, str) for text in described) else []
    return unique(*([text[:LONGEST_LABEL] for text in spelling] for spelling in (names, *longer))), ()


def _shown(value: Any) -> str:
    """A value from outside, short and in characters that can be seen."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
