"""Files of weights that a page on the open internet is given sooner or later, and what Loupe must make of each.

Every case is built here, by hand where no library would write it. All of them are harmless: what tries to run a program
only makes an empty file, the canary. `python -m tests.hostile_models FOLDER` writes them out, for trying them on the page.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

CODE = "program code or an old pickle format"
PROGRAM = "whole program"
DAMAGED = "damaged"
INCOMPLETE = "incomplete file"
PACKED = "archive. Unpack it"
NOT_FLOAT = "not floating point"
NOT_FINITE = "no valid numbers"
STRUCTURE = "which plain weights never do"
STRANGER = "which is not plain data"
UNKNOWN = "no weights that we can read"
TOO_LARGE = "this server allows"
LIMIT = 50 * 10**6  # bytes of weights that the tests allow


@dataclass(frozen=True)
class Case:
    """One file; `build` is given the path of the canary. It is refused with a text that holds `sentence`."""

    name: str
    build: Callable[[Path], bytes]
    sentence: str


# Pickles by hand: each function gives the instructions that leave one value on the stack


def number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def group(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def numbers(*values: int) -> bytes:
    return group(*map(number, values))


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + group(*arguments) + b"R"


def storage(count: int, key: str = "0", kind: str = "FloatStorage") -> bytes:
    return group(text("storage"), f"ctorch\n{kind}\n".encode(), text(key), text("cpu"), number(count)) + b"Q"


def tensor(shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, stored: bytes = storage(4)) -> bytes:
    hooks = call("collections", "OrderedDict")
    return call("torch._utils", "_rebuild_tensor_v2", stored, number(offset), numbers(*shape), numbers(*strides), b"\x89", hooks)


def table(values: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def pickled(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


WEIGHT = tensor((2, 2), (2, 1))
FOUR_FLOATS = struct.pack("<4f", 1, 2, 3, 4)


def archive(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as packed:
        packed.comment = comment
        for name, data in members.items():
            packed.writestr(name, data)
    return file.getvalue()


def checkpoint(value: bytes, stored: bytes = FOUR_FLOATS, **more: bytes) -> bytes:
    """What torch.save would write for this pickled value and one storage."""
    return archive({"archive/data.pkl": pickled(value), "archive/data/0": stored, "archive/version": b"3\n", **more})


def attack(canary: Path) -> bytes:
    """A pickled value whose reading runs a program."""
    return call("posix", "system", text(f"touch '{canary}'"))


def nested(depth: int = 200_000) -> bytes:
    """Tuples in each other, as the key of a table: hashing them overflows the stack of whoever reads this."""
    return b"}" + b")" + b"\x85" * depth + b"K\0s"


def doubled(times: int = 60) -> bytes:
    """A tuple that holds the one before twice, as a key: hashing it takes 2^60 steps."""
    return b"}" + b")" + b"q\0h\0\x86" * times + b"K\0s"


def colliding(count: int = 1000) -> bytes:
    """Keys of one table that all have the same hash."""
    return b"}(" + b"".join(number(i * (2**61 - 1)) + b"K\0" for i in range(1, count)) + b"u"


def aliased(keys: int = 3000, depth: int = 3) -> bytes:
    """A table of tables of tables, all of them the same few: 3000^3 to whoever follows every name."""
    value = table({"w": WEIGHT})
    for level in range(depth):
        place = bytes([200 + level])
        value = b"}(" + text("0") + value + b"q" + place + b"".join(text(str(i)) + b"h" + place for i in range(1, keys)) + b"u"
    return value


def repeated(value: bytes, often: bytes, times: int = 200_000) -> bytes:
    """A list of what the instructions `often` make again and again of one large value, number 9 of the memory."""
    return b"](" + value + b"q\x09" + often * times + b"e"


LARGE_TABLE = b"}(" + b"".join(number(i) + b"N" for i in range(50_000)) + b"u"


def oversized_directory() -> bytes:
    """A zip with 30,000 empty members."""
    return archive({"a/data.pkl": pickled(table({"w": WEIGHT})), **{f"a/data/{i}": b"" for i in range(30_000)}})


def two_directories() -> bytes:
    """Two zips behind each other: a reader from the front and one from the back see different files."""
    return checkpoint(table({"w": WEIGHT})) + checkpoint(table({"other": WEIGHT}))


def overlapping() -> bytes:
    """Two members of the directory that are the same bytes of the file."""
    data = bytearray(archive({"a/data.pkl": pickled(table({"w": WEIGHT})), "a/data/0": FOUR_FLOATS, "a/data/1": FOUR_FLOATS}))
    first, second = (data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1), data.rindex(b"PK\x01\x02"))
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    return bytes(data)


# safetensors by hand


def safetensors(header: Mapping | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data


def entry(begin: int, end: int, shape: list | None = None, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def floats(name: str, *values: float) -> bytes:
    return safetensors({name: entry(0, 4 * len(values))}, struct.pack(f"<{len(values)}f", *values))


def many_empty_tensors(count: int = 1_400_000) -> bytes:
    one = b'"%07d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return safetensors(b"{" + b",".join(one % i for i in range(count)) + b"}")


def refused_safetensors() -> list[Case]:
    """Files in, or nearly in, the form of safetensors."""
    two = {"a": entry(0, 8), "b": entry(8, 16)}
    whole = safetensors(two, bytes(16))
    built = {
        "header of 83 MB": (many_empty_tensors, "2 MB is the most"),
        "header of 2^63 bytes": (lambda: safetensors(two, bytes(16), length=2**63), "2 MB is the most"),
        "header longer than the file": (lambda: safetensors(two, bytes(16), length=10**6), INCOMPLETE),
        "67 MB of description": (lambda: safetensors({"__metadata__": {"a": "x" * 67_000_000}, **two}, bytes(16)), "2 MB is the most"),
        "deep header": (lambda: safetensors(b'{"a":' + b"[" * 900_000, b""), DAMAGED),
        "fairly deep header": (lambda: safetensors(b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}", b""), DAMAGED),
        "header of 700,000 lists": (lambda: safetensors(b'{"a":[' + b"[]," * 600_000 + b"[]]}", b""), DAMAGED),
        "21,000 tensors": (lambda: safetensors({f"{i}": entry(0, 0) for i in range(21_000)}), "20,000"),
        "overlap": (lambda: safetensors({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), DAMAGED),
        "hole": (lambda: safetensors({"a": entry(0, 8), "b": entry(12, 20)}, bytes(20)), DAMAGED),
        "negative place": (lambda: safetensors({"a": entry(-8, 0)}, bytes(8)), DAMAGED),
        "negative shape": (lambda: safetensors({"a": entry(0, 8, [-1, -2])}, bytes(8)), DAMAGED),
        "overflowing shape": (lambda: safetensors({"a": entry(0, 0, [2**32, 2**32])}), DAMAGED),
        "number of 5,000 digits": (lambda: safetensors(b'{"a":' + b"9" * 5000 + b"}"), DAMAGED),
        "shape of truths": (lambda: safetensors({"a": entry(0, 4, [True])}, bytes(4)), DAMAGED),
        "shape of half": (lambda: safetensors({"a": entry(0, 4, [1.0])}, bytes(4)), DAMAGED),
        "17 dimensions": (lambda: safetensors({"a": entry(0, 4, [1] * 17)}, bytes(4)), DAMAGED),
        "unknown type": (lambda: safetensors({"a": entry(0, 4, [1], "F31")}, bytes(4)), DAMAGED),
        "type that is a list": (lambda: safetensors({"a": {**entry(0, 4), "dtype": ["F32"]}}, bytes(4)), DAMAGED),
        "one name twice": (lambda: safetensors(b'{"a":%s,"a":%s}' % (two_entries(0), two_entries(4)), bytes(8)), "same name"),
        "list as header": (lambda: safetensors(b"{}" + b" " * 6 + b"[]"), DAMAGED),
        "description of numbers": (lambda: safetensors({"__metadata__": {"a": 1}, **two}, bytes(16)), DAMAGED),
        "header that is no text": (lambda: safetensors(b'{"\xff\xfe":1}'), DAMAGED),
        "cut in its data": (lambda: whole[:-5], INCOMPLETE),
        "half a file": (lambda: safetensors({"a": entry(0, 45 * 10**6)}, bytes(22 * 10**6)), "22 MB of 45 MB"),
        "cut in its header": (lambda: whole[:40], INCOMPLETE),
        "bytes behind": (lambda: whole + b"more", DAMAGED),
        "no tensors": (lambda: safetensors({}), DAMAGED),
        "51 MB": (lambda: safetensors({"a": entry(0, LIMIT + 4)}, b""), TOO_LARGE),
        "NaN": (lambda: floats("fc.weight", 1, float("nan")), "first NaN in fc.weight"),
        "infinity": (lambda: floats("fc.bias", 1, float("-inf")), "first infinity in fc.bias"),
        "negative variance": (lambda: floats("bn1.running_var", 1, -1e-3), "negative variance in bn1.running_var"),
        "int8 weights": (lambda: safetensors({"fc.weight": entry(0, 4, [4], "I8")}, bytes(4)), "fc.weight is int8"),
        "bool weights": (lambda: safetensors({"fc.weight": entry(0, 4, [4], "BOOL")}, bytes(4)), "fc.weight is bool"),
        "complex weights": (lambda: safetensors({"fc.weight": entry(0, 8, [1], "C64")}, bytes(8)), "fc.weight is complex64"),
        "float8 weights": (lambda: safetensors({"fc.weight": entry(0, 4, [4], "F8_E4M3")}, bytes(4)), NOT_FLOAT),
        "name of a page": (lambda: floats("<img src=x onerror=1>\n" + "x" * 900, float("nan")), NOT_FINITE),
    }
    return [Case(f"{name}.safetensors", lambda _canary, build=build: build(), sentence) for name, (build, sentence) in built.items()]


def two_entries(begin: int) -> bytes:
    return json.dumps(entry(begin, begin + 4)).encode()


def refused_checkpoints() -> list[Case]:
    """Zip files like those of torch.save."""
    weights = table({"w": WEIGHT})
    built = {
        "program": (lambda canary: checkpoint(table({"w": attack(canary)})), f"{CODE} (posix.system)"),
        "program of builtins": (lambda canary: checkpoint(call("builtins", "eval", text("1"))), CODE),
        "program as a class": (lambda canary: checkpoint(b"cposix\nsystem\n" + group(text(f"touch '{canary}'")) + b"\x81"), CODE),
        "program of protocol 0": (lambda canary: checkpoint(b"(S'touch %s'\niposix\nsystem\n" % str(canary).encode()), CODE),
        "program of protocol 4": (
            lambda canary: archive({"a/data.pkl": b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + text(f"touch '{canary}'") + b"\x85R."}),
            CODE,
        ),
        "program by a number": (lambda canary: checkpoint(b"\x82\x01" + group(text("x")) + b"R"), CODE),
        "program as a late attribute": (lambda canary: checkpoint(call("torch.storage", "_load_from_bytes", text("x"))), STRANGER),
        "nested tuples": (lambda canary: checkpoint(nested()), STRUCTURE),
        "nested tuples by mark": (lambda canary: checkpoint(b"}" + b"(" * 200_000 + b"t" * 200_000 + b"K\0s"), STRUCTURE),
        "nested tuples, with pauses": (lambda canary: checkpoint(b"})" + b"\x85q\0" * 200_000 + b"K\0s"), STRUCTURE),
        "doubled tuples": (lambda canary: checkpoint(doubled()), STRUCTURE),
        "colliding keys": (lambda canary: checkpoint(colliding()), STRUCTURE),
        "a key that is a size": (lambda canary: checkpoint(b"}" + call("torch", "Size", numbers(1, 2)) + b"K\0s"), STRUCTURE),
        "6 GB of bytes": (lambda canary: checkpoint(table({"w": call("builtins", "bytearray", number(6 * 10**9))})), CODE),
        "160 GB tensor": (lambda canary: checkpoint(table({"w": call("torch", "Tensor", number(200_000), number(200_000))})), STRANGER),
        "view without strides": (lambda canary: checkpoint(table({"w": tensor((200_000, 200_000), (0, 0))})), STRUCTURE),
        "view beyond its storage": (lambda canary: checkpoint(table({"w": tensor((5,), (1,))})), "outside of the file"),
        "view with a negative offset": (lambda canary: checkpoint(table({"w": tensor((2,), (1,), -2)})), DAMAGED),
        "view with a far offset": (lambda canary: checkpoint(table({"w": tensor((2,), (1,), 3)})), "outside of the file"),
        "view with more strides": (lambda canary: checkpoint(table({"w": tensor((2,), (1, 1))})), DAMAGED),
        "storage that lies": (lambda canary: checkpoint(table({"w": tensor((2**30,), (1,), 0, storage(2**30))})), "more or fewer than it says"),
        "storage with fewer numbers": (lambda canary: checkpoint(table({"w": tensor((2,), (1,), 0, storage(2))})), DAMAGED),
        "storage in another folder": (lambda canary: checkpoint(table({"w": tensor((2,), (1,), 0, storage(4, "../../etc"))})), DAMAGED),
        "storage that is missing": (lambda canary: checkpoint(table({"w": tensor((2,), (1,), 0, storage(4, "7"))})), DAMAGED),
        "member in another folder": (lambda canary: checkpoint(weights, **{"archive/../../x": b"x"}), CODE),
        "member with an absolute path": (lambda canary: checkpoint(weights, **{"/etc/x": b"x"}), CODE),
        "member under two names": (lambda canary: checkpoint(weights, **{"archive/DATA.PKL": b"x"}), CODE),
        "second pickle": (lambda canary: checkpoint(weights, **{"other/data.pkl": pickled(attack(canary))}), CODE),
        "packed storage": (lambda canary: archive({"a/data.pkl": pickled(weights), "a/data/0": bytes(10**7)}, zipfile.ZIP_DEFLATED), STRUCTURE),
        "30,000 members": (lambda canary: oversized_directory(), "20,000 parts"),
        "two directories": (lambda canary: two_directories(), DAMAGED),
        "overlapping members": (lambda canary: overlapping(), "overlap"),
        "comment behind": (lambda canary: archive({"a/data.pkl": pickled(weights), "a/data/0": FOUR_FLOATS}, comment=b"more"), DAMAGED),
        "half a zip": (lambda canary: checkpoint(weights)[:-40], INCOMPLETE),
        "flood of instructions": (lambda canary: checkpoint(b"]" + b"N" * 1_500_000), STRUCTURE),
        "pickle of 5 MB": (lambda canary: checkpoint(table({"x" * 5 * 10**6: WEIGHT})), STRUCTURE),
        "no end": (lambda canary: archive({"a/data.pkl": b"\x80\x02}", "a/data/0": b""}), DAMAGED),
        "stack that is empty": (lambda canary: checkpoint(b"u"), DAMAGED),
        "numpy scalar": (
            lambda canary: checkpoint(table({"w": WEIGHT, "best": call("numpy._core.multiarray", "scalar")})),
            "holds numpy._core.multiarray.scalar beside its weights",
        ),
        "path": (lambda canary: checkpoint(table({"w": WEIGHT, "data": call("pathlib", "PosixPath", text("/data"))})), STRANGER),
        "whole module": (lambda canary: checkpoint(b"ctorch.nn.modules.linear\nLinear\n)\x81}b"), "a pickled torch module"),
        "tables in tables": (lambda canary: checkpoint(b"}(" + text("x") + aliased() + b"u"), "no set of named tensors"),
        "one text handed over often": (
            lambda canary: checkpoint(repeated(text("x" * 10**6), b"c_codecs\nencode\nh\x09" + text("latin1") + b"\x86R", 20_000)),
            STRUCTURE,
        ),
        "one state built often": (lambda canary: checkpoint(repeated(LARGE_TABLE, b"cargparse\nNamespace\n)\x81h\x09b", 30_000)), STRUCTURE),
        "one shape used often": (
            lambda canary: checkpoint(repeated(numbers(*[1] * 50_000), b"ctorch\nSize\nh\x09\x85R")),
            STRUCTURE,
        ),
        "quantised tensor": (lambda canary: checkpoint(table({"w": call("torch._utils", "_rebuild_qtensor")})), NOT_FLOAT),
        "int8 weights": (
            lambda canary: checkpoint(table({"fc.weight": tensor((16,), (1,), 0, storage(16, kind="CharStorage"))})),
            "fc.weight is int8",
        ),
        "bool weights": (
            lambda canary: checkpoint(table({"fc.weight": tensor((16,), (1,), 0, storage(16, kind="BoolStorage"))})),
            "fc.weight is bool",
        ),
        "complex weights": (
            lambda canary: checkpoint(table({"fc.weight": tensor((2,), (1,), 0, storage(2, kind="ComplexFloatStorage"))})),
            "fc.weight is complex64",
        ),
        "list of tensors": (lambda canary: checkpoint(b"](" + WEIGHT + b"e"), "tensors without their names"),
        "one tensor": (lambda canary: checkpoint(WEIGHT), "tensors without their names"),
        "no tensors": (lambda canary: checkpoint(table({"epoch": number(3)})), "no set of named tensors"),
        "too large as a file": (lambda canary: checkpoint(weights, bytes(LIMIT + 4)), TOO_LARGE),
    }
    return [Case(f"{name}.pth", build, sentence) for name, (build, sentence) in built.items()]


def refused_strangers() -> list[Case]:
    """Files of other kinds, whatever their names say."""
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 46830571\n"
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as packed:
        packed.addfile(tarfile.TarInfo("weights.pth"))
    built = {
        "empty.pth": (b"", "empty (0 bytes)"),
        "pointer.safetensors": (pointer, "46.8 MB"),
        "page.safetensors": (b"\n<!DOCTYPE html><html><body>Log in</body></html>", "web page"),
        "text.pth": (b"These are not weights.\n" * 20, UNKNOWN),
        "zeros.pth": (bytes(5000), UNKNOWN),
        "one byte.safetensors": (b"\x07", UNKNOWN),
        "picture.pth": (b"\x89PNG\r\n\x1a\n" + bytes(100), UNKNOWN),
        "arrays.npy": (b"\x93NUMPY\x01\0" + bytes(100), "NumPy"),
        "arrays.npz": (archive({"a.npy": b"\x93NUMPY"}), "NumPy"),
        "script.pt": (archive({"m/data.pkl": b"", "m/constants.pkl": b"", "m/code/__torch__.py": b"", "m/version": b""}), "TorchScript"),
        "script with storages.pth": (checkpoint(table({"w": WEIGHT}), **{"archive/code/x.py": b""}), "TorchScript"),
        "exported.pt2": (archive({"m/archive_format": b"pt2", "m/models/model.json": b"{}", "m/data.pkl": b""}), "torch.export"),
        "exported earlier.pt2": (archive({"serialized_exported_program.json": b"{}", "version": b""}), "torch.export"),
        "package.pt": (archive({"p/.data/extern_modules": b"", "p/data.pkl": b""}), "torch.package"),
        "model.keras": (archive({"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": b""}), "Keras"),
        "model.h5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        "model.onnx": (b"\x08\x0a\x12\x07pytorch\x1a\x062.15.0" + bytes(100), "ONNX"),
        "saved_model.pb": (b"\x08\x01\x12\xf0\x07\x0a\x10" + bytes(100), "TensorFlow"),
        "saved model.zip": (archive({"m/saved_model.pb": b"\x08\x01", "m/variables/variables.index": b""}), "TensorFlow"),
        "model.tflite": (b"\x1c\0\0\0TFL3" + bytes(100), "TensorFlow Lite"),
        "model.mlpackage": (archive({"Manifest.json": b"{}"}), "Core ML"),
        "model.gguf": (b"GGUF\x03\0\0\0" + bytes(100), "GGUF"),
        "photographs.zip": (archive({"a.jpg": b"", "b.jpg": b""}), PACKED),
        "weights.zip": (archive({"weights.pth": b""}), PACKED),
        "weights.tar": (tar.getvalue(), PACKED),
        "weights.pth.gz": (gzip.compress(b"weights"), PACKED),
        "before torch 1.6.pth": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "before 1.6"),
        "empty zip.pth": (b"PK\x05\x06" + bytes(18), UNKNOWN),
        "start of a zip.pth": (b"PK\x03\x04", INCOMPLETE),
    }
    attacks = {
        "raw pickle.safetensors": lambda canary: pickled(attack(canary)),
        "raw pickle.pth": lambda canary: pickled(attack(canary)),
        "text pickle.pth": lambda canary: f"cposix\nsystem\n(S'touch {canary}'\ntR.".encode(),
        "legacy program.pth": lambda canary: b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + pickled(attack(canary)),
    }
    cases = [Case(name, lambda _canary, data=data: data, sentence) for name, (data, sentence) in built.items()]
    return [*cases, *(Case(name, build, "old pickle format") for name, build in attacks.items())]


def refused() -> list[Case]:
    return [*refused_strangers(), *refused_safetensors(), *refused_checkpoints()]


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for case in refused():
        (target / case.name).write_bytes(case.build(target / "canary"))
