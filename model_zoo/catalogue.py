"""Which models there are to choose from, and what is known about each before anything is downloaded or imported."""

from __future__ import annotations

import csv
import difflib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from model_zoo.choices import CHOICES

TABLES = Path(__file__).parent / "tables"
ARCHITECTURES = TABLES / "architectures.csv"
PRETRAINED = TABLES / "pretrained.csv"
REPOSITORY = "A repository on huggingface.co; what it holds is read when you choose it."
LONGEST = 200  # characters of a search or a key; the longest key has fewer than 100

_HUB = re.compile(r"(?:hf[-_]hub:|https?://(?:www\.)?huggingface\.co/|huggingface\.co/|hf\.co/)", re.ASCII | re.IGNORECASE)
_REPOSITORY = re.compile(r"[a-z0-9_](?:[\w.-]{0,94}[a-z0-9_])?/[a-z0-9_](?:[\w.-]{0,94}[a-z0-9_])?", re.ASCII | re.IGNORECASE)
_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Entry:
    """One model that can be chosen. `bytes` is the memory of its parameters and buffers in float32, and about its
    download; `size` is (height, width) in pixels; `top1` is the share of ImageNet's validation pictures that its library
    counted as right, in percent (timm counts at larger sizes than `size` where it found that better). What is not known
    is 0, "" or None."""

    key: str
    title: str
    family: str = ""
    parameters: int = 0
    bytes: int = 0
    size: tuple[int, int] = (0, 0)
    classes: int = 0
    top1: float | None = None
    licence: str = ""
    about: str = ""


@dataclass(frozen=True)
class Architecture:
    """A network without weights, `timm/<name>` or `torchvision/<name>`: how many tensors its state dict holds, how
    many parameters, and the bytes of parameters and buffers in float32."""

    key: str
    tensors: int
    parameters: int
    bytes: int


@cache
def architectures() -> tuple[Architecture, ...]:
    """Every architecture of timm and torchvision with a classifier, in the order of their keys."""
    with ARCHITECTURES.open(newline="", encoding="utf-8") as file:
        return tuple(Architecture(row["key"], int(row["tensors"]), int(row["parameters"]), int(row["bytes"])) for row in csv.DictReader(file))


def entry(key: str) -> Entry | None:
    """What is known about the model of exactly this key; None when it is not in the tables."""
    return _entries().get(key)


def search(text: str, limit: int = 30) -> list[Entry]:
    """The models that fit what somebody typed, best first; the curated list when nothing is typed.

    First those whose key, name or title it is, then those whose name starts with it, then those with all of its
    words at the start of words, then anywhere, in name, title, family, licence or input size. Case, dashes, dots and
    underscores do not matter. When nothing fits, each word is taken for the known word nearest to it.
    `hf-hub:owner/name`, or the address of a repository on huggingface.co, gives that repository.
    """
    text = text.strip()[:LONGEST]
    if _HUB.match(text):
        repository = hub_repository(text)
        return [Entry(f"hf-hub:{repository}", repository, about=REPOSITORY)] if repository else []
    if not text:
        return [_entries()[choice.key] for choice in CHOICES][:limit]
    return _ranked(text, limit) or _ranked(" ".join(_nearest_word(word) for word in _words(text)), limit)


def closest(key: str, count: int = 3) -> list[str]:
    """Keys that somebody may have meant who typed a key that does not exist, the likeliest first."""
    key = key[:LONGEST]
    name = key.rpartition("/")[2]
    longer = sorted((known for known in _entries() if name in known), key=lambda known: (_order(known), len(known))) if name else []
    return longer[:count] or difflib.get_close_matches(key, _entries(), n=count, cutoff=0.6)


def hub_repository(key: str) -> str | None:
    """`owner/name` when the key names a repository of the Hugging Face hub, `hf-hub:owner/name` or its address."""
    start = _HUB.match(key[:LONGEST])
    if start is None:
        return None
    repository = key[start.end() :].strip().rstrip("/").removesuffix("/tree/main")
    owner_and_name = _REPOSITORY.fullmatch(repository)
    return repository if owner_and_name and not re.search(r"\.\.|--|\.git$", repository) else None


@cache
def _entries() -> dict[str, Entry]:
    chosen = {choice.key: choice for choice in CHOICES}
    entries = {}
    with PRETRAINED.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = row["key"]
            source, _, name = key.partition("/")
            title = chosen[key].title if key in chosen else f"{name} (torchvision)" if source == "torchvision" else name
            entries[key] = Entry(
                key=key,
                title=title,
                family=row["family"],
                parameters=int(row["parameters"]),
                bytes=int(row["bytes"]),
                size=(int(row["height"]), int(row["width"])),
                classes=int(row["classes"]),
                top1=float(row["top1"]) if row["top1"] else None,
                licence=row["licence"],
                about=chosen[key].about if key in chosen else "",
            )
    return entries


@cache
def _searchable() -> tuple[tuple[Entry, tuple[str, str, str], str, str], ...]:
    """Every entry, in the order in which equals are shown, with its key, name and title squeezed, all its facts
    squeezed, and the same word by word."""
    ordered = sorted(_entries().values(), key=lambda entry: (_order(entry.key), _natural(entry.key)))
    rows = []
    for each in ordered:
        names = (_squeezed(each.key), _squeezed(each.key.partition("/")[2]), _squeezed(each.title))
        facts = (each.key, each.title, each.family, each.licence, f"{each.size[0]}px")
        rows.append((each, names, "|".join(map(_squeezed, facts)), " ".join(["", *_words(" ".join(facts))])))
    return tuple(rows)


def _ranked(text: str, limit: int) -> list[Entry]:
    whole, words = _squeezed(text), [_squeezed(word) for word in text.split()]
    words = [word for word in words if word]
    if not words:
        return []
    ranks: tuple[list[Entry], ...] = ([], [], [], [])
    for each, names, facts, spaced in _searchable():
        if whole in names:
            ranks[0].append(each)
        elif any(name.startswith(whole) for name in names):
            ranks[1].append(each)
        elif all(word in facts for word in words):
            ranks[2 if all(f" {word}" in spaced for word in words) else 3].append(each)
    return [each for rank in ranks for each in rank][:limit]


@cache
def _vocabulary() -> tuple[str, ...]:
    found = {word for each in _entries().values() for word in _words(f"{each.key} {each.title} {each.family}")}
    return tuple(sorted(word for word in found if len(word) > 2))


def _nearest_word(word: str) -> str:
    near = difflib.get_close_matches(word, _vocabulary(), n=1, cutoff=0.7) if len(word) < 30 else []
    return near[0] if near else word


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.lower())


def _squeezed(text: str) -> str:
    """Letters and digits alone, in lower case: "ResNet-50" and "resnet_50" are one word."""
    return "".join(_words(text))


def _order(key: str) -> int:
    """Place in the curated list, which goes before all others."""
    return _curated().get(key, len(CHOICES))


@cache
def _curated() -> dict[str, int]:
    return {choice.key: place for place, choice in enumerate(CHOICES)}


def _natural(key: str) -> list:
    """For sorting so that `resnet18` comes before `resnet101`, and a model before its variants."""
    return [(int(part), "") if part.isdigit() else (-1, part.replace(".", " ")) for part in re.split(r"(\d+)", key)]
