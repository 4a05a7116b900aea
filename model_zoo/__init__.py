"""Where classifiers come from: `model = model_zoo.load("bundled/imagenette")`."""

from model_zoo.loaded import LoadedModel


def load(key: str) -> LoadedModel:
    from model_zoo.sources import load_bundled

    return load_bundled(key.partition("/")[2])
