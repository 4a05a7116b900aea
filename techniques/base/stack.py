"""Many results held as a few arrays: the thousands of filters of a network, each made into a result when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from techniques.base.results import Array, Result


@dataclass(frozen=True, eq=False)
class Stack(Mapping):
    """The cells along the innermost axis of a Browser, by name and in order.

    `stacked` holds arrays `[N, ...]`, one entry per name; `make` turns the entries at one position into its cell:
    `make(name, {key: array[position]})`. It must be a function of a module, or a `partial` of one, so that the answer
    can be pickled. `arrays` gives the arrays whole.

    `tile` is the key of the array whose entries stand for the cells when all are shown at once, small: cells are galleries then,
    and an entry has the axes of the values of their first item.
    """

    names: tuple[str, ...]
    stacked: Mapping[str, Array]
    make: Callable[[str, Mapping[str, Array]], Result]
    tile: str = ""

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.names)}

    def __getitem__(self, name: str) -> Result:
        position = self._positions[name]
        return self.make(name, {key: array[position] for key, array in self.stacked.items()})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def arrays(self) -> dict[str, Array]:
        return dict(self.stacked)
