"""Where classifiers come from: `model = model_zoo.load("bundled/imagenette")`."""

from model_zoo.choices import CHOICES, Choice
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.sources import load, needs_download
from model_zoo.uploads import from_file


def keys() -> tuple[Choice, ...]:
    """The models to offer first: key, title and a sentence about each. Imports nothing heavy."""
    return CHOICES


__all__ = ["Choice", "LoadedModel", "from_file", "keys", "load", "needs_download", "wrap"]
