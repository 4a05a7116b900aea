"""Visitors' own models: kept while their page is open, in folders named by tokens that nobody else can guess.

The weights lie on the disk as plain tensors, with a recipe beside them that says how they become a model again; so a
model that had to leave memory comes back, in a forked process too. All folders together stay below a quota.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.errors import ModelLoadError, UploadError
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing

if TYPE_CHECKING:
    from model_zoo.checkpoints import Match
    from model_zoo.checkpoints.conversion import Stored
    from model_zoo.downloads import Watcher

FOLDER = Path(tempfile.mkdtemp(prefix="loupe-models-"))  # only the owner of this process may look into it
QUOTA = int(os.environ.get("LOUPE_UPLOADS_MB") or 4000) * 10**6
SPARE = 10**9  # bytes of the disk that stay free
LARGEST = 32 * 10**9  # bytes of weights on one's own machine
_NAME = re.compile(r"(?P<token>[\w-]{22})/(?P<number>\d{1,6})", re.ASCII)
_lock = threading.Lock()
_promised: dict[str, int] = {}


@dataclass(frozen=True, eq=False)
class Draft:
    """Weights that have been read and checked, and the architectures that they fit, the best first."""

    token: str
    name: str
    stored: Stored
    guesses: tuple[Match, ...]


@dataclass(frozen=True)
class Recipe:
    """How stored weights become a model; `labels` empty numbers the classes."""

    title: str
    architecture: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    multi_label: bool
    notes: tuple[str, ...]


def receive(file: Path, name: str, limit: int, run: Watcher) -> Draft:
    """Read and check a visitor's file, called `name`, and guess its architecture; the file itself stays as it is.

    `limit` is how many bytes its tensors may have. Raises UploadError with a sentence when it cannot be taken.
    """
    from model_zoo.checkpoints import guess
    from model_zoo.checkpoints.conversion import store

    token = secrets.token_urlsafe(16)
    folder = FOLDER / token
    _reserve(token, file.stat().st_size)
    try:
        folder.mkdir(mode=0o700)
        stored = store(file, name, folder, limit, run)
        return Draft(token, name, stored, tuple(guess(stored.shapes, hint=name, run=run)))
    except BaseException:
        discard(token)
        raise
    finally:
        with _lock:
            _promised.pop(token, None)


def settle(draft: Draft, match: Match, preprocessing: Preprocessing, labels: Sequence[str] = (), multi_label: bool = False) -> str:
    """Write down how the weights are to be used; returns the key by which `model_zoo.load` knows the model."""
    notes = (match.summary, *draft.stored.notes)
    recipe = Recipe(f"{draft.name[:60]} ({match.architecture})", match.architecture, tuple(labels), preprocessing, multi_label, notes)
    number = len(list((FOLDER / draft.token).glob("*.json"))) + 1
    (FOLDER / draft.token / f"{number}.json").write_text(json.dumps(asdict(recipe)), encoding="utf-8")
    return f"upload/{draft.token}/{number}"


def from_file(
    path: str | Path,
    architecture: str | None = None,
    class_names: str | Path | None = None,
    multi_label: bool = False,
    run: Watcher | None = None,
    *,
    preprocessing: Preprocessing | None = None,
) -> LoadedModel:
    """A model from a file of your own: `from_file("mine.pth", "timm/resnet18", "names.txt")`.

    The file may be safetensors, or a `.pth` with a state dict; it is read as carefully as a stranger's. The architecture is
    guessed where it is left out, and so is its `preprocessing`. Raises ModelLoadError or UploadError with a sentence when they do not fit.
    """
    from model_zoo.checkpoints import doubt, match, preprocessing_of, read_class_names
    from model_zoo.downloads import Alone

    path = Path(path)
    if not path.is_file():
        raise UploadError(f"There is no file {path}.")
    draft = receive(path, path.name, LARGEST, run or Alone())
    try:
        if architecture is None and not draft.guesses:
            raise UploadError("These weights fit no architecture that is known here. Name the one they belong to.")
        if architecture is None and doubt(draft.guesses):
            raise UploadError(str(doubt(draft.guesses)))
        chosen = match(draft.stored.shapes, architecture) if architecture else draft.guesses[0]
        labels = read_class_names(Path(class_names), Path(class_names).name, chosen.classes) if class_names else ()
        return build(settle(draft, chosen, preprocessing or preprocessing_of(chosen), labels, multi_label).removeprefix("upload/"))
    finally:
        discard(draft.token)


def weights_of(name: str) -> Path:
    """The stored weights of the model `<token>/<number>`; ModelLoadError when they are not or no longer there."""
    return _recipe_of(name).parent / "weights.safetensors"


def bytes_of(name: str) -> int:
    """Memory of the weights of the model `<token>/<number>`, computed with in float32."""
    from model_zoo.checkpoints.tensors import read_header

    path = weights_of(name)
    return 4 * sum(math.prod(shape) for shape in read_header(path, path.stat().st_size).shapes.values())


def build(name: str) -> LoadedModel:
    """The model `<token>/<number>`, with the same checks as when it was first built."""
    from model_zoo.checkpoints import building, match
    from model_zoo.checkpoints.tensors import read_header

    given = json.loads(_recipe_of(name).read_text(encoding="utf-8"))
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in given.pop("preprocessing").items()}
    recipe = Recipe(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}, preprocessing=Preprocessing(**plain))
    path = weights_of(name)
    built = building.build(path, match(read_header(path, path.stat().st_size).shapes, recipe.architecture))
    return wrap(
        built.network,
        key=f"upload/{name}",
        title=recipe.title,
        labels=recipe.labels or None,
        preprocessing=recipe.preprocessing,
        notes=(*recipe.notes, *built.notes),
        multi_label=recipe.multi_label,
    )


def token_of(key: str) -> str | None:
    """The token in the key of an uploaded model; None for any other key."""
    kind, _, name = key.partition("/")
    found = _NAME.fullmatch(name) if kind == "upload" else None
    return found["token"] if found else None


def discard(token: str) -> None:
    """Remove a visitor's weights from the disk."""
    if re.fullmatch(r"[\w-]{22}", token, re.ASCII):
        shutil.rmtree(FOLDER / token, ignore_errors=True)


def _recipe_of(name: str) -> Path:
    found = _NAME.fullmatch(name)
    path = FOLDER / found["token"] / f"{found['number']}.json" if found else None
    if path is None or not path.is_file():
        raise ModelLoadError("This uploaded model is no longer kept. Upload its weights again.")
    return path


def _reserve(token: str, size: int) -> None:
    """Promise room for a file of `size` bytes; UploadError when the quota or the disk has none."""
    with _lock:
        used = sum(path.stat().st_size for path in FOLDER.rglob("*.safetensors")) + sum(_promised.values())
        if used + size > QUOTA or shutil.disk_usage(FOLDER).free < size + SPARE:
            raise UploadError("The storage for visitors' models is full. Try again later, or run Loupe on your own machine.")
        _promised[token] = size


def _tidy(owner: int) -> None:
    if os.getpid() == owner:  # not a process that was forked from it
        with suppress(OSError):
            shutil.rmtree(FOLDER)


atexit.register(_tidy, os.getpid())
