"""Many models in turn in a memory that holds a few, in a process of its own: `python -m tests.model_churn LIMIT_MB`.

Prints one JSON object: resident memory in MB before the first model, the largest in each of two passes over all of them,
and how often a model was built.
"""

from __future__ import annotations

import gc
import json
import sys

import psutil
import torch

import techniques
from model_zoo.cache import ModelCache
from model_zoo.catalogue import architectures
from model_zoo.deferred import timm
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Sample

MEGABYTE = 10**6
NAMES = (
    "resnet18", "mobilenetv3_small_100", "efficientnet_b0", "convnext_atto", "densenet121", "vit_tiny_patch16_224", "regnetx_002",
    "ghostnet_100", "mobilenetv4_conv_small", "mobilevit_xs", "poolformer_s12", "mixer_s32_224",
)  # fmt: skip


def build(name: str) -> LoadedModel:
    torch.manual_seed(0)
    return wrap(timm.create_model(name, pretrained=False), key=name, preprocessing=Preprocessing())


def churn(limit_mb: int) -> dict[str, float | list[float]]:
    """Two passes over NAMES, each model asked for twice in a row and run once."""
    sizes = {row.key.removeprefix("timm/"): row.bytes for row in architectures()}
    cache, process, built = ModelCache(limit_mb * MEGABYTE), psutil.Process(), []
    picture = torch.rand(3, 224, 224, generator=torch.Generator().manual_seed(0))

    def megabytes() -> float:
        return process.memory_info().rss / MEGABYTE

    def make(name: str) -> LoadedModel:
        built.append(name)
        return build(name)

    def visit(name: str) -> None:
        for _ in range(2):
            model = cache.get(name, sizes[name], lambda: make(name), lambda: None)
        techniques.run("saliency", Sample.from_pixels(picture, "noise"), model)
        assert cache.bytes() <= cache.limit

    techniques.run("saliency", Sample.from_pixels(picture, "noise"), build("resnet18"))  # until the libraries have what they need themselves
    gc.freeze()  # what is imported by now stays; each model that goes is garbage that is searched for
    before, most = megabytes(), []
    for _ in range(2):
        seen = []
        for name in NAMES:
            visit(name)
            seen.append(megabytes())
        most.append(max(seen))
    return {"before": before, "most": most, "built": len(built)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(churn(int(sys.argv[1]))))
