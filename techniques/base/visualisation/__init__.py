"""Pictures made from the network alone: what would excite a class, a channel or a layer most (feature visualisation)."""

from techniques.base.visualisation.aims import Aim
from techniques.base.visualisation.climb import Climb, Climbed, maximise

__all__ = ["Aim", "Climb", "Climbed", "maximise"]
