"""Pictures to try without a network: photographs and handwritten digits. CREDITS.md says whose they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from model_zoo.errors import ParameterError

FOLDER = Path(__file__).parent
DRAWN = "drawn by this project"
GRADIO = "from the gradio package"


@dataclass(frozen=True)
class SamplePicture:
    """One picture: `name` identifies it, `title` is shown, `channels` is 3 for photographs and 1 for digits."""

    name: str
    title: str
    path: Path
    channels: int
    credit: str


@lru_cache(maxsize=1)
def photographs() -> tuple[SamplePicture, ...]:
    """Three pictures of classes that the bundled model knows, then photographs of things it has never seen.

    The first is the one the page opens with: its map lies on the object, and covering or attacking it changes the answer.
    """
    own = (
        ("church", "Church", DRAWN),
        ("golf_ball", "Golf ball", DRAWN),
        ("parachute", "Parachute", DRAWN),
        ("temple", "Temple", "danielbuechele, CC BY 2.0, cropped"),
        ("rocket", "Rocket", "SpaceX, public domain"),
        ("cat", "Cat", "Stefan van der Walt, CC0"),
        ("coffee", "Coffee", "Rachel Michetti, CC0"),
        ("astronaut", "Astronaut", "NASA, public domain"),
        ("flower", "Flower", "vultilion, CC BY 2.0"),
        ("photographer", "Photographer", "Lav Varshney, CC0"),
        ("galaxies", "Galaxies", "NASA and ESA, public domain"),
    )
    copied = tuple(SamplePicture(name, title, FOLDER / f"{name}.jpg", 3, credit) for name, title, credit in own)
    return copied + _from_gradio()


@lru_cache(maxsize=1)
def digits() -> tuple[SamplePicture, ...]:
    """One handwritten digit of each class, 28x28, white on black."""
    return tuple(SamplePicture(f"digit_{n}", str(n), FOLDER / "digits" / f"{n}.png", 1, "UCI digits by way of scikit-learn") for n in range(10))


def sample(name: str) -> SamplePicture:
    """The sample of this name; ParameterError names the known ones."""
    known = {picture.name: picture for picture in photographs() + digits()}
    if name not in known:
        raise ParameterError(f"There is no sample picture “{str(name)[:60]}”. Expected one of {', '.join(known)}.")
    return known[name]


def _from_gradio() -> tuple[SamplePicture, ...]:
    """Photographs that the gradio package ships, read where it is installed; those a version lacks are left out."""
    package = find_spec("gradio")
    if package is None:
        return ()
    folder = Path(package.submodule_search_locations[0]) / "media_assets" / "images"
    titles = {"lion.jpg": "Lion", "cheetah1.jpg": "Cheetah", "tower.jpg": "Tower"}
    return tuple(
        SamplePicture(title.lower(), title, folder / file, 3, GRADIO) for file, title in titles.items() if (folder / file).is_file()
    )
