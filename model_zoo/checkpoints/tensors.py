"""What a file may say about its tensors before any of them is read: their number, types, shapes and bytes.

The header of a safetensors file is read here with limits of our own: one of 83 MB, which the library accepts, costs it
22 s and 2 GB of memory. Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.sentences import DAMAGED, INCOMPLETE, NOT_FLOAT, TOO_LARGE, refusal, shown, size_text
from model_zoo.errors import UploadError

LONGEST_HEADER = 2 * 10**6  # bytes; a network of 20,000 tensors needs less
MOST_TENSORS = 20_000
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
OTHERS = {
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
    "BOOL": "bool", "C64": "complex64", "F8_E4M3": "float8", "F8_E5M2": "float8", "F8_E4M3FNUZ": "float8", "F8_E5M2FNUZ": "float8",
    "F8_E8M0": "float8",
}  # fmt: skip
WHOLE = {"I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "U64": 8, "U32": 4, "U16": 2, "C64": 8}
# counters, masks and tables of positions, which networks keep as whole numbers beside their weights
BOOKKEEPING = re.compile(r"(num_batches_tracked|n_averaged|.*(index|indices|idx|idxs|ids|mask|coords|steps?))")


class _Repeated(ValueError):
    """Two tensors of one name."""


@dataclass(frozen=True)
class Header:
    """Shape and type of every tensor by its name; types are called as in safetensors: "F32", "BF16", "I64"."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]


def read_header(path: Path, limit: int) -> Header:
    """The header of a safetensors file whose tensors fit into `limit` bytes and fill the file to its last byte.

    Raises UploadError for anything else, before a tensor is read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if length > LONGEST_HEADER:
            raise _damaged(f"its list of tensors is said to be {size_text(length)} long, and {size_text(LONGEST_HEADER)} is the most")
        if size < 8 + length:
            raise refusal(INCOMPLETE, arrived=size_text(size), whole=f"at least {size_text(8 + length)}")
        text = file.read(length)
    # counted before they are made into objects, of which a header of 2 MB could hold 700,000
    if text.count(b"{") > MOST_TENSORS + 2 or text.count(b"[") > 3 * MOST_TENSORS:
        raise _damaged(f"it lists more than {MOST_TENSORS:,} tensors")
    entries = _entries(text)
    end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    header = Header({name: tuple(entry["shape"]) for name, entry in entries.items()}, {name: entry["dtype"] for name, entry in entries.items()})
    check_weights(header.shapes, header.dtypes, limit)
    if size < 8 + length + end:
        raise refusal(INCOMPLETE, arrived=size_text(size), whole=size_text(8 + length + end))
    if size > 8 + length + end:
        raise _damaged(f"{size_text(size - 8 - length - end)} follow its last tensor")
    return header


def check_weights(shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str], limit: int) -> None:
    """Raises UploadError for no tensors, too many, weights that are not floating point, or more than `limit` bytes."""
    if len(shapes) > MOST_TENSORS:
        raise _damaged(f"it lists more than {MOST_TENSORS:,} tensors")
    for name, dtype in dtypes.items():
        if dtype not in FLOATS and not (dtype in WHOLE and _bookkeeping(name.rpartition(".")[2], math.prod(shapes[name]))):
            raise refusal(NOT_FLOAT, name=shown(name), dtype=OTHERS[dtype])
    if not any(math.prod(shape) for name, shape in shapes.items() if dtypes[name] in FLOATS):
        raise _damaged("it holds no weights")
    needed = sum(math.prod(shape) * ITEM_BYTES.get(dtypes[name], 1) for name, shape in shapes.items())
    if needed > limit:
        raise refusal(TOO_LARGE, needed=size_text(needed), allowed=size_text(limit))


def _bookkeeping(name: str, numbers: int) -> bool:
    """Whether a tensor of whole numbers is kept beside the weights and is none of them."""
    return bool(BOOKKEEPING.fullmatch(name)) or numbers == 1 and name not in ("weight", "bias")


def _entries(text: bytes) -> dict[str, dict[str, Any]]:
    """The entries of a header, each of the right form, and together covering the data without a gap."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise _Repeated
        return found

    try:
        entries = json.loads(text, object_pairs_hook=once)
    except _Repeated:
        raise _damaged("two of its tensors have the same name") from None
    except (ValueError, RecursionError):
        raise _damaged("its list of tensors cannot be read") from None
    if not text.startswith(b"{") or not isinstance(entries, dict):
        raise _damaged("its list of tensors cannot be read")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged("its description is not text")
    for name, entry in entries.items():
        _check_entry(name, entry)
    place = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        if begin != place:
            raise _damaged(f"the place of {shown(name)} is wrong")
        place = end
    return entries


def _check_entry(name: str, entry: Any) -> None:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(f"{shown(name)} is not described as a tensor")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in FLOATS | OTHERS:
        raise _damaged(f"{shown(name)} has a type of numbers that we do not know")
    if not _counts(shape) or not _counts(offsets) or len(shape) > 16 or len(offsets) != 2:
        raise _damaged(f"{shown(name)} has no valid shape or place")
    if offsets[1] - offsets[0] != math.prod(shape) * ITEM_BYTES.get(dtype, 1):
        raise _damaged(f"{shown(name)} has more or fewer numbers than its shape says")


def _counts(numbers: Any) -> bool:
    """Whether this is a list of counts below 2^63."""
    return isinstance(numbers, list) and all(type(number) is int and 0 <= number < 2**63 for number in numbers)


def _damaged(what: str) -> UploadError:
    return refusal(DAMAGED, what=what)
