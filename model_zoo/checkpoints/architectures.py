"""Networks of timm and torchvision by name, without trained weights: their shapes alone, or ready to be filled.

Nothing a visitor wrote reaches the two libraries: names are looked up in their own lists, and the number of classes,
of channels and the size are numbers within the limits below.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

from model_zoo.deferred import timm, torch
from model_zoo.errors import ModelLoadError, did_you_mean
from model_zoo.preprocessing import Preprocessing

MOST_CLASSES = 100_000
MOST_CHANNELS = 64
MOST_PIXELS = 1024  # a side
MOST_TOKENS = 5000  # every token looks at every other
AUXILIARY = ("googlenet", "inception_v3")  # of torchvision, with heads that answer in training alone

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Variant:
    """What may differ between two networks of one architecture; None: as the architecture has it. `size` is
    (height, width) in pixels."""

    classes: int | None = None
    channels: int | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Blueprint:
    """The state dict of a network that has no memory: the shape of every tensor, which of them are whole numbers
    that no training changes (`fixed`: counters, tables of indices), the modules that put out class logits
    (`heads`) and read pixels (`stem`), and how many classes and channels those have and what size they expect."""

    shapes: Mapping[str, Shape]
    fixed: frozenset[str]
    heads: tuple[str, ...]
    stem: str | None
    classes: int
    channels: int
    size: tuple[int, int]

    def variant(self, found: Mapping[str, Shape]) -> Variant:
        """What the shapes in a file, by this architecture's names, say about classes, channels and size."""
        return Variant(self._classes(found), self._channels(found), self._size(found))

    def _classes(self, found: Mapping[str, Shape]) -> int | None:
        shapes = (found.get(f"{head}.weight", ()) for head in self.heads)
        count = next((shape[0] for shape in shapes if len(shape) > 1), self.classes)
        return count if count != self.classes and 1 <= count <= MOST_CLASSES else None

    def _channels(self, found: Mapping[str, Shape]) -> int | None:
        name = f"{self.stem}.weight"
        own, other = self.shapes.get(name, ()), found.get(name, ())
        if len(own) < 2 or len(own) != len(other):
            return None
        # a stem that first folds pixels into channels has a multiple of them
        count, rest = divmod(other[1] * self.channels, own[1])
        return count if not rest and count != self.channels and 1 <= count <= MOST_CHANNELS else None

    def _size(self, found: Mapping[str, Shape]) -> tuple[int, int] | None:
        """Position embeddings `[1, tokens, width]` tell the size: a square grid behind a few tokens without a place."""
        name = next((name for name in self.shapes if name.rpartition(".")[2] in ("pos_embed", "pos_embedding")), "")
        own, other = self.shapes.get(name, ()), found.get(name, ())
        if len(own) != 3 or len(other) != 3 or own[1] == other[1] or other[1] > MOST_TOKENS:
            return None
        prefix = next(count for count in range(own[1]) if math.isqrt(own[1] - count) ** 2 == own[1] - count)
        grid, other_grid = math.isqrt(own[1] - prefix), math.isqrt(max(0, other[1] - prefix))
        side, rest = divmod(other_grid * self.size[0], grid)
        return (side, side) if not rest and other_grid**2 == other[1] - prefix and 1 <= side <= MOST_PIXELS else None


def full_name(architecture: str) -> str:
    """The key of an architecture, `timm/resnet18`; a tag of trained weights behind the name is left out.

    Raises ModelLoadError with the nearest names when there is none.
    """
    library, _, name = architecture.partition("/")
    if library == "timm":
        name = name.partition(".")[0]
    known = _known(library)
    if name in known:
        return f"{library}/{name}"
    everything = [f"{library}/{name}" for library in ("timm", "torchvision") for name in _known(library)]
    near = difflib.get_close_matches(architecture[:80], everything, n=3, cutoff=0.5)
    raise ModelLoadError(f"There is no architecture “{architecture[:80]}”. Expected timm/<name> or torchvision/<name>.{did_you_mean(near)}")


def instance(architecture: str, variant: Variant = Variant()) -> torch.nn.Module:
    """The network with whatever numbers its library starts from."""
    library, _, name = architecture.partition("/")
    return (_timm if library == "timm" else _torchvision)(name, variant)


def blueprint(architecture: str, variant: Variant = Variant()) -> Blueprint:
    """The network's shapes, from PyTorch's meta device: no memory, some hundredths of a second.

    Raises ModelLoadError when it puts out features, not classes.
    """
    with _no_memory(architecture):
        network = instance(architecture, variant)
    if architecture.startswith("timm/"):
        config = network.pretrained_cfg
        classes, channels = network.num_classes, variant.channels or config["input_size"][0]
        heads, (stem, *_) = named(config["classifier"]), (*named(config["first_conv"]), None)
    else:
        layers = [(name, module) for name, module in network.named_modules() if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))]
        (stem, first), (head, last) = layers[0], layers[-1]
        heads, classes, channels = (head,), last.weight.shape[0], first.in_channels
    if not classes:
        raise ModelLoadError(f"{architecture} puts out features, not classes. Choose an architecture with a classifier.")
    state = network.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    fixed = frozenset(name for name, tensor in state.items() if not tensor.is_floating_point())
    return Blueprint(shapes, fixed, heads, stem, classes, channels, variant.size or preprocessing(architecture).size)


def preprocessing(architecture: str, variant: Variant = Variant()) -> Preprocessing:
    """How the architecture's best-known weights want their pictures; one channel, or a fourth, gets the average of
    the colours' statistics."""
    library, _, name = architecture.partition("/")
    if library == "timm":
        from timm.data import resolve_data_config

        own = Preprocessing.of_timm(resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()))
    else:
        from torchvision import models

        own = Preprocessing.of_torchvision(models.get_model_weights(name).DEFAULT.transforms())
        if name in AUXILIARY:  # with torchvision's weights, and whatever was trained from them, they normalise a second time inside
            own = replace(own, mean=(0.5,) * 3, std=(0.5,) * 3)
    channels = variant.channels or own.channels
    return replace(own, channels=channels, size=variant.size or own.size, mean=_per_channel(own.mean, channels), std=_per_channel(own.std, channels))


def written(shape: Iterable[int]) -> str:
    """A shape for a person: "64 x 3 x 7 x 7"."""
    return " x ".join(map(str, shape)) or "one number"


def named(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of layers in timm's configurations, which write one as a text, several as a tuple, none as None."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def _timm(name: str, variant: Variant) -> torch.nn.Module:
    side = variant.size and variant.size[0]
    return timm.create_model(name, pretrained=False, num_classes=variant.classes, in_chans=variant.channels, img_size=side)


def _torchvision(name: str, variant: Variant) -> torch.nn.Module:
    from torchvision import models

    options: dict = {"aux_logits": False, "init_weights": False} if name in AUXILIARY else {}
    if variant.size:
        options["image_size"] = variant.size[0]
    network = models.get_model(name, weights=None, num_classes=variant.classes or 1000, **options)
    if variant.channels:
        place, first = next((place, module) for place, module in network.named_modules() if isinstance(module, torch.nn.Conv2d))
        parent, _, child = place.rpartition(".")
        same = ("out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
        first = torch.nn.Conv2d(variant.channels, **{option: getattr(first, option) for option in same}, bias=first.bias is not None)
        setattr(network.get_submodule(parent), child, first)
    return network


@contextmanager
def _no_memory(architecture: str) -> Iterator[None]:
    """Parameters are made without memory, and not filled with the random numbers that training would start from:
    on the meta device that changes nothing and takes most of the time.

    Some of torchvision's networks compute with small tensors while they are built; those stay on the CPU.
    """
    made = {torch.empty, torch.zeros, torch.ones, torch.randn, torch.rand}
    filling = {getattr(torch.Tensor, name) for name in ("normal_", "uniform_", "erfinv_", "mul_", "add_", "clamp_", "fill_", "zero_", "copy_")}
    filling |= {getattr(torch.nn.init, name) for name in ("normal_", "uniform_", "constant_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_")}

    class NoMemory(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), options=None):
            options = options or {}
            filled = arguments[0] if arguments else options.get("tensor")
            if function in filling and isinstance(filled, torch.Tensor) and filled.is_meta:
                return filled
            if function in made and options.get("device") is None:
                options = {**options, "device": "meta"}
            return function(*arguments, **options)

    with torch.device("meta") if architecture.startswith("timm/") else nullcontext(), NoMemory():
        yield


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    average = (sum(values) / len(values),)
    return average if channels == 1 else (values + average * channels)[:channels]


def _known(library: str) -> list[str]:
    if library == "timm":
        return timm.list_models()
    if library == "torchvision":
        from torchvision import models

        return models.list_models(module=models)
    return []
