"""Every fault that a visitor may meet, each told in one plain sentence: what was wrong, expected, and to do."""

from collections.abc import Iterable


class AppError(Exception):
    """A fault whose text is meant for the person at the page, the command line or the API."""


class ParameterError(AppError):
    """A setting is unknown, of the wrong type, or outside its range."""


class IncompatibleModel(AppError):
    """The technique needs something that this model does not have."""


class ModelLoadError(AppError):
    """A model could not be found, downloaded or read."""


class UploadError(AppError):
    """A visitor's file is not a picture, a list of class names or weights that we can read."""


class OutOfTime(AppError):
    """A run reached its deadline."""


class Cancelled(Exception):
    """The visitor pressed Stop or left; not a fault, and never shown as one."""


def did_you_mean(near: Iterable[str], otherwise: str = "") -> str:
    """The end of a sentence about an unknown name: " Did you mean ...?" with the nearest known ones, or `otherwise` where none is near."""
    names = ", ".join(near)
    return f" Did you mean {names}?" if names else otherwise
