"""Arrays from files of strangers: `.npz` and the idx files of MNIST. Only plain numbers are read, and only after the
header has said that there is room for them; nothing in a file is run."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from model_zoo.errors import UploadError
from techniques.base.archives import DAMAGED, TooLarge, open_zip

MOST_BYTES = 600_000_000  # of all arrays of one file
MOST_ARRAYS = 20_000
CHUNK = 1 << 18  # bytes
IDX_PICTURES = b"\x00\x00\x08\x03"
IDX_LABELS = b"\x00\x00\x08\x01"


def read_npz(path: str | Path, wanted: Callable[[str], bool] = lambda name: True, most: int = MOST_BYTES) -> dict[str, np.ndarray]:
    """The wanted arrays of an `.npz` file, in their order; UploadError when one is not what it says or is no plain numbers."""
    arrays: dict[str, np.ndarray] = {}
    with open_zip(path, MOST_ARRAYS) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name == member.filename or not wanted(name):
                continue
            try:
                with archive.open(member) as file:
                    arrays[name] = _array(file, min(most, member.file_size))
            except UploadError:
                raise
            except Exception as error:  # the parsers of zip, deflate and numpy raise more kinds than they document
                raise UploadError(DAMAGED) from error
            most -= arrays[name].nbytes
    return arrays


def _array(file: BinaryIO, most: int) -> np.ndarray:
    """One `.npy`. Version 1.0 only, which numpy writes for plain numbers: its header cannot be longer than 64 kB."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise UploadError("The file holds something other than plain numbers. Expected arrays saved by Loupe.")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype.fields or len(shape) > 5 or min(shape, default=0) < 0:
        raise UploadError("The file holds something other than plain numbers. Expected arrays saved by Loupe.")
    size = math.prod(shape) * dtype.itemsize
    if size > most:
        raise TooLarge(f"The arrays in this file are larger than it can hold, or than {MOST_BYTES // 10**6} MB, the limit. Save it again.")
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        count = file.readinto(view[at : at + CHUNK])
        if not count:
            raise UploadError(DAMAGED)
        at += count
    values = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return values.astype(dtype.newbyteorder("="), copy=False)


def read_idx(path: Path, labels: bool = False) -> np.ndarray:
    """Pictures `[N, H, W]` or labels `[N]` of an idx file of bytes, packed by gzip or not; UploadError when it is none."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            magic, axes = file.read(4), 1 if labels else 3
            shape = tuple(int.from_bytes(file.read(4), "big") for _ in range(axes))
            size = math.prod(shape)
            if magic != (IDX_LABELS if labels else IDX_PICTURES) or not 0 < size <= MOST_BYTES:
                raise UploadError(f"{path.name} is no idx file of {'labels' if labels else 'grey pictures'}.")
            data = file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise UploadError(f"{path.name} cannot be read; it is damaged or not open to us.") from error
    if len(data) < size:
        raise UploadError(f"{path.name} is cut off.")
    return np.frombuffer(data, np.uint8).reshape(shape)
