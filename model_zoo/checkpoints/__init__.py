"""A visitor's own weights: from a file that nobody vouches for to a network."""

from model_zoo.checkpoints.building import Built, build, preprocessing_of
from model_zoo.checkpoints.class_names import read_class_names
from model_zoo.checkpoints.guessing import doubt, equals, guess
from model_zoo.checkpoints.matching import Match, match

__all__ = ["Built", "Match", "build", "doubt", "equals", "guess", "match", "preprocessing_of", "read_class_names"]
