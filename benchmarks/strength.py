"""How strong the attacks are, on pictures that a model gets right: `python -m benchmarks.strength bundled/imagenette` prints a Markdown
table with a row for every attack on single pictures, at its default settings."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

import model_zoo
import techniques
from benchmarks.pictures import of_size, recognised
from model_zoo.loaded import LoadedModel
from techniques.base import Run, Technique
from techniques.base.attacks import Outcome, attack_pixels, attacks, distance, limit_of, settings_of

HEAD = """| Attack | Limit | Fooled | Median L2 | Median L∞, 1/255 | Median of pixels changed | Passes, forward + backward |
|---|---|---|---|---|---|---|"""


def outcomes(technique: Technique, model: LoadedModel, pixels: torch.Tensor, settings: dict[str, Any]) -> Iterator[tuple[torch.Tensor, Outcome]]:
    """Each picture, `[1, C, H, W]`, and what the attack makes of it, alone, with seed 0."""
    for picture in pixels.split(1):
        with torch.no_grad():
            goal = technique.attack.goal(model, model.logits(picture), None, settings.get("loss"))
        yield picture, attack_pixels(technique, model, picture, goal, Run(), **settings)


def row(technique: Technique, model: LoadedModel, pixels: torch.Tensor, settings: dict[str, Any]) -> str:
    """The attack's row; sizes are those of the changes that fooled, passes those of all pictures."""
    settings = settings_of(technique) | settings
    found = list(outcomes(technique, model, pixels, settings))
    fooled = [outcome.pixels - picture for picture, outcome in found if outcome.reached]
    sizes = [f"{scale * median(float(distance(change, norm)) for change in fooled):.3g}" if fooled else "" for norm, scale in NORMS.items()]
    passes = " + ".join(f"{median(counts):.0f}" for counts in zip(*((outcome.forward, outcome.backward) for _, outcome in found)))
    return f"| {technique.title} | {limit_of(technique, settings)} | {len(fooled)} of {len(found)} | {' | '.join(sizes)} | {passes} |"


NORMS = {"l2": 1, "linf": 255, "l0": 1}  # and what turns each into the unit of its column


def main() -> None:
    techniques.catalogue()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strength", description=__doc__)
    parser.add_argument("model", help="a model of the classes of Imagenette, ImageNet or MNIST, such as bundled/imagenette")
    parser.add_argument("attacks", nargs="*", help=f"only these: {', '.join(attacks())}")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with imagenette2-160.tar.gz and mnist.npz")
    parser.add_argument("--pictures", type=int, default=30, help="how many")
    parser.add_argument("--size", type=int, help="the side of the pictures in pixels, where it is not the model's own")
    parser.add_argument("--settings", type=json.loads, default={}, help='settings that are not the defaults, as JSON: \'{"epsilon": 2}\'')
    arguments = parser.parse_args()
    model = model_zoo.load(arguments.model)
    model = of_size(model, arguments.size) if arguments.size else model
    pixels, _ = recognised(model, arguments.data, arguments.pictures)
    print(f"{model.title}, {len(pixels)} pictures of {' x '.join(map(str, pixels.shape[2:]))} pixels\n\n{HEAD}", flush=True)
    for name in arguments.attacks or attacks():
        print(row(techniques.find(name), model, pixels, arguments.settings), flush=True)


if __name__ == "__main__":
    main()
