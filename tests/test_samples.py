"""The sample pictures that come with Loupe."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from PIL import Image

from model_zoo.errors import ParameterError
from techniques.base.pictures import read_picture
from ui import samples


def test_there_are_enough_photographs_even_without_gradio(monkeypatch):
    monkeypatch.setattr(samples, "find_spec", lambda name: None)
    samples.photographs.cache_clear()
    try:
        photographs = samples.photographs()
    finally:
        samples.photographs.cache_clear()
    assert sum(picture.credit != samples.DRAWN for picture in photographs) >= 8


def test_photographs_that_gradio_lacks_are_left_out(monkeypatch, tmp_path):
    (tmp_path / "media_assets" / "images").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "media_assets" / "images" / "lion.jpg")
    spec = importlib.util.spec_from_file_location("gradio", tmp_path / "__init__.py", submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(samples, "find_spec", lambda name: spec)
    assert [picture.name for picture in samples._from_gradio()] == ["lion"]


@pytest.mark.parametrize("picture", samples.photographs(), ids=lambda picture: picture.name)
def test_a_photograph_reads_without_a_note_and_fills_the_largest_bundled_input(picture):
    read = read_picture(picture.path)
    assert read.notes == ()
    assert min(read.image.size) >= 160
    assert max(read.image.size) <= 600
    assert picture.channels == 3


def test_a_digit_of_each_class_is_white_on_black_and_centred_as_in_mnist():
    rows, columns = np.mgrid[0:28, 0:28]
    assert [digit.title for digit in samples.digits()] == list("0123456789")
    for digit in samples.digits():
        ink = np.asarray(read_picture(digit.path).image, np.float64)
        assert ink.shape == (28, 28)
        assert ink.max() > 240 and ink[0].max() < 20 and ink[:, 0].max() < 20
        centre = (rows * ink).sum() / ink.sum(), (columns * ink).sum() / ink.sum()
        assert np.allclose(centre, 13.5, atol=0.6)  # MNIST puts the centre of mass at the middle, to the pixel


def test_names_are_unique_and_found_again():
    pictures = samples.photographs() + samples.digits()
    assert len({picture.name for picture in pictures}) == len(pictures)
    assert all(samples.sample(picture.name) is picture for picture in pictures)


def test_an_unknown_sample_gets_a_sentence_with_the_known_ones():
    with pytest.raises(ParameterError, match="no sample picture “dog”. Expected one of church"):
        samples.sample("dog")


def test_every_file_is_credited_and_small():
    credits = (samples.FOLDER / "CREDITS.md").read_text(encoding="utf-8")
    files = sorted(samples.FOLDER.glob("*.jpg"))
    assert [file for file in files if f"`{file.name}`" not in credits] == []
    assert {file.stem for file in files} == {picture.name for picture in samples.photographs() if picture.path.parent == samples.FOLDER}
    assert sum(file.stat().st_size for file in samples.FOLDER.rglob("*.*g")) < 700_000
    for file in files:
        with Image.open(file) as image:
            assert max(image.size) <= 512 and not image.getexif()
