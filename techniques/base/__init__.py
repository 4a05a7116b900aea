"""The contract every technique is written against; nothing in here knows gradio."""

from model_zoo.deferred import torch
from model_zoo.errors import AppError, Cancelled, IncompatibleModel, ModelLoadError, OutOfTime, ParameterError, UploadError
from model_zoo.layers import Layer
from model_zoo.loaded import LoadedModel
from techniques.base.execute import execute
from techniques.base.parameters import Epsilon, Help, LayerName, Mask, OneOf, Param, Range, Seed, Several, Steps, TargetClass
from techniques.base.registry import FAMILIES, TECHNIQUES, Technique, technique
from techniques.base.results import (
    Animation,
    Browser,
    Curve,
    Gallery,
    Heatmap,
    Histogram,
    Note,
    Picture,
    Predictions,
    Scatter,
    Table,
)
from techniques.base.run import Run
from techniques.base.sample import Sample, Samples
from techniques.base.stack import Stack

__version__ = "0.1.0"

__all__ = [
    "FAMILIES", "TECHNIQUES",
    "Animation", "Browser", "Curve", "Gallery", "Heatmap", "Histogram", "Note", "Picture", "Predictions", "Scatter", "Stack", "Table",
    "AppError", "Cancelled", "IncompatibleModel", "ModelLoadError", "OutOfTime", "ParameterError", "UploadError",
    "Epsilon", "Help", "LayerName", "Mask", "OneOf", "Param", "Range", "Seed", "Several", "Steps", "TargetClass",
    "Layer", "LoadedModel", "Run", "Sample", "Samples", "Technique", "execute", "technique", "torch",
]  # fmt: skip
