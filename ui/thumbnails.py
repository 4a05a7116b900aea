"""The set of pictures as a wall of thumbnails: name, group and prediction under each, a page of them at a time."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from html import escape
from itertools import count
from weakref import WeakKeyDictionary

from PIL import Image, ImageOps

from techniques.base import Sample
from techniques.base.pictures import ReadPicture

PAGE = 48  # thumbnails that are shown at once
SIDE = 92  # pixels
GROUPS = 6  # of the groups of a set, so many are named above it

Kept = ReadPicture | Sample


@dataclass
class Thumbnail:
    """What is known of one picture: the number by which the page names it, its small picture as a data address, and what
    a model said, with the (model, framing) that it was asked with."""

    number: int
    url: str
    said: str = ""
    asked: tuple[str, str] | None = None


@dataclass
class Wall:
    """The thumbnails of one visitor's pictures, and the place of the first one that is shown."""

    first: int = 0
    thumbnails: WeakKeyDictionary[Kept, Thumbnail] = field(default_factory=WeakKeyDictionary)
    numbers: count = field(default_factory=count)

    def thumbnail(self, picture: Kept) -> Thumbnail:
        found = self.thumbnails.get(picture)
        if found is None:
            found = self.thumbnails[picture] = Thumbnail(next(self.numbers), _small(picture.image))
        return found

    def shown(self, pictures: list[Kept]) -> list[Kept]:
        """The pictures of the page that is looked at; past the end of the set the last page."""
        self.first = max(0, min(self.first, (len(pictures) - 1) // PAGE * PAGE))
        return pictures[self.first : self.first + PAGE]

    def html(self, pictures: list[Kept], asked: tuple[str, str]) -> str:
        """The wall for these pictures; what another model said than the one now asked for is left out."""
        if not pictures:
            return "<p class='lp-hint'>No pictures yet. Add files, a zip with one folder per group, or samples.</p>"
        thumbnails = "".join(_figure(picture, self.thumbnail(picture), asked) for picture in self.shown(pictures))
        return f"<p class='lp-hint lp-set'>{_counted(pictures)}</p><div class='lp-wall'>{thumbnails}</div>{self._turn(len(pictures))}"

    def _turn(self, total: int) -> str:
        """The way to the other pages."""
        if total <= PAGE:
            return ""
        last = min(self.first + PAGE, total)
        back = _turning(self.first - PAGE, "Earlier pictures", "‹", self.first > 0)
        on = _turning(self.first + PAGE, "Later pictures", "›", last < total)
        return f"<div class='lp-turn'>{back}<span>{self.first + 1} to {last} of {total:,}</span>{on}</div>"


def _turning(first: int, name: str, sign: str, possible: bool) -> str:
    return f"<button type='button' data-turn='{first}' aria-label='{name}' {'' if possible else 'disabled'}>{sign}</button>"


def _figure(picture: Kept, thumbnail: Thumbnail, asked: tuple[str, str]) -> str:
    name, group = escape(picture.origin), escape(picture.group)
    said = f"<span class='lp-predicted'>{escape(thumbnail.said)}</span>" if thumbnail.asked == asked else ""
    notes = escape(", ".join(picture.notes))
    return (
        f"<figure class='lp-thumb' data-item='{thumbnail.number}'{'' if said else ' data-unasked'} title='{name}{f' ({notes})' if notes else ''}'>"
        f"<img src='{thumbnail.url}' alt='{name}'>"
        f"<button type='button' data-remove='{thumbnail.number}' title='Take {name} out' aria-label='Take {name} out of the set'>×</button>"
        f"<figcaption><span class='lp-thumb-name'>{name}</span>{f'<i>{group}</i>' if group else ''}{said}</figcaption>"
        "<loupe-send></loupe-send></figure>"
    )


def _counted(pictures: list[Kept]) -> str:
    """How many pictures there are, and of which groups."""
    sizes: dict[str, int] = {}
    for picture in pictures:
        sizes[picture.group] = sizes.get(picture.group, 0) + 1
    without = sizes.pop("", 0)
    named = sorted(sizes.items(), key=lambda item: -item[1])
    parts = [f"{name} {size}" for name, size in named[:GROUPS]]
    parts += [f"{len(named) - GROUPS} more groups"] if len(named) > GROUPS else []
    parts += [f"{without} without a group"] if without and named else []
    total = f"{len(pictures):,} picture{'s' * (len(pictures) > 1)}"
    return f"{total} in {len(named)} group{'s' * (len(named) > 1)}: {escape(', '.join(parts))}" if named else total


def _small(image: Image.Image) -> str:
    """The middle of a picture as a data address; JPEG, as this is no picture to measure on."""
    small = ImageOps.fit(image.convert("RGB"), (SIDE, SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
