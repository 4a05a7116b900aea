"""The address line as a view of the page: what is looked at, with which model, picture and settings; written and read.

`/?technique=pgd&model=bundled/digits&picture=digit_3&target=8&pgd.epsilon=20` opens PGD on the digit 3. What stands in an
address comes from anywhere: each part is checked as if a stranger had typed it, and one that does not fit is left out
and named. A visitor's own model is only called "own", a picture of theirs is named by its hash.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlencode

from model_zoo import uploads
from model_zoo.errors import ParameterError, did_you_mean
from model_zoo.preprocessing import FRAMINGS
from techniques.base import Param, Sample, Technique
from techniques.base.pictures import ReadPicture
from techniques.base.sample import image_sha256
from ui.choosing import read_sample
from ui.samples import digits, photographs, sample
from ui.session import Session

OWN = "own"  # stands for a visitor's model
MANY = "many"  # stands for more pictures than fit into an address
MOST_PARTS, LONGEST_PART, MOST_PICTURES = 100, 1000, 16
FOREIGN = ("__", "utm_", "fbclid", "gclid", "ref", "logs")  # what Gradio and other sites hang on to an address
_HASH = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class View:
    """What the page is to show; what is empty stays as it is.

    `pictures` are named by a sample or by the first 16 digits of a SHA-256; `settings` holds checked values of the techniques' own
    settings by (technique, setting); `faults` says what had to be left out, a sentence each. `brought` are pictures that have
    no name. `offered` is a model that has to be downloaded first, (key, bytes), and `asked` says that the visitor has been told.
    """

    technique: str = ""
    model: str = ""
    pictures: tuple[str, ...] = ()
    target: str = ""
    layer: str = ""
    seed: int | None = None
    framing: str = ""
    settings: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    brought: tuple[ReadPicture | Sample, ...] = ()
    offered: tuple[str, int] | None = None
    asked: bool = False

    @property
    def samples(self) -> list[ReadPicture]:
        """Those of the pictures that come with Loupe."""
        return [read_sample(sample(name)) for name in self.pictures if not _HASH.fullmatch(name)]

    @property
    def missing(self) -> list[str]:
        """The hashes of those that only a visitor has."""
        return [name for name in self.pictures if _HASH.fullmatch(name)]


def picture_hash(picture: ReadPicture | Sample) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a picture's size and 8-bit values."""
    return image_sha256(picture.image)[:16]


def picture_name(picture: ReadPicture | Sample) -> str:
    """What an address calls a picture: the name of a sample, or a hash."""
    own = picture_hash(picture)
    for entry in (*photographs(), *digits()):
        if entry.title == picture.origin and picture_hash(read_sample(entry)) == own:
            return entry.name
    return own


def write(session: Session, technique: Technique) -> str:
    """The query of the address, without its question mark, for this technique as it was last run on this page."""
    answered = session.answers.get(technique.name)
    given = dict(answered.settings) if answered else {}
    if answered and answered.model_key != session.model_key:
        given = {name: value for name, value in given.items() if technique.param(name).kind not in ("target", "layer")}
    pictures = session.pictures if technique.many else [session.picture]
    named = MANY if len(pictures) > MOST_PICTURES else ",".join(picture_name(picture) for picture in pictures if picture is not None)
    parts = {"technique": technique.name, "model": OWN if uploads.token_of(session.model_key) else session.model_key, "picture": named}
    if session.framing != "model":
        parts["framing"] = session.framing
    for param in technique.params:
        value = given.get(param.name, param.default)
        value = tuple(value) if isinstance(value, list) and param.kind == "choices" else value
        if value is None or value == "" or (param.kind != "mask" and value == param.default):
            continue
        name = param.kind if param.kind in ("target", "layer", "seed") else f"{technique.name}.{param.name}"
        parts[name] = "painted" if param.kind == "mask" else _written(value)
    return urlencode({name: text for name, text in parts.items() if text}, safe="/:,")


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")


def read(query: Iterable[tuple[str, str]], techniques: Mapping[str, Technique]) -> View:
    """The view that an address asks for; class and layer are left to be looked up in the model."""
    found: dict[str, Any] = {}
    settings: dict[tuple[str, str], Any] = {}
    faults: list[str] = []
    for name, text in list(query)[:MOST_PARTS]:
        try:
            if len(text) > LONGEST_PART:
                raise ParameterError(f"“{name[:60]}” is longer than {LONGEST_PART} characters.")
            if name in READERS:
                found |= READERS[name](text, techniques)
            elif "." in name:
                settings[tuple(name.split(".", 1))] = _setting(name, text, techniques)
            elif not name.startswith(FOREIGN):
                raise ParameterError(f"“{name[:60]}” is no part of an address. Expected {', '.join(READERS)}, or <technique>.<setting>.")
        except ParameterError as error:
            faults.append(str(error))
    return View(**found, settings=settings, faults=tuple(faults))


def _technique(text: str, techniques: Mapping[str, Technique]) -> dict[str, Any]:
    if text not in techniques:
        hint = did_you_mean(get_close_matches(text, techniques), otherwise=" Run one, and its name stands in the address.")
        raise ParameterError(f"There is no technique “{text[:60]}”.{hint}")
    return {"technique": text}


def _model(text: str, _techniques) -> dict[str, Any]:
    if text.startswith("upload"):
        raise ParameterError("A model of somebody's own cannot be opened by an address.")
    return {"model": text.strip()}


def _pictures(text: str, _techniques) -> dict[str, Any]:
    if text == MANY:
        raise ParameterError(f"A set of more than {MOST_PICTURES} pictures does not fit into an address. Add them again.")
    names = tuple(name.strip() for name in text.split(",") if name.strip())[:MOST_PICTURES]
    for name in names:
        if not _HASH.fullmatch(name):
            sample(name)  # ParameterError when there is no such sample
    return {"pictures": names}


def _seed(text: str, _techniques) -> dict[str, Any]:
    if not (text.isascii() and text.isdigit() and int(text) < 2**31):
        raise ParameterError(f"Seed: received {text[:60]!r}, expected a whole number from 0 to {2**31 - 1}.")
    return {"seed": int(text)}


def _framing(text: str, _techniques) -> dict[str, Any]:
    if text not in FRAMINGS:
        raise ParameterError(f"Framing: received {text[:60]!r}, expected one of {', '.join(FRAMINGS)}.")
    return {"framing": text}


READERS = {
    "technique": _technique,
    "model": _model,
    "picture": _pictures,
    "target": lambda text, _techniques: {"target": text},
    "layer": lambda text, _techniques: {"layer": text},
    "seed": _seed,
    "framing": _framing,
}


def _setting(name: str, text: str, techniques: Mapping[str, Technique]) -> Any:
    """The value of a part such as `pgd.epsilon`; ParameterError says what is wrong with its name or its value."""
    technique, _, setting = name.partition(".")
    param = next((param for param in techniques[technique].own_params if param.name == setting), None) if technique in techniques else None
    if param is None:
        raise ParameterError(f"There is no setting “{name[:60]}”.")
    if param.kind == "mask":
        raise ParameterError(f"{techniques[technique].title}: painted areas do not fit into an address. Paint them again.")
    return param.check(_typed(param, text), model=None)


def _typed(param: Param, text: str) -> Any:
    """The text as what the setting takes; a text that is no such thing goes on as it is, to be refused."""
    if param.kind == "flag":
        return {"true": True, "false": False}.get(text.lower(), text)
    if param.kind == "choices":
        return [name.strip() for name in text.split(",") if name.strip()]
    if param.kind in ("number", "integer"):
        try:
            return float(text)
        except ValueError:
            return text
    return text
