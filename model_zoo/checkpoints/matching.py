"""Which tensors of a file belong where in an architecture: found by name and shape, counted, and listed where they do not fit.

Loading whatever fits and ignoring the rest shows pictures of a random network when the names differ by a prefix, so
nothing here is silent: `Match.summary` says how many tensors were found, `Match.rows` lists the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from model_zoo.checkpoints.architectures import Blueprint, Shape, Variant, blueprint, full_name, written

WRAPPERS = ("module", "_orig_mod")  # what torch's own wrappers add, also in the middle of a name
DEEPEST_PREFIX = 8  # components; no training code nests a network deeper
LONGEST_NAME = 500  # letters; no library's names are longer


@dataclass(frozen=True)
class Match:
    """How a file's tensors fit one architecture, made with the number of classes, channels and the size that the
    file's shapes tell.

    `matched` counts the tensors of the architecture's state dict that are in the file with the right shape, `total`
    all of them, except whole-number bookkeeping (batch counters, tables of indices) that the file leaves out
    of a module it has: it is not trained, and evaluation does not need it from a file. `names` maps the architecture's names to the
    file's, `prefix` is what had to be cut off there. `missing` has the architecture's names, `unexpected` the file's,
    `wrong_shape` the architecture's with the expected and the found shape; `shapes` those of missing and unexpected.
    `surplus` counts what of `unexpected` lies inside modules of the architecture: all 122 tensors of a ResNet-18
    are in the file of a ResNet-34, too, which has 96 more.
    """

    architecture: str
    matched: int
    total: int
    names: Mapping[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[tuple[str, Shape, Shape], ...]
    classes: int
    channels: int
    variant: Variant
    surplus: int
    prefix: str
    heads: tuple[str, ...]
    shapes: Mapping[str, Shape]

    @property
    def share(self) -> float:
        """From 0 to 1: the matched tensors among all that either the architecture or the file's network has."""
        return self.matched / (self.total + self.surplus)

    @property
    def complete(self) -> bool:
        """Whether every tensor has its place and nothing is left over."""
        return self.matched == self.total and not self.unexpected

    @property
    def summary(self) -> str:
        more = f", and the file has {self.surplus} more" if self.surplus else ""
        return f"{self.matched} of {self.total} tensors matched{more}"

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in pixels that the position embeddings tell; None: the architecture's own."""
        return self.variant.size

    @property
    def renamed(self) -> tuple[tuple[str, str], ...]:
        """The architecture's name and the file's, where they differ by more than a prefix."""
        return tuple((name, found) for name, found in self.names.items() if not _bare(found).endswith(_bare(name)))

    def rows(self) -> tuple[tuple[str, str, str, str], ...]:
        """Tensor, problem, expected and found shape: a table of everything that did not simply fit."""
        return (
            *((name, "another shape", written(expected), written(found)) for name, expected, found in self.wrong_shape),
            *((name, "not in the file", written(self.shapes[name]), "") for name in self.missing),
            *((name, f"taken from {found}", "", "") for name, found in self.renamed),
            *((name, "not in the architecture", "", written(self.shapes[name])) for name in self.unexpected),
        )


def match(shapes: Mapping[str, Shape], architecture: str) -> Match:
    """Fit the tensors of a file, given by name and shape, to an architecture: `timm/<name>` or `torchvision/<name>`.

    Raises ModelLoadError when there is no such architecture, or when it does not classify.
    """
    key = full_name(architecture)
    plan = blueprint(key)
    prefix, names = _placed(shapes, plan)
    told = plan.variant({name: shapes[found] for name, found in names.items()})
    plan, variant = _varied(key, plan, told)
    fitting = {name: found for name, found in names.items() if shapes[found] == plan.shapes[name]}
    missing = tuple(name for name in plan.shapes if name not in names and name not in plan.fixed)
    beside = {name.rpartition(".")[0] for name in names}
    bookkeeping = sum(name in plan.fixed and name.rpartition(".")[0] in beside for name in plan.shapes if name not in names)
    used = set(names.values())
    unexpected = tuple(found for found in shapes if found not in used)
    return Match(
        architecture=key,
        matched=len(fitting),
        total=len(plan.shapes) - bookkeeping,
        names=fitting,
        missing=missing,
        unexpected=unexpected,
        wrong_shape=tuple((name, plan.shapes[name], shapes[found]) for name, found in names.items() if name not in fitting),
        classes=plan.classes,
        channels=plan.channels,
        variant=variant,
        surplus=_surplus(unexpected, prefix, plan),
        prefix=_shown_prefix(prefix, names),
        heads=plan.heads,
        shapes={**{name: plan.shapes[name] for name in missing}, **{name: shapes[name] for name in unexpected}},
    )


def _varied(key: str, plan: Blueprint, told: Variant) -> tuple[Blueprint, Variant]:
    """The plan with as much of what the file tells as the architecture allows; what is left shows in the shapes."""
    for variant in dict.fromkeys((told, Variant(told.classes, told.channels), Variant(told.classes))):
        if variant == Variant():
            break
        try:
            return blueprint(key, variant), variant
        except (TypeError, ValueError, RuntimeError, AssertionError):
            continue  # not every architecture comes in several sizes, or with other channels
    return plan, Variant()


def _placed(shapes: Mapping[str, Shape], plan: Blueprint) -> tuple[str, dict[str, str]]:
    """The prefix that names in the file have, and the architecture's names with the file's, in its order.

    Of all beginnings of names the prefix is the one that leaves most of the architecture's names; of several (a
    student and its teacher) the one with more right shapes, then the shortest. What it leaves open is looked for
    without a prefix: a backbone that was wrapped beside a head that was not.
    """
    wanted = {_bare(name): name for name in plan.shapes}  # some architectures have modules that are called like a wrapper
    found: dict[str, dict[str, str]] = {"": {}}
    for original in shapes:
        parts = _bare(original).split(".", DEEPEST_PREFIX) if len(original) <= LONGEST_NAME else []
        for cut in range(len(parts)):
            name = wanted.get(".".join(parts[cut:]))
            if name:
                found.setdefault("".join(f"{part}." for part in parts[:cut]), {}).setdefault(name, original)

    def fit(prefix: str) -> tuple[int, int, int]:
        names = found[prefix]
        return len(names), sum(shapes[original] == plan.shapes[name] for name, original in names.items()), -len(prefix)

    prefix = max(found, key=fit)
    placed = {**found[""], **found[prefix]}
    placed.update(_renamed_head(shapes, placed, plan))
    return prefix, {name: placed[name] for name in plan.shapes if name in placed}


def _shown_prefix(prefix: str, names: Mapping[str, str]) -> str:
    """The prefix as it stands in the file, with what torch's wrappers added."""
    whole = (found.removesuffix(name) for name, found in names.items() if found.endswith(name) and _bare(found) == prefix + _bare(name))
    return next(whole, prefix)


def _surplus(unexpected: Iterable[str], prefix: str, plan: Blueprint) -> int:
    """How many tensors without a place belong to a module that the architecture has as well, but smaller."""
    own = set(map(_bare, plan.shapes))
    modules = {name.partition(".")[0] for name in own}
    inside = (name.removeprefix(prefix) for name in map(_bare, unexpected) if name.startswith(prefix))
    return sum(name.partition(".")[0] in modules and name not in own for name in inside)


def _renamed_head(shapes: Mapping[str, Shape], placed: Mapping[str, str], plan: Blueprint) -> dict[str, str]:
    """The linear head, where it is one step further in or out than expected (`fc.1` behind a dropout, for `fc`) and
    nothing else in the file is without a place."""
    used = set(placed.values())
    left = sorted(name for name in shapes if name not in used)
    (head, *others) = plan.heads or ("",)
    wanted = sorted(name for name in (f"{head}.weight", f"{head}.bias") if name in plan.shapes)
    if others or not wanted or any(name in placed for name in wanted) or len(left) != len(wanted):
        return {}
    alike = all(_same_place(name, found) for name, found in zip(wanted, left))
    return dict(zip(wanted, left)) if alike and shapes[left[-1]][1:] == plan.shapes[wanted[-1]][1:] else {}


def _same_place(name: str, found: str) -> bool:
    """Whether two names of tensors share their first and last component: `classifier.1.weight`, `classifier.weight`."""
    parts, others = name.split("."), _bare(found).split(".")
    return parts[-1] == others[-1] and parts[0] in others


def _bare(name: str) -> str:
    """A name without the components that torch's wrappers add."""
    if not any(wrapper in name for wrapper in WRAPPERS):
        return name  # as nearly always: a file may hold twenty thousand names
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)
