"""What a pickled checkpoint would hold, worked out from its instructions without carrying any of them out.

`torch.load(weights_only=True)` runs no code of a stranger, and yet a file of a few hundred bytes can end its process (tuples
in each other 200,000 deep, hashed as a key), fill its memory or keep it busy. Here the same instructions are followed with
stand-ins: a tensor is its type and shape, a function is a name on a list of a few. Whatever plain weights have no use for is
refused. Instructions: `pickletools` of the standard library; what torch accepts: `torch/_weights_only_unpickler.py`.
"""

from __future__ import annotations

import itertools
import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from model_zoo.checkpoints.sentences import CODE, DAMAGED, NOT_FLOAT, PROGRAM, STRANGER, STRUCTURE, refusal, shown
from model_zoo.checkpoints.tensors import ITEM_BYTES

MOST_INSTRUCTIONS = 10**6  # a tensor takes 35
MOST_ARGUMENTS = 2 * 10**6  # letters and items handed to functions, counted again each time: one long text can be handed over often
DEEPEST = 64  # tuples in tuples
STORAGES = {
    "Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16", "Long": "I64", "Int": "I32", "Short": "I16", "Char": "I8",
    "Byte": "U8", "Bool": "BOOL", "ComplexFloat": "C64",
}  # fmt: skip
TYPES = {f"torch {name}" for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")}
NUMBERS_OF_OTHER_KINDS = ("torch._utils _rebuild_qtensor", "torch._utils _rebuild_tensor_v3")
# of these packages, people know what they have put into their checkpoint; what else is named could be an attack
HARMLESS = {
    "numpy", "pathlib", "collections", "datetime", "omegaconf", "yacs", "easydict", "torch", "lightning", "pytorch_lightning", "mmengine",
    "transformers", "ultralytics", "__main__",
}  # fmt: skip
UNREADABLE = "the list of its contents cannot be read"


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that a checkpoint mentions."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers in a member of the zip."""

    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage."""

    dtype: str
    shape: tuple[int, ...]


class Group:
    """A tuple, and how deep tuples lie in it."""

    __slots__ = ("depth", "items")

    def __init__(self, items: list):
        self.items = items
        self.depth = 1 + max((item.depth for item in items if isinstance(item, Group)), default=0)
        if self.depth > DEEPEST:
            raise refusal(STRUCTURE, item=f"lists more than {DEEPEST} deep in each other")


class Other:
    """Something harmless that is no weight: settings, a set, a device."""


class Mark:
    """Where on the stack the items of a container begin."""


MARK = Mark()


def outline(data: bytes, members: Mapping[str, int], check: Callable[[], None]) -> Any:
    """What the pickle `data` holds: dicts, lists and plain values, with `Tensor` for each tensor.

    `members` are the bytes of each storage by its key. `check` is called every few milliseconds and may raise. Raises
    UploadError for what is no plain checkpoint.
    """
    reader = _Reader(members)
    try:
        _refuse_strangers(data)
        for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if number % 4096 == 0:
                check()
            if number > MOST_INSTRUCTIONS:
                raise refusal(STRUCTURE, item="more entries than any network has")
            reader.follow(opcode.name, argument)
        return reader.stack.pop()
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError):
        raise refusal(DAMAGED, what=UNREADABLE) from None


def _refuse_strangers(data: bytes) -> None:
    """UploadError for a pickle that mentions anything beyond `ALLOWED`, before anything is followed."""
    instructions = itertools.islice(pickletools.genops(data), MOST_INSTRUCTIONS)
    names = [argument for opcode, argument, _ in instructions if opcode.name in ("GLOBAL", "INST")]
    strangers = [name for name in names if name not in ALLOWED and name not in TYPES and _storage_type(name) is None]
    if any(name in NUMBERS_OF_OTHER_KINDS for name in strangers):
        raise refusal(NOT_FLOAT, name="a tensor", dtype="quantised, or of 8 bits")
    if any(name.startswith("torch.nn.modules.") for name in strangers):
        raise refusal(PROGRAM, way_out=True, kind="a pickled torch module")
    if strangers:
        dotted = shown(strangers[0].replace(" ", "."))
        if dotted.partition(".")[0] in HARMLESS:
            raise refusal(STRANGER, way_out=True, item=dotted)
        raise refusal(CODE, way_out=True, item=f" ({dotted})")


class _Reader:
    """The stack and the memory of an unpickler, filled with stand-ins."""

    def __init__(self, members: Mapping[str, int]):
        self.members = members
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}
        self.handed_over = 0

    def follow(self, instruction: str, argument: Any) -> None:
        """One instruction; ValueError, TypeError or IndexError when it makes no sense here."""
        if instruction in CONSTANTS:
            self.stack.append(CONSTANTS[instruction])
        elif instruction in WITH_VALUE:
            self.stack.append(argument)
        elif instruction in ("BINPUT", "LONG_BINPUT"):
            self.memory[argument] = self.stack[-1]
        elif instruction in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memory[argument])
        elif instruction in ACTIONS:
            ACTIONS[instruction](self)
        elif instruction == "GLOBAL":
            self.stack.append(Name(argument))
        elif instruction != "STOP" and (instruction, argument) != ("PROTO", 2):
            raise refusal(CODE, way_out=True, item="")

    def since_mark(self) -> list:
        """The items behind the last mark, taken off the stack with it."""
        place = len(self.stack) - 1
        while not isinstance(self.stack[place], Mark):
            place -= 1
            if place < 0:
                raise ValueError
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def top(self, count: int) -> list:
        """The last `count` items, taken off the stack."""
        if len(self.stack) < count or any(isinstance(item, Mark) for item in self.stack[-count:]):
            raise ValueError
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def extend(self, items: list) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError
        self.stack[-1].extend(items)

    def set_items(self, items: list) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise TypeError
        for key, value in zip(items[::2], items[1::2]):
            # hashing a tuple can take for ever, and large numbers can be chosen so that all of them collide
            if not isinstance(key, str) and not (type(key) is int and abs(key) < 2**31):
                raise refusal(STRUCTURE, item="a table whose keys are neither names nor numbers")
            target[key] = value

    def make_storage(self) -> None:
        (identity,) = self.top(1)
        kind, type_name, key, location, count = identity.items
        dtype = _storage_type(type_name.name)
        if kind != "storage" or dtype is None or not isinstance(location, str) or not _is_count(count):
            raise ValueError
        if self.members[key] != count * ITEM_BYTES.get(dtype, 1):
            raise refusal(DAMAGED, what="the numbers in it are more or fewer than it says")
        self.stack.append(Storage(dtype, count))

    def count(self, *arguments: Any) -> None:
        """Add to what functions were handed; UploadError when that is more than weights can need."""
        self.handed_over += sum(map(_length, arguments))
        if self.handed_over > MOST_ARGUMENTS:
            raise refusal(STRUCTURE, item="more entries than any network has")

    def call(self) -> None:
        function, arguments = self.top(2)
        self.count(arguments, *arguments.items)
        self.stack.append(ALLOWED[function.name](*arguments.items))

    def build(self) -> None:
        """Attributes of an object: of an ordered dict (torch keeps the versions of modules there) or of settings."""
        (state,) = self.top(1)
        self.count(state)
        target = self.stack[-1]
        if not isinstance(state, dict) or not isinstance(target, (dict, Other)) or any(str(name).startswith("__") for name in state):
            raise TypeError


def _storage_type(name: str) -> str | None:
    """The type of numbers of "torch FloatStorage", as safetensors calls it, or None when it is no storage."""
    module, _, kind = name.partition(" ")
    if name == "torch.storage UntypedStorage":
        return "U8"
    return STORAGES.get(kind.removesuffix("Storage")) if module == "torch" and kind.endswith("Storage") else None


def _length(value: Any) -> int:
    """How many items or letters a value has; 1 for a value without any."""
    return len(value.items) if isinstance(value, Group) else len(value) if isinstance(value, (str, list, dict)) else 1


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number < 2**48


def _tensor(storage: Storage, offset: int, shape: Group, strides: Group, _gradient: bool, hooks: dict, *metadata: Any) -> Tensor:
    """`torch._utils._rebuild_tensor_v2`: a view must lie inside its storage and not repeat it."""
    sizes, steps = shape.items, strides.items
    if len(sizes) != len(steps) or len(sizes) > 16 or not all(map(_is_count, [offset, *sizes, *steps])) or hooks or any(metadata):
        raise ValueError
    numbers = math.prod(sizes)
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps))
    if numbers and last >= storage.count:
        raise refusal(DAMAGED, what="one of its tensors lies outside of the file")
    if numbers > storage.count:
        raise refusal(STRUCTURE, item="a tensor that is larger than its numbers")
    return Tensor(storage.dtype, tuple(sizes))


def _parameter(tensor: Tensor, _gradient: bool, hooks: dict) -> Tensor:
    if not isinstance(tensor, Tensor) or hooks:
        raise TypeError
    return tensor


def _ordered() -> dict:
    return {}


def _plain(*arguments: Any) -> Other:
    """Something made of a few plain values, which take no time to be hashed."""
    items = [item for argument in arguments for item in (argument if isinstance(argument, list) else [argument])]
    if len(items) > 1000 or not all(item is None or isinstance(item, (str, int, float)) for item in items):
        raise TypeError
    return Other()


def _size(sizes: Group) -> Group:
    return sizes


def _encoded(text: str, encoding: str) -> Other:
    if encoding != "latin1":
        raise ValueError
    return _plain(text)


ALLOWED: dict[str, Callable] = {
    "collections OrderedDict": _ordered,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch Size": _size,
    "torch device": _plain,
    "__builtin__ set": _plain,
    "_codecs encode": _encoded,
    "argparse Namespace": Other,
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": MARK}
WITH_VALUE = {"BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "LONG1"}
ACTIONS: dict[str, Callable[[_Reader], None]] = {
    "EMPTY_TUPLE": lambda reader: reader.stack.append(Group([])),
    "EMPTY_LIST": lambda reader: reader.stack.append([]),
    "EMPTY_DICT": lambda reader: reader.stack.append({}),
    "TUPLE": lambda reader: reader.stack.append(Group(reader.since_mark())),
    "TUPLE1": lambda reader: reader.stack.append(Group(reader.top(1))),
    "TUPLE2": lambda reader: reader.stack.append(Group(reader.top(2))),
    "TUPLE3": lambda reader: reader.stack.append(Group(reader.top(3))),
    "APPEND": lambda reader: reader.extend(reader.top(1)),
    "APPENDS": lambda reader: reader.extend(reader.since_mark()),
    "SETITEM": lambda reader: reader.set_items(reader.top(2)),
    "SETITEMS": lambda reader: reader.set_items(reader.since_mark()),
    "BINPERSID": _Reader.make_storage,
    "REDUCE": _Reader.call,
    "NEWOBJ": _Reader.call,
    "BUILD": _Reader.build,
}
