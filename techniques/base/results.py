"""What a technique may answer with: a closed set of kinds that carry numbers and their meaning.

No kind knows a colour, a font or HTML; `techniques.base.drawing` turns them into pictures. While a technique runs
its values may be torch tensors; `execute` hands out numpy arrays, detached and on the CPU. `arrays` names every
number a result holds, for the `.npz` file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from techniques.base.stack import Stack

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel

Array = Any  # a torch tensor inside a technique, a numpy array once `execute` has returned


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """Common to all kinds: a sentence that says what is seen."""

    caption: str = ""

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array this result holds, by a name relative to the result ("" for its only one)."""
        return {}

    def _repr_html_(self) -> str:
        from techniques.base.drawing import to_html

        return to_html(self)


@dataclass(frozen=True, eq=False)
class Heatmap(Result):
    """One number per pixel: `values` float `[H, W]`, zero meaning none; `signed` when both directions count.

    `below` `[C, H, W]` in `[0, 1]` is the picture that it speaks of, where that is not the sample itself.
    """

    values: Array
    signed: bool = False
    unit: str = ""
    below: Array | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        return {"": self.values}


@dataclass(frozen=True, eq=False)
class Picture(Result):
    """A picture `[C, H, W]`, C of 1 or 3. In `[0, 1]`, or around zero when `signed` (a perturbation).

    `label` says where it came from when it is sent on. A signed picture is not sent.
    """

    values: Array
    signed: bool = False
    label: str = ""

    def arrays(self) -> dict[str, np.ndarray]:
        return {"": self.values}


@dataclass(frozen=True, eq=False)
class Gallery(Result):
    """Pictures or heat maps side by side, each with a name: on one common scale, on one for each column, or each on its own.

    A common scale of the heat maps, signed or not, goes at least up to `reach`, so that several galleries can share one.
    With `columns` the items are the cells of a table, row by row; with 0 they flow.
    """

    items: tuple[Heatmap | Picture, ...]
    names: tuple[str, ...]
    reach: float = 0.0
    columns: int = 0
    scale: Literal["common", "column", "own"] = "common"

    def arrays(self) -> dict[str, np.ndarray]:
        return {str(index): item.values for index, item in enumerate(self.items)}


@dataclass(frozen=True, eq=False)
class Predictions(Result):
    """Class scores of one or more pictures: `logits` `[N, K]`, one name per row, one label per class.

    With `multi_label` the second half of the classes are the opposites of the first.
    """

    logits: Array
    labels: tuple[str, ...]
    names: tuple[str, ...] = ("",)
    multi_label: bool = False

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax over the classes that compete (all of them, or each label and its opposite), float64 `[N, K]`."""
        logits = np.asarray(self.logits, dtype=np.float64)
        rivals = logits.reshape(len(logits), 2, -1) if self.multi_label else logits
        with np.errstate(invalid="ignore"):  # infinities; `execute` refuses what comes of them
            powers = np.exp(rivals - rivals.max(1, keepdims=True))
        return (powers / powers.sum(1, keepdims=True)).reshape(logits.shape)

    @classmethod
    def of(cls, model: LoadedModel, logits: Array, names: tuple[str, ...] = ("",), caption: str = "Predictions") -> Predictions:
        """What this model says, from its logits `[N, K]`."""
        return cls(logits, model.labels, names, model.multi_label, caption=caption)

    @property
    def named(self) -> int:
        """How many of the classes are no opposites of others; they come first."""
        return len(self.labels) // 2 if self.multi_label else len(self.labels)

    def top(self, count: int = 5, row: int = 0) -> list[tuple[int, str, float]]:
        """The most probable classes of one picture, opposites left out: (index, label, probability), largest first."""
        probabilities = self.probabilities[row, : self.named]
        order = np.argsort(-probabilities, kind="stable")[:count]
        return [(int(i), self.labels[i], float(probabilities[i])) for i in order]

    def arrays(self) -> dict[str, np.ndarray]:
        return {"logits": self.logits, "probabilities": self.probabilities.astype(np.float32)}


@dataclass(frozen=True, eq=False)
class Table(Result):
    """Rows of text and numbers under named columns. With `marks`, two groupings of a scatter beside it, a number counts its points that are
    in the row's group of the first and in the column's of the second."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]
    marks: tuple[str, str] | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        numeric = [i for i in range(len(self.columns)) if self.rows and all(isinstance(row[i], (int, float)) for row in self.rows)]
        return {self.columns[i]: np.array([row[i] for row in self.rows], dtype=np.float64) for i in numeric}


@dataclass(frozen=True, eq=False)
class Curve(Result):
    """Lines over one x axis: `x` `[N]`, `lines` name -> `[N]`."""

    x: Array
    lines: Mapping[str, Array]
    x_label: str = ""
    y_label: str = ""
    ticks: tuple[str, ...] = ()

    def arrays(self) -> dict[str, np.ndarray]:
        return {"x": self.x, **self.lines}


@dataclass(frozen=True, eq=False)
class Histogram(Result):
    """Counts `[N]` per named group between common `edges` `[N + 1]`; `log` asks for a logarithmic count axis."""

    edges: Array
    counts: Mapping[str, Array]
    x_label: str = ""
    log: bool = False

    def arrays(self) -> dict[str, np.ndarray]:
        return {"edges": self.edges, **self.counts}


@dataclass(frozen=True, eq=False)
class Animation(Result):
    """How a picture came about: frames `[T, C, H, W]` in `[0, 1]`, C of 1 or 3, and how many of them are shown in a second.

    `names` says of each frame where the run was ("step 12: golf ball 31 %"); it is as long as the frames, or empty.
    """

    frames: Array
    rate: float = 10.0
    names: tuple[str, ...] = ()

    def arrays(self) -> dict[str, np.ndarray]:
        return {"": self.frames}


@dataclass(frozen=True, eq=False)
class Scatter(Result):
    """Points `[N, 2]` with a group number `[N]` and a name each; one scale for both axes. `grouped_by` says what the groups are; `others` groups the
    points in other ways, with numbers `[N]` of the same `group_names`. `notes` says more of each point, `thumbnails` are small pictures uint8 `[N, C,
    h, w]`, C of 1 or 3; `neighbours` int `[N, k]` are the points that are nearest by what the map was made of, nearest first. `path` `[T, 2]` leads
    away from the point `current`, and `path_names` says where it has come to. Points of a set of pictures are its pictures, in its order: they can be
    sent on."""

    points: Array
    groups: Array
    names: tuple[str, ...]
    group_names: tuple[str, ...]
    grouped_by: str = "group"
    others: Mapping[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    thumbnails: Array | None = None
    neighbours: Array | None = None
    current: int | None = None
    path: Array | None = None
    path_names: tuple[str, ...] = ()

    def arrays(self) -> dict[str, np.ndarray]:
        found = {"points": self.points, "groups": self.groups, **self.others, "neighbours": self.neighbours, "path": self.path}
        return {name: array for name, array in found.items() if array is not None}


@dataclass(frozen=True, eq=False)
class Note(Result):
    """A sentence or two of plain text."""

    text: str


@dataclass(frozen=True, eq=False)
class Browser(Result):
    """A result with named axes for everything a person slides through.

    `cells` is a mapping nested as deep as there are axes (layer -> filter -> result); its order is the order of
    the slider, and the positions on an inner axis may differ between the outer ones. Where the innermost axis is
    long, `Stack` holds its cells as a few arrays.
    """

    axes: tuple[str, ...]
    cells: Mapping[str, Any]

    def positions(self, *path: str) -> tuple[str, ...]:
        """The names on the axis that follows `path`."""
        return tuple(self._descend(path))

    def cell(self, *path: str) -> Result:
        """The result at one position of every axis."""
        return self._descend(path)

    def leaves(self) -> Iterator[tuple[tuple[str, ...], Result]]:
        """Every (path, cell), in order."""

        def walk(node, path):
            if len(path) == len(self.axes):
                yield path, node
            else:
                for name, child in node.items():
                    yield from walk(child, (*path, name))

        yield from walk(self.cells, ())

    def _descend(self, path):
        node = self.cells
        for name in path:
            node = node[name]
        return node

    def arrays(self) -> dict[str, np.ndarray]:
        def walk(node, path):
            if isinstance(node, (Result, Stack)):
                for name, array in node.arrays().items():
                    yield "/".join((*path, name)).rstrip("/"), array
            else:
                for name, child in node.items():
                    yield from walk(child, (*path, name))

        return dict(walk(self.cells, ()))


KINDS = (Heatmap, Picture, Gallery, Predictions, Table, Curve, Histogram, Animation, Scatter, Note, Browser)


def to_numpy(value: Any) -> Any:
    """A result (or any part of one) with every torch tensor replaced by a numpy array, detached, on the CPU.

    Floats of 16 bits become float32: numpy has no bfloat16.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return (value.float() if value.is_floating_point() and value.element_size() < 4 else value).numpy()
    if isinstance(value, (Result, Stack)):
        return replace(value, **{f.name: to_numpy(getattr(value, f.name)) for f in fields(value)})
    if isinstance(value, tuple):
        converted = [to_numpy(item) for item in value]
        return type(value)(*converted) if hasattr(value, "_fields") else tuple(converted)
    if isinstance(value, Mapping):
        return {key: to_numpy(item) for key, item in value.items()}
    return value


def panels(result: Any) -> dict[str, Result]:
    """A technique's answer as named panels: the fields of a NamedTuple that are there, or the one result under "result"."""
    named = result._asdict() if hasattr(result, "_asdict") else {"result": result}
    return {name: value for name, value in named.items() if value is not None}


def all_arrays(result: Any) -> dict[str, np.ndarray]:
    """Every number of a technique's answer by name, as it goes into `arrays.npz`."""
    return {
        f"{panel}.{name}" if name else panel: array for panel, value in panels(result).items() for name, array in value.arrays().items()
    }
