"""Where classifiers come from: `bundled/<name>`, `timm/<name.tag>`, `torchvision/<name>`."""

from __future__ import annotations

from model_zoo.bundled import BUNDLED
from model_zoo.errors import ModelLoadError
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing


def load_bundled(name: str) -> LoadedModel:
    """A classifier trained by this project, from `model_zoo/weights/`."""
    from safetensors.torch import load_file

    if name not in BUNDLED:
        raise ModelLoadError(f"There is no bundled model “{name}”. Expected one of {', '.join(BUNDLED)}.")
    bundled = BUNDLED[name]
    network = bundled.build()
    network.load_state_dict(load_file(bundled.weights))
    return wrap(
        network,
        key=f"bundled/{name}",
        title=bundled.title,
        labels=bundled.labels,
        preprocessing=Preprocessing(
            bundled.channels, (bundled.size, bundled.size), bundled.mean, bundled.std, crop_fraction=1.0, interpolation="bilinear"
        ),
    )
