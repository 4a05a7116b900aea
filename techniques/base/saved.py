"""An answer that was saved, opened again: from the zip that Download gives, or from its `arrays.npz` alone. Nothing is run,
no model is needed, and nothing in the file is believed before it has been looked at."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from model_zoo.errors import UploadError
from techniques.base.archives import copy_member, is_zip, open_zip, read_member
from techniques.base.arrays import MOST_BYTES, read_npz
from techniques.base.registry import Technique
from techniques.base.results import to_numpy

MANIFEST_BYTES = 8_000_000
MEMBERS = 20_000


def open_saved(technique: Technique, path: str | Path) -> tuple[Any, dict[str, Any]]:
    """(the answer, its manifest; that of an `.npz` alone is empty). Raises UploadError when the file is no such answer."""
    if technique.saved is None:
        raise UploadError(f"{technique.title} cannot open what was saved. Run it again instead.")
    if not is_zip(path):
        raise UploadError("This file is not a saved computation. Expected the .zip that Download gives, or the arrays.npz in it.")
    wanted, restore = technique.saved
    with open_zip(path, MEMBERS) as archive:
        members = {PurePosixPath(info.filename).name: info for info in archive.infolist()}
        if "arrays.npz" not in members:
            return to_numpy(restore({}, read_npz(path, wanted))), {}
        manifest = _manifest(archive, members.get("manifest.json"), technique)
        arrays = _arrays(archive, members["arrays.npz"], wanted)
    return to_numpy(restore(manifest, arrays)), manifest


def _manifest(archive: zipfile.ZipFile, member: zipfile.ZipInfo | None, technique: Technique) -> dict[str, Any]:
    if member is None:
        return {}
    try:
        manifest = json.loads(read_member(archive, member, MANIFEST_BYTES))
    except (ValueError, RecursionError) as error:
        raise UploadError("The manifest.json in this file cannot be read. Expected the .zip that Download gives.") from error
    if not isinstance(manifest, dict) or manifest.get("technique") != technique.name:
        raise UploadError(f"This file was not saved by {technique.title}. Open it where it was made.")
    return manifest


def _arrays(archive: zipfile.ZipFile, member: zipfile.ZipInfo, wanted) -> dict[str, np.ndarray]:
    """The archive in the archive, by way of a file of ours: it has to be read from its end."""
    with tempfile.TemporaryDirectory(prefix="loupe-") as folder:
        inner = Path(folder, "arrays.npz")
        with inner.open("wb") as file:
            copy_member(archive, member, file, MOST_BYTES)
        return read_npz(inner, wanted)
