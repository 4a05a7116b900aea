"""Class names that a person can tell apart."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence


def unique(*spellings: Sequence[str]) -> tuple[str, ...]:
    """One name per class: its first spelling that no other class shares.

    Each argument holds one name per class, the shortest spelling first. Where even the last one is shared, the
    class number is added.
    """
    chosen = list(spellings[0])
    for spelling in spellings[1:]:
        shared = _shared(chosen)
        chosen = [spelling[i] if name in shared else name for i, name in enumerate(chosen)]
    shared = _shared(chosen)
    return tuple(f"{name} ({i})" if name in shared else name for i, name in enumerate(chosen))


def _shared(names: Sequence[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def imagenet_labels(classes: int) -> tuple[str, ...] | None:
    """Names of the ImageNet subset with this many classes, or None when there is no such subset.

    A class is called by its first WordNet lemma ("golf ball"); where two share it, by all of its lemmas
    ("maillot, tank suit"); where those are shared too, by its definition ("crane: lifts and moves heavy...").
    """
    from timm.data import ImageNetInfo
    from timm.data.imagenet_info import infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": classes})
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    lemmas = info.label_descriptions()
    definitions = [textwrap.shorten(text, 48, placeholder=" ...") for text in info.label_descriptions(detailed=True)]
    return unique([text.split(",")[0] for text in lemmas], lemmas, definitions)
