"""A checkpoint of `torch.save` is looked through before torch touches it.

It is a zip that torch reads with its own reader and Python with another, so everything that two readers could take
differently is refused: other members behind the directory, two members of one name, members that overlap. Then the pickle in
it is followed with stand-ins (`outline.py`), and the set of weights in it is chosen. All of this takes milliseconds.
"""

from __future__ import annotations

import math
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.outline import Tensor, outline
from model_zoo.checkpoints.recognise import find_directory
from model_zoo.checkpoints.sentences import CODE, DAMAGED, STRUCTURE, TOO_LARGE, refusal, size_text
from model_zoo.checkpoints.tensors import ITEM_BYTES, check_weights

LONGEST_PICKLE = 4 * 10**6  # bytes
MEMBER = re.compile(r"data\.pkl|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id|data/\d{1,6}")
# where training programs keep weights; an average over the training comes first, as in timm: it is what they validate
AVERAGES = re.compile(r"(^|[._])(ema|swa|averaged?)([._]|$)")
USUAL = ("state_dict", "model", "model_state_dict", "network", "net", "weights", "module", "params", "backbone", "student")
DEEPEST = 3  # tables in tables that are searched for weights
LONGEST_KEY = 200  # letters


@dataclass(frozen=True)
class Checked:
    """The weights that a checkpoint holds: the keys that lead to them, and each tensor's shape and type."""

    part: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    others: tuple[str, ...]
    left_out: int

    @property
    def bytes(self) -> int:
        return sum(math.prod(shape) * ITEM_BYTES.get(self.dtypes[name], 1) for name, shape in self.shapes.items())


def precheck(path: Path, limit: int, check: Callable[[], None]) -> Checked:
    """What there is to convert in a zip of `torch.save` of at most `limit` bytes; `check` is called now and then.

    Raises UploadError for anything that is not plain weights.
    """
    if path.stat().st_size > limit:
        raise refusal(TOO_LARGE, needed=size_text(path.stat().st_size), allowed=size_text(limit))
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive)
            data = archive.read(members.pop("data.pkl"))
    except (OSError, ValueError, NotImplementedError, RuntimeError, EOFError, OverflowError, zipfile.BadZipFile, struct.error):
        raise refusal(DAMAGED, what="its parts cannot be read") from None
    storages = {name.removeprefix("data/"): member.file_size for name, member in members.items() if name.startswith("data/")}
    return _choose(outline(data, storages, check), limit)


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by their names inside the one folder; UploadError unless they are those that torch.save writes."""
    directory, members = find_directory(path), archive.infolist()
    if not directory.last or directory.place + directory.length != directory.end or directory.members != len(members):
        raise refusal(DAMAGED, what="something stands before or behind its list of parts")
    folder = members[0].filename.partition("/")[0]
    named = {member.filename.removeprefix(f"{folder}/"): member for member in members}
    cut = any(member.orig_filename != member.filename for member in members)  # at a zero byte
    if cut or len(named) < len(members) or not all(MEMBER.fullmatch(name) for name in named) or "data.pkl" not in named:
        raise refusal(CODE, way_out=True, item="")
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size or member.flag_bits & 1:
            raise refusal(STRUCTURE, item="compressed parts")
        if member.header_offset < end:
            raise refusal(DAMAGED, what="its parts overlap")
        end = member.header_offset + 30 + len(member.filename) + member.file_size
    if end > directory.place:
        raise refusal(DAMAGED, what="its parts overlap")
    if named["data.pkl"].file_size > LONGEST_PICKLE:
        raise refusal(STRUCTURE, item="more entries than any network has")
    return named


def _choose(root: Any, limit: int) -> Checked:
    """The set of weights to use: an average over the training if there is one, else the usual name, else the largest."""
    if isinstance(root, Tensor) or isinstance(root, list) and any(isinstance(item, Tensor) for item in root):
        raise refusal(STRUCTURE, way_out=True, item="tensors without their names")
    parts = dict(_parts(root, (), set()))
    if not parts:
        raise refusal(STRUCTURE, way_out=True, item="no set of named tensors")
    most = max(map(len, parts.values()))
    # an average that leaves out half of the tensors is not one of the whole network
    part = min((part for part in parts if len(parts[part]) * 2 >= most), key=lambda part: (_rank(part), -len(parts[part]), part))
    tensors = parts[part]
    found = root
    for key in part:
        found = found[key]
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
    check_weights(shapes, dtypes, limit)
    others = tuple(".".join(other) or "the top level" for other in parts if other != part)
    return Checked(part, shapes, dtypes, others, left_out=len(found) - len(tensors))


def _rank(part: tuple[str, ...]) -> int:
    if AVERAGES.search(".".join(part).lower()):
        return 0
    if not part:
        return 1
    return 2 + min((USUAL.index(key) for key in part if key in USUAL), default=len(USUAL))


def _parts(table: Any, path: tuple[str, ...], seen: set[int]) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every table with named tensors, by the keys that lead to it first."""
    if not isinstance(table, dict) or id(table) in seen or not all(isinstance(key, str) for key in table):
        return
    seen.add(id(table))
    tensors = {name: value for name, value in table.items() if isinstance(value, Tensor)}
    if tensors:
        yield path, tensors
    for key, value in table.items():
        if len(path) < DEEPEST and len(key) <= LONGEST_KEY:
            yield from _parts(value, (*path, key), seen)
