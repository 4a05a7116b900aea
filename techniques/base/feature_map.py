"""Pictures as points of a map: what a network made of them, and the panels that show it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from model_zoo.deferred import torch
from techniques.base.drawing.svg import percent
from techniques.base.embedding import Plane, between_neighbours, nearest, squared_distances
from techniques.base.hooks import logits_and
from techniques.base.models_at_hand import same_class
from techniques.base.results import Gallery, Note, Picture, Scatter, Table

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.attacks.record import Moment
    from techniques.base.sample import Samples

NEAR = 5  # neighbours that are named
FEWEST = 4  # pictures of which t-SNE and UMAP can make a map
SIDES = ((100, 96), (400, 64), (1000, 48))  # up to so many pictures, so many pixels for the longer side of a thumbnail
COLUMNS = 20  # classes of the confusion matrix that have a column of their own
TRUE, PREDICTED = "true class", "predicted class"


class Answer(NamedTuple):
    note: Note
    map: Scatter
    confusion: Table | None
    attacked: Gallery | None
    pictures: Table | None


@dataclass
class Seen:
    """The pictures that went through the network so far: their features `[n, D]`, logits `[n, K]` and thumbnails uint8 `[n, C, h, w]`, on the
    CPU; and of the attack on the last one the iterates that are kept, with their features `[T, D]`."""

    samples: Samples
    model: LoadedModel
    features: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    thumbnails: torch.Tensor | None = None
    moments: list[Moment] = field(default_factory=list)
    way: torch.Tensor | None = None

    def look(self, part: Samples) -> None:
        """Send the next pictures through the network."""
        for name in ("distances", "near", "groupings", "answers"):
            vars(self).pop(name, None)
        pixels = part.pixels
        found = (*features_of(self.model, pixels), _thumbnails(pixels, len(self.samples)))
        for name, new in zip(("logits", "features", "thumbnails"), found):
            known = getattr(self, name)
            setattr(self, name, new if known is None else torch.cat([known, new]))

    @cached_property
    def distances(self) -> torch.Tensor:
        """Squared distances between the features `[n, n]`."""
        return squared_distances(self.features)

    @cached_property
    def near(self) -> torch.Tensor:
        """The nearest neighbours of each picture by its features, int `[n, k]`."""
        return nearest(self.distances, NEAR)

    @cached_property
    def answers(self) -> list[tuple[str, float]]:
        """What is said of each picture."""
        return self.said(self.logits)

    @cached_property
    def groupings(self) -> dict[str, list[str]]:
        """The predicted class of each picture, and where pictures have groups, the class of the group's name, else that name."""
        groups = [item.group for item in self.samples.items[: len(self.logits)]]
        known = {group: same_class(self.model, group) for group in set(groups)}
        true = [group or "no group" if known[group] is None else _class(self.model, known[group]) for group in groups]
        return {PREDICTED: [name for name, _ in self.answers]} | ({TRUE: true} if any(groups) else {})

    def said(self, logits: torch.Tensor) -> list[tuple[str, float]]:
        """The most probable class for each row of logits, and its probability."""
        best, shares = self.model.predicted(logits).tolist(), self.model.shares(logits)
        return [(_class(self.model, index), float(share[index])) for index, share in zip(best, shares)]


def features_of(model: LoadedModel, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits `[B, K]` and features `[B, D]` of pictures, on the CPU."""
    named = {layer.name: layer for layer in model.layers}
    layer = named[model.head or model.default_layer]
    logits, seen = logits_and(model, layer, pixels, given=model.head is not None)
    features = seen.flatten(1) if model.head else layer.maps(seen).mean((2, 3))
    return logits.cpu(), features.float().cpu()


def _thumbnails(pixels: torch.Tensor, count: int) -> torch.Tensor:
    """Pictures `[B, C, H, W]` as small ones uint8, the smaller the more there are."""
    side = next((side for most, side in SIDES if count <= most), SIDES[-1][1])
    size = [max(1, round(min(1.0, side / max(pixels.shape[2:])) * length)) for length in pixels.shape[2:]]
    small = torch.nn.functional.interpolate(pixels[:, :3].cpu(), size, mode="bilinear", antialias=True)
    return (small.clamp(0, 1) * 255).round().to(torch.uint8)


def _class(model: LoadedModel, index: int) -> str:
    """The name of a class; labels may be equal, groups may not."""
    label = model.label(index)
    return label if model.labels.count(label) == 1 else f"{label} ({index})"


def map_of(seen: Seen, method: str, found: Plane | torch.Tensor, asked: str = "") -> Answer:
    """The map that was `found`, as a plane or as places; once it is finished, with what was `asked` for, also all that goes with it."""
    plane = found if isinstance(found, Plane) else None
    places = plane.places(seen.features) if plane else found
    groupings, count = seen.groupings, len(places)
    frequent = Counter(name for names in groupings.values() for name in names)
    names = [name for name, _ in frequent.most_common()]
    numbers = {grouping: torch.tensor([names.index(name) for name in own]) for grouping, own in groupings.items()}
    way = None
    if seen.way is not None:
        way = plane.places(seen.way) if plane else between_neighbours(seen.way, seen.features, places)
    map = Scatter(
        places, numbers.pop(PREDICTED), tuple(item.origin for item in seen.samples.items[:count]), tuple(names), PREDICTED, numbers,
        notes=tuple(f"{name} {percent(share)}" for name, share in seen.answers),
        thumbnails=seen.thumbnails if asked or count <= SIDES[0][0] else None,
        neighbours=seen.near, current=count - 1 if count == len(seen.samples) else None,
        path=way, path_names=tuple(_step(seen, moment) for moment in seen.moments), caption=_caption(method, plane, way is not None),
    )  # fmt: skip
    note = Note(_story(seen, method, asked))
    if not asked:
        return Answer(note, map, None, None, None)
    return Answer(note, map, _confusion(groupings, names), _attacked(seen), _pictures(seen, map))


def _step(seen: Seen, moment: Moment) -> str:
    ((name, share),) = seen.said(moment.logits[None].cpu())
    return f"{'kept' if moment.kept else f'step {moment.step}'}: {name} {percent(share)}"


def _caption(method: str, plane: Plane | None, path: bool) -> str:
    if plane:
        first, second = map(percent, plane.shares)
        told = f"PCA: the two directions along which the features differ most hold {first} and {second} of the variance."
        return told + (" The path stands where its features are." if path else "")
    told = f"{method}: who is near whom means something; how large a cluster is, how far from another, and the axes do not."
    return told + (f" Each step of the path stands between its {NEAR} nearest pictures, weighted by distance." if path else "")


def _story(seen: Seen, method: str, asked: str) -> str:
    """What is on the map, and how far its neighbours agree, in a few sentences."""
    near = seen.near
    source = f"what the layer {seen.model.head} receives" if seen.model.head else f"the means of what the layer {seen.model.default_layer} puts out"
    told = [f"{len(near)} pictures, by {source}: {seen.features.shape[1]:,} numbers each."]
    if asked and method != asked:
        told.append(f"{asked} takes at least {FEWEST} pictures; for fewer this is PCA.")
    if len(near) < FEWEST:
        told.append("It is more pictures, of several kinds, that make a map: add some.")
    for grouping, names in seen.groupings.items() if len(near) >= FEWEST else ():
        same = [names[place] == names[other] for place, others in enumerate(near.tolist()) for other in others]
        several = f"{near.shape[1]} nearest neighbours" if near.shape[1] > 1 else "nearest neighbour"
        told.append(f"Of the {several} of each picture {percent(sum(same) / len(same))} have its {grouping}.")
    if seen.moments:
        first, last = (seen.said(moment.logits[None].cpu())[0][0] for moment in (seen.moments[0], seen.moments[-1]))
        way, nearest_one = (seen.way[-1] - seen.way[0]).norm(), (seen.features[near[-1, 0]] - seen.features[-1]).norm()
        answer = f"from “{first}” to “{last}”" if first != last else f"which stays “{first}”"
        length = float(way / nearest_one.clamp(min=1e-12))
        origin = seen.samples.items[-1].origin
        told.append(f"PGD moves the current picture, {origin}, {answer}, {length:.2g} times as far as its nearest neighbour is.")
    return " ".join(told)


def _confusion(groupings: dict[str, list[str]], names: list[str]) -> Table:
    """How many pictures of each true class, or of all, are predicted as what; the rarest answers together."""
    predicted, true = groupings[PREDICTED], groupings.get(TRUE)
    counts = Counter(zip(true or ["all"] * len(predicted), predicted))
    columns = [name for name in names if name in set(predicted)]
    rows = [name for name in names if name in set(true)] if true else ["all"]
    shown, rest = columns[:COLUMNS], columns[COLUMNS:]
    cells = ((row, *(counts[row, name] for name in shown), *([sum(counts[row, name] for name in rest)] if rest else [])) for row in rows)
    head = (f"{TRUE} ↓ predicted →" if true else PREDICTED, *shown, *(["others"] if rest else []))
    caption = "How many pictures of a class are predicted as what; a number marks them in the map"
    return Table(head, tuple(cells), marks=(TRUE, PREDICTED), caption=caption)


def _attacked(seen: Seen) -> Gallery | None:
    """The current picture before and after."""
    if not seen.moments:
        return None
    origin, ends = seen.samples.items[-1].origin, (seen.moments[0], seen.moments[-1])
    pictures = (Picture(moment.pixels.clone(), label=label) for moment, label in zip(ends, (origin, f"PGD on {origin}")))
    return Gallery(tuple(pictures), tuple(_step(seen, moment) for moment in ends), caption="Where the path begins and where it ends")


def _pictures(seen: Seen, map: Scatter) -> Table:
    groupings, said = seen.groupings, seen.answers
    named = [TRUE] if TRUE in groupings else []
    head = ("picture", PREDICTED, "probability", *named, "x", "y", f"neighbours of this {PREDICTED}", "nearest neighbour")
    rows = []
    for place, ((x, y), others) in enumerate(zip(map.points.tolist(), seen.near.tolist())):
        same = sum(said[other][0] == said[place][0] for other in others) / len(others)
        true = [groupings[grouping][place] for grouping in named]
        rows.append((map.names[place], *said[place], *true, x, y, same, map.names[others[0]]))
    return Table(head, tuple(rows), caption="Every point; a low share of like neighbours is a picture that stands among others")
