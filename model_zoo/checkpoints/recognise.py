"""What kind of file a visitor has sent, told by its content and not by its name.

Only two kinds are taken: safetensors, and the zip files of `torch.save`. Every other kind that people have is told apart, so
that they learn what to send instead.
"""

from __future__ import annotations

import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model_zoo.checkpoints.sentences import CODE, DAMAGED, INCOMPLETE, PROGRAM, UNKNOWN, refusal, size_text
from model_zoo.errors import UploadError

MOST_MEMBERS = 20_000
LONGEST_DIRECTORY = 3 * 10**6  # bytes; 20,000 members of torch's own names need 2 MB
END = struct.Struct("<4s4H2LH")  # the end of a zip's directory: signature, disks, counts, size, place, length of the comment
END64 = struct.Struct("<4sQ2H2L4Q")  # the same with numbers of 64 bits
LOCATOR64 = struct.Struct("<4sLQL")

POINTER = "This is a download pointer, not the weights{item}. Open its page, download the file itself, and upload that."
PAGE = "This is a web page, not the weights. The link probably asked for a login; download the file itself, and upload that."
EMPTY = "This file is empty (0 bytes). Upload the weights again."
PACKED = "This is a {kind} archive. Unpack it and upload the file of weights that is in it."
ARRAYS = "This file holds NumPy arrays, not the weights of a torch network. Save `model.state_dict()` as .safetensors."
LEGACY = "This file is of torch before 1.6, an old pickle format. Load it in the program that made it, and save it again as .safetensors."

UNREADABLE = "its list of parts cannot be read"

SIGNATURES = (
    (b"\x89HDF\r\n\x1a\n", PROGRAM, "Keras or HDF5"),
    (b"GGUF", PROGRAM, "GGUF"),
    (b"\x93NUMPY", ARRAYS, ""),
    (b"\x1f\x8b", PACKED, "gzip"),
    (b"7z\xbc\xaf\x27\x1c", PACKED, "7z"),
    (b"Rar!", PACKED, "RAR"),
    (b"BZh", PACKED, "bzip2"),
    (b"\xfd7zXZ", PACKED, "xz"),
    (b"\x28\xb5\x2f\xfd", PACKED, "Zstandard"),
)
TORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # what torch.save wrote first, before it wrote zip files
# ONNX, TensorFlow and Core ML write protocol buffers that begin with a version below 32 and then a text or a message
PROTOBUF = re.compile(rb"\x08[\x00-\x1f][\x12\x1a\x22\x2a\x32\x3a\x42]", re.DOTALL)
# text pickles: a global, or a container and what comes next
TEXT_PICKLE = re.compile(rb"(c[\w.]+\n\w+\n|\(?[dl\]}(]p?\d*\n?[p(VSI])")
PICKLE = re.compile(rb"\x80[\x00-\x05]", re.DOTALL)


@dataclass(frozen=True)
class Directory:
    """The directory of a zip: its members, its length and place in bytes, where what follows it begins, and whether
    nothing follows that."""

    members: int
    length: int
    place: int
    end: int
    last: bool


def recognise(path: Path) -> Literal["safetensors", "checkpoint"]:
    """Which of the two kinds this file is; UploadError says what it is instead, and what to send.

    Reads the first and the last kilobytes, and the directory of a zip.
    """
    if not path.is_file():
        raise refusal(UNKNOWN)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        raise refusal(EMPTY)
    if start.startswith(b"PK\x03\x04"):
        _recognise_zip(path, size)
        return "checkpoint"
    # before anything else: the length of a header, in the first two bytes, can look like the beginning of a pickle or of gzip
    if start[4:9] == b"\0\0\0\0{":
        return "safetensors"
    _refuse_strangers(start, size)
    if start[8:9] == b"{":
        return "safetensors"
    raise refusal(UNKNOWN, way_out=True)


def _refuse_strangers(start: bytes, size: int) -> None:
    """UploadError for every kind of file that is neither safetensors nor a zip, and that we know."""
    if start.startswith(b"version https://git-lfs"):
        said = re.search(rb"\nsize (\d{1,15})\n", start)
        item = f": {size} bytes of {size_text(int(said[1]))}" if said else ""
        raise refusal(POINTER, item=item)
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|\?xml)", start, re.IGNORECASE):
        raise refusal(PAGE)
    for signature, sentence, kind in SIGNATURES:
        if start.startswith(signature):
            raise refusal(sentence, way_out=sentence is PROGRAM, kind=kind)
    if start[257:262] == b"ustar":
        raise refusal(PACKED, kind="tar")
    if start[4:8] in (b"TFL3", b"ET12"):
        raise refusal(PROGRAM, way_out=True, kind="TensorFlow Lite or ExecuTorch")
    if PICKLE.match(start) or TEXT_PICKLE.match(start):
        legacy = TORCH_MAGIC in start[:32]
        raise refusal(LEGACY if legacy else CODE, way_out=True, item="")
    if PROTOBUF.match(start):
        raise refusal(PROGRAM, way_out=True, kind="ONNX, TensorFlow or Core ML")


def _recognise_zip(path: Path, size: int) -> None:
    """UploadError unless the zip looks like one of `torch.save`."""
    try:
        find_directory(path)
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] or name for name in archive.namelist()]
    except UploadError:
        raise
    except (OSError, ValueError, NotImplementedError, RuntimeError, OverflowError, zipfile.BadZipFile, struct.error):
        raise refusal(DAMAGED, what=UNREADABLE) from None
    whole = set(names)
    kinds = {
        "TorchScript": "constants.pkl" in whole or any(name.startswith("code/") for name in names),
        "torch.export": bool(whole & {"archive_format", "serialized_exported_program.json"}) or any(name.startswith("models/") for name in names),
        "torch.package": ".data/extern_modules" in whole,
        "Keras": {"config.json", "metadata.json"} <= whole,
        "TensorFlow": any(name.endswith("saved_model.pb") for name in names),
        "Core ML": "Manifest.json" in whole,
    }
    for kind, found in kinds.items():
        if found:
            raise refusal(PROGRAM, way_out=True, kind=kind)
    if names and all(name.endswith(".npy") for name in names):
        raise refusal(ARRAYS)
    if "data.pkl" not in whole:
        raise refusal(PACKED, kind="zip")


def find_directory(path: Path) -> Directory:
    """Where a zip says that its directory is, from the end of the file.

    Raises UploadError for a file whose end is missing, for two ends that disagree (readers would choose differently),
    and for a directory so large that reading it would take long.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 2**16 - END.size))
        tail = file.read()
        found = tail.rfind(b"PK\x05\x06")
        if found < 0 or len(tail) - found < END.size:
            raise refusal(INCOMPLETE, arrived=size_text(size), whole="a file whose end is missing")
        _, _, _, _, *small, comment = END.unpack_from(tail, found)
        directory = Directory(*small, end=size - len(tail) + found, last=size - len(tail) + found + END.size + comment == size and not comment)
        if found >= LOCATOR64.size and tail[found - LOCATOR64.size :].startswith(b"PK\x06\x07"):
            _, _, place, _ = LOCATOR64.unpack_from(tail, found - LOCATOR64.size)
            file.seek(max(0, directory.end - LOCATOR64.size - END64.size))
            if place != file.tell():
                raise refusal(DAMAGED, what=UNREADABLE)
            signature, _, _, _, _, _, _, *large = END64.unpack(file.read(END64.size))
            if signature != b"PK\x06\x06" or any(a not in (b, 0xFFFF, 0xFFFFFFFF) for a, b in zip(small, large)):
                raise refusal(DAMAGED, what=UNREADABLE)
            directory = Directory(*large, end=place, last=directory.last)
    if directory.members > MOST_MEMBERS or directory.length > LONGEST_DIRECTORY:
        raise refusal(DAMAGED, what=f"it lists more than {MOST_MEMBERS:,} parts")
    return directory
