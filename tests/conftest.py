"""Fixtures that every test file shares."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_zoo.loaded import LoadedModel
from tests.page_browser import browser, open_page, page, shared_page, shared_tab, tabs  # noqa: F401  (fixtures)
from tests.page_server import server  # noqa: F401  (a fixture)
from tests.tiny_models import TINY_MODELS

torch.set_num_threads(1)  # tiny models: more threads cost more than they bring

SHARED = Path(__file__).resolve().parents[2] / "shared"


def in_browser(nodeid: str) -> bool:
    return Path(nodeid.partition("::")[0]).name.startswith("test_page")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Where tests are shared out among processes, those in the browser stay together, as two Chromiums would starve each other, and those of any
    other file, as they share what is costly to make."""
    from xdist.scheduler import LoadScopeScheduling

    class BrowserTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "browser" if in_browser(nodeid) else nodeid.partition("::")[0]

    config.option.loadscopereorder = False  # or the files with the most tests would begin
    return BrowserTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those in the browser begin first: together they take the longest."""
    items.sort(key=lambda item: not in_browser(item.nodeid))


def pytest_collection_finish() -> None:
    """What the test files have imported stays to the end: a search for garbage, of which a test may start many, need not go through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_models() -> dict[str, LoadedModel]:
    """The tiny models by name; techniques must leave them as they are."""
    return {name: make() for name, make in TINY_MODELS.items()}


@pytest.fixture(params=list(TINY_MODELS))
def tiny_model(request, tiny_models) -> LoadedModel:
    """Each tiny model in turn."""
    return tiny_models[request.param]


@pytest.fixture(scope="session")
def photograph() -> Image.Image:
    """A drawn picture, RGB, 96 wide and 64 high: a sky that fades, a textured ground, a bright disc off the middle."""
    rows, columns = np.mgrid[0:64, 0:96].astype(np.float64)
    sky = np.stack([90 + rows, 140 + 0.8 * rows, 235 - 0.5 * rows], -1)
    grain = np.random.default_rng(0).normal(0, 18, (64, 96, 1))
    ground = np.stack([70 + 20 * np.sin(columns / 3), 110 + 25 * np.sin(columns / 5 + rows / 4), 50 + 0 * rows], -1) + grain
    picture = np.where(rows[..., None] < 40, sky, ground)
    disc = (rows - 26) ** 2 + (columns - 64) ** 2 < 14**2
    picture[disc] = [245, 205, 60]
    return Image.fromarray(picture.clip(0, 255).round().astype(np.uint8))


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder `../shared` with data sets and torchvision weights, where there is one."""
    if not SHARED.is_dir():
        pytest.skip(f"there is no folder {SHARED.name} beside the project")
    return SHARED
