"""Pictures as a set: several files, a zip, a folder or a data set on this machine, read one by one into named groups.

Where pictures lie in several folders, the folder is the group: a zip with one folder per class brings its classes along.
What cannot be read is left out and named; what is too much is refused as a whole.
"""

from __future__ import annotations

import os
import random
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from model_zoo.errors import UploadError
from techniques.base.archives import TooLarge, is_zip, open_zip, read_member
from techniques.base.arrays import read_idx, read_npz
from techniques.base.pictures import LARGEST_FILE, ReadPicture, read_picture, safe_name
from techniques.base.run import Run

MOST = 1000  # pictures in one set
LARGE = 50  # pictures; those of a larger set are made small
KEPT_SIDE = 512  # pixels of the longer side of a picture in a large set
KEPT_WHOLE = 300_000_000  # bytes of decoded pictures that one set may keep in full size
ZIP_BYTES = 300 * 2**20  # that are read from one zip file
FOLDER_FILES = 500_000  # that are looked at in one folder
NAMED = 4  # of the files that were left out, so many are named
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz")
MNIST_FILES = ("t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte", "train-images-idx3-ubyte", "train-images.idx3-ubyte")


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Pictures in their order, and sentences about what was left out or changed."""

    pictures: tuple[ReadPicture, ...]
    notes: tuple[str, ...] = ()


class Entry(NamedTuple):
    """A picture that has not been read yet: its name, its group or "", and how to read it."""

    name: str
    group: str
    read: Callable[[], ReadPicture]


def read_set(files: Sequence[tuple[str | Path, str]], run: Run, already: Sequence[object] = ()) -> PictureSet:
    """The pictures of uploaded files, each a (path, name): pictures, and zip files of pictures.

    `already` are the pictures that the set holds. Raises UploadError when nothing can be read or all is too much.
    """
    with ExitStack() as stack:
        entries: list[Entry] = []
        for path, name in files:
            entries += _of_zip(stack, path, name) if is_zip(path) else [Entry(name, "", partial(read_picture, path, name))]
        return _read(entries, run, already)


def read_here(path: str | Path, run: Run, already: Sequence[object] = (), count: int | None = None, seed: int = 0) -> PictureSet:
    """Pictures from a place on this machine: a folder with or without folders in it, a zip file, one picture, MNIST as `.npz`
    or as idx files. `count` random ones, chosen by `seed`, or all. Raises UploadError.
    """
    path = Path(path).expanduser()
    with ExitStack() as stack:
        try:
            entries = _of_place(stack, path, run)
        except OSError as error:
            raise UploadError(f"“{path}” cannot be read: {error.strerror or error}.") from error
        if not entries:
            raise UploadError(f"There is no picture in {'the folder ' if path.is_dir() else ''}“{path}”. Expected files such as .jpg or .png.")
        if count is not None and count < len(entries):
            entries = [entries[index] for index in sorted(random.Random(seed).sample(range(len(entries)), count))]
        return _read(entries, run, already)


def _read(entries: Sequence[Entry], run: Run, already: Sequence[object]) -> PictureSet:
    """Read one picture after the other; each of a large set is made small before the next one is read."""
    total = len(already) + len(entries)
    if total > MOST:
        have = f" and the set holds {len(already):,} already" if already else ""
        raise TooLarge(f"These are {len(entries):,} pictures{have}; a set takes at most {MOST:,}. Choose fewer, or a random part of them.")
    pictures: list[ReadPicture] = []
    faults: list[str] = []
    whole = sum(map(size_of, already))
    for entry in run.steps(entries, "Reading picture"):
        try:
            picture = entry.read()
        except TooLarge:
            raise
        except UploadError as error:
            faults.append(f"{safe_name(entry.name)} ({str(error).rstrip('.')})")
            continue
        if total > LARGE or whole + size_of(picture) > KEPT_WHOLE:
            picture = _small(picture)
        whole += size_of(picture)
        pictures.append(replace(picture, group=entry.group))
    if not pictures:
        which = f"None of the {len(faults)} files could be read" if len(faults) > 1 else "This could not be read"
        raise UploadError(f"{which}: {_listed(faults)}." if faults else "There is no picture in this file.")
    notes = [f"Left out: {_listed(faults)}."] if faults else []
    if any(KEPT_NOTE in picture.notes for picture in pictures):
        notes.append(f"In a set of more than {LARGE}, or of very large ones, pictures are kept at {KEPT_SIDE} pixels at most.")
    return PictureSet(tuple(pictures), tuple(notes))


KEPT_NOTE = f"kept at {KEPT_SIDE} px"


def size_of(picture: object) -> int:
    """Bytes that a picture takes while it is kept."""
    image = picture.image
    return image.width * image.height * len(image.getbands())


def _small(picture: ReadPicture) -> ReadPicture:
    if max(picture.image.size) <= KEPT_SIDE:
        return picture
    image = picture.image.copy()
    image.thumbnail((KEPT_SIDE, KEPT_SIDE), Image.Resampling.BICUBIC)
    return replace(picture, image=image, notes=(*picture.notes, KEPT_NOTE))


def _listed(faults: list[str]) -> str:
    more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return ", ".join(faults[:NAMED]) + more


def _of_zip(stack: ExitStack, path: str | Path, name: str) -> list[Entry]:
    """The files in a zip but for those that an operating system has added; an archive in the archive is left out."""
    archive = stack.enter_context(open_zip(path, MOST))
    members = [info for info in archive.infolist() if not info.is_dir() and not _hidden(info.filename)]
    if len(members) > MOST:
        raise TooLarge(f"{safe_name(name)} holds {len(members):,} files; a set takes at most {MOST:,} pictures. Please send fewer.")
    left = [ZIP_BYTES]
    groups = _groups([PurePosixPath(info.filename.replace("\\", "/")) for info in members])
    return [Entry(info.filename, group, partial(_member, archive, info, left)) for info, group in zip(members, groups)]


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left: list[int]) -> ReadPicture:
    """One picture of a zip; `left` holds the bytes that may still be read from it."""
    if member.filename.lower().endswith(ARCHIVES):
        raise UploadError("an archive inside the archive")
    data = read_member(archive, member, LARGEST_FILE)
    left[0] -= len(data)
    if left[0] < 0:
        raise TooLarge(f"This zip file unpacks to more than {ZIP_BYTES // 2**20} MB, the limit. Please send fewer or smaller pictures.")
    return read_picture(data, member.filename)


def _hidden(name: str) -> bool:
    return any(part == "__MACOSX" or (part.startswith(".") and part not in (".", "..")) for part in re.split(r"[/\\]", name))


def _groups(paths: Sequence[PurePosixPath | Path]) -> list[str]:
    """The group of each file: the folder it lies in, where the files lie in several; an ImageNet number becomes its class."""
    parents = [path.parent.name for path in paths]
    if len(set(parents)) < 2:
        return [""] * len(paths)
    names = {parent: safe_name(_class_of(parent)) if parent else "" for parent in set(parents)}
    return [names[parent] for parent in parents]


def _class_of(folder: str) -> str:
    """ "tench" for n01440764, as data sets of ImageNet name their folders."""
    if not re.fullmatch(r"n\d{8}", folder):
        return folder
    try:
        return _imagenet().label_name_to_description(folder).split(",")[0]
    except (KeyError, AssertionError):
        return folder


@lru_cache(maxsize=1)
def _imagenet():
    from timm.data import ImageNetInfo

    return ImageNetInfo("imagenet-1k")


def _of_place(stack: ExitStack, path: Path, run: Run) -> list[Entry]:
    if path.is_dir():
        idx = next((found for name in MNIST_FILES for found in (path / name, path / f"{name}.gz") if found.is_file()), None)
        return _of_idx(idx) if idx else _of_folder(path, run)
    if not path.is_file():
        raise UploadError(f"There is nothing at “{path}” on this machine. Check the path; a folder of pictures is expected.")
    if path.suffix.lower() == ".npz":
        return _of_npz(path)
    if "idx3-ubyte" in path.name:
        return _of_idx(path)
    return _of_zip(stack, path, path.name) if is_zip(path) else [Entry(path.name, "", partial(read_picture, path))]


def _of_folder(folder: Path, run: Run) -> list[Entry]:
    """Every picture below a folder, by folder and name; hidden ones are left out."""
    found: list[Path] = []
    seen = 0
    for root, folders, names in os.walk(folder):
        run.check()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        seen += len(names)
        if seen > FOLDER_FILES:
            raise TooLarge(f"“{folder}” holds more than {FOLDER_FILES:,} files. Choose a folder further down.")
        found += [Path(root, name) for name in sorted(names) if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return [Entry(path.name, group, partial(read_picture, path)) for path, group in zip(found, _groups(found))]


def _of_npz(path: Path) -> list[Entry]:
    """The test pictures of MNIST as `.npz`, grouped by their label; the training pictures where there are no others."""
    arrays = read_npz(path, lambda name: name in ("x_test", "y_test")) or read_npz(path, lambda name: name in ("x_train", "y_train"))
    pictures = next((array for name, array in arrays.items() if name.startswith("x_")), None)
    if pictures is None:
        raise UploadError(f"{path.name} holds no pictures. Expected arrays x_test, y_test or x_train, y_train.")
    return _of_arrays(pictures, next((array for name, array in arrays.items() if name.startswith("y_")), None), path.name)


def _of_idx(path: Path) -> list[Entry]:
    """The pictures of an idx file, grouped by the labels that lie beside it."""
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    labels = read_idx(beside, labels=True) if beside != path and beside.is_file() else None
    return _of_arrays(read_idx(path), labels, path.name)


def _of_arrays(pictures, labels, name: str) -> list[Entry]:
    """Entries for pictures `[N, H, W]` or `[N, H, W, 3]` of bytes and labels `[N]`."""
    grey, colour = pictures.ndim == 3, pictures.ndim == 4 and pictures.shape[3] == 3
    if pictures.dtype != "uint8" or not (grey or colour) or (labels is not None and labels.shape != pictures.shape[:1]):
        raise UploadError(f"{name} holds no set of pictures: expected bytes [N, height, width] and one label each, received {pictures.shape}.")
    groups: Iterable[str] = [""] * len(pictures) if labels is None else map(str, labels.tolist())
    return [
        Entry(f"{index}", group, lambda index=index: read_picture(Image.fromarray(pictures[index]), f"number {index}"))
        for index, group in enumerate(groups)
    ]


def read_places(places: Sequence[tuple[str | Path, str]], run: Run | None = None, *, folders: bool) -> list[ReadPicture]:
    """The pictures of several places, each a (path, name): a picture, a zip file and, with `folders`, all that `read_here` reads.

    Where there are several places, what comes from one of them is a group. Raises UploadError, also for one picture that
    cannot be read.
    """
    run = run or Run()
    pictures: list[ReadPicture] = []
    for path, name in places:
        path = Path(path)
        if folders and (path.is_dir() or is_zip(path) or "idx3-ubyte" in path.name):
            found = list(read_here(path, run, pictures).pictures)
        elif is_zip(path):
            found = list(read_set([(path, name)], run, pictures).pictures)
        else:
            pictures.append(read_picture(path, name))
            continue
        pictures += [replace(picture, group=picture.group or safe_name(Path(name).stem)) for picture in found] if len(places) > 1 else found
    return pictures
