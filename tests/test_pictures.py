"""The one loader: every file becomes a picture with notes or one plain sentence, quickly, and nothing else."""

from __future__ import annotations

import os
import re
import time

import numpy as np
import pytest
from PIL import Image, ImageFile

from model_zoo.errors import UploadError
from techniques.base import pictures
from techniques.base.pictures import ReadPicture, read_picture, safe_name
from tests import hostile_pictures
from tests.hostile_pictures import Case, accepted, chunk, encode, exif, frames, lying, noise, plain, png, progressive_jpeg, refused

# Pillow warns of odd EXIF and of sizes that we refuse ourselves.
pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")]


def by_name(case: Case) -> str:
    return case.name


def assert_is_a_sentence(text: str) -> None:
    """Plain words for a person: no traceback, no type of Python, no address, no path."""
    assert re.fullmatch(r"[A-Zi][^<>\n]{10,200}\.", text), text
    assert not re.search(r"Error|Exception|0x[0-9a-f]|object at|/\w+/|PIL|None|numpy", text.replace("from PIL", "")), text


def assert_is_clean(picture: ReadPicture) -> None:
    assert type(picture.image) is Image.Image, "the picture still hangs on its file"
    assert picture.image.mode in ("L", "RGB")
    assert not picture.image.info
    assert not picture.image.getexif()


@pytest.mark.parametrize("case", refused(), ids=by_name)
def test_a_bad_file_gets_its_sentence(case):
    with pytest.raises(UploadError) as caught:
        read_picture(case.build(), case.name)
    assert case.sentence in str(caught.value)
    assert_is_a_sentence(str(caught.value))


@pytest.mark.parametrize("case", accepted(), ids=by_name)
def test_an_odd_file_becomes_the_right_picture(case):
    picture = read_picture(case.build(), case.name)
    assert_is_clean(picture)
    assert (picture.image.mode, picture.image.size) == (case.mode, case.size)
    assert len(picture.notes) == len(case.notes), picture.notes
    assert all(note.startswith(start) for note, start in zip(picture.notes, case.notes)), picture.notes
    grey = np.asarray(picture.image.convert("L"), np.float64)
    if case.mean is not None:
        assert abs(grey.mean() - case.mean) <= 2  # JPEG, AVIF and the weights of RGB to grey round
    if case.corner is not None:
        assert abs(grey[:4, :4].mean() - case.corner) <= 2


def test_the_catalogue_of_bad_files_is_not_thinned_out():
    names = [case.name for case in hostile_pictures.cases()]
    assert len(names) == len(set(names)) >= 120


@pytest.mark.parametrize("name", ["169 megapixels.png", "88 megapixels.png", "canvas.webp", "huge tile.tif", "broad.png", "row.png"])
def test_a_size_that_is_refused_is_never_decoded(name, monkeypatch):
    def decode(_self):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    case = next(case for case in refused() if case.name == name)
    with pytest.raises(UploadError, match=case.sentence):
        read_picture(case.build())


FLOODS = {
    "a progressive JPEG of 20,000 scans": lambda: progressive_jpeg(20_000),
    "a PNG of 400,000 chunks": lambda: png(48, 40, bytes(145 * 40), extra=chunk(b"abCd", b"") * 400_000),
    "a JPEG of a million comments": lambda: encode(plain(), "JPEG").replace(b"\xff\xd8", b"\xff\xd8" + b"\xff\xfe\0\2" * 1_000_000, 1),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_file_made_to_keep_the_decoder_busy_is_given_up(flood, monkeypatch):
    monkeypatch.setattr(pictures, "SECONDS", 0.2)
    data = flood()
    start = time.perf_counter()
    with pytest.raises(UploadError, match="takes too long"):
        read_picture(data)
    assert time.perf_counter() - start < 10  # one block of scans takes about a second; all of them, a quarter of an hour


def test_sixteen_bits_become_the_nearest_of_eight():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    picture = read_picture(encode(Image.fromarray(values), "PNG"))
    assert np.array_equal(np.asarray(picture.image), np.round(values / 257).astype(np.uint8))


def test_scaling_keeps_the_order_and_uses_the_whole_range():
    values = np.linspace(-7.5, 1e6, 256, dtype=np.float32).reshape(16, 16).repeat(3, 0).repeat(3, 1)
    picture = read_picture(Image.fromarray(values))
    # float32 at a million is good to 1/16, far less than one of 255 steps
    assert np.array_equal(np.unique(np.asarray(picture.image)), np.arange(256))


def test_a_photograph_comes_out_bit_for_bit():
    image = noise()
    for form in ("PNG", "BMP", "TIFF"):
        assert read_picture(encode(image, form)).image.tobytes() == image.tobytes()
    assert read_picture(image).image.tobytes() == image.tobytes()


def test_a_pil_picture_is_read_and_left_as_it_is():
    image = plain("RGBA", (10, 20, 30, 0))
    image.info["comment"] = "mine"
    picture = read_picture(image, "mine.png")
    assert picture.notes == ("transparent areas became white",)
    assert picture.image.getpixel((0, 0)) == (255, 255, 255)
    assert (image.mode, image.info, image.getpixel((0, 0))) == ("RGBA", {"comment": "mine"}, (10, 20, 30, 0))


def test_a_pil_picture_of_too_many_pixels_is_refused():
    with pytest.raises(UploadError, match="limit is 25 megapixels"):
        read_picture(Image.new("1", (5001, 5000)))


def test_a_pil_picture_opened_lazily_is_decoded_and_turned(tmp_path):
    path = tmp_path / "turned.jpg"
    path.write_bytes(encode(lying(6), "JPEG", exif=exif(6)))
    with Image.open(path) as image:
        assert image.size == (40, 48)
        assert read_picture(image).image.size == (48, 40)


def test_a_path_is_read_and_gives_the_name(tmp_path):
    path = tmp_path / "My <b>dog.png"
    path.write_bytes(encode(noise(), "PNG"))
    for source in (path, str(path)):
        picture = read_picture(source)
        assert picture.origin == "My _b_dog.png"
        assert picture.image.tobytes() == noise().tobytes()
    assert read_picture(path, "dog.png").origin == "dog.png"


def test_what_is_not_a_file_gets_a_sentence_without_its_folder(tmp_path):
    if hasattr(os, "mkfifo"):  # opening a pipe would wait for ever
        os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "missing.png", tmp_path, tmp_path / "pipe.png", f"{tmp_path}/a\0b.png", f"{tmp_path}/{'x' * 5000}.png", ""):
        with pytest.raises(UploadError) as caught:
            read_picture(path)
        assert str(tmp_path) not in str(caught.value)
        assert_is_a_sentence(str(caught.value))


def test_a_source_of_another_kind_gets_a_sentence():
    with pytest.raises(UploadError, match="received ndarray"):
        read_picture(np.zeros((3, 3)))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("dog.png", "dog.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\dog.png", "dog.png"),
        ("名前 ü <b>.png", "名前 ü _b_.png"),
        ("x';rm -rf.png", "x__rm -rf.png"),
        ("%2e%2e", "_2e_2e"),
        ("a\nb\x1b[31m\u202egnp.exe", "a_b__31m_gnp.exe"),
        ("..", "picture"),
        ("", "picture"),
        (".png", "png"),
        ("a" * 200 + ".jpeg", "a" * 55 + ".jpeg"),
        ("a" * 200, "a" * 60),
        ("résume\u0301.jpg", "résumé.jpg"),
    ],
)
def test_a_name_is_made_safe_to_show(name, shown):
    assert safe_name(name) == shown
    assert read_picture(plain(), name).origin == shown


def test_damaged_files_end_in_a_picture_or_a_sentence_and_nothing_else():
    """2,000 files: bytes flipped, cut, filled with zeros or 255, doubled, and heads put on other bodies."""
    random = np.random.default_rng(2026)
    whole = [
        *(encode(noise(), form) for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")),
        encode(noise(), "JPEG", progressive=True, exif=exif(6)),
        encode(noise(), "WEBP", lossless=True),
        encode(noise(), "TIFF", compression="tiff_lzw"),
        encode(noise().convert("P"), "PNG", transparency=b"\x00\x80"),
        *(frames(form) for form in ("GIF", "WEBP", "PNG", "TIFF", "MPO")),
    ]
    read = 0
    for _ in range(2000):
        data = bytearray(whole[random.integers(len(whole))])
        for _ in range(random.integers(1, 4)):
            start, length = int(random.integers(len(data))), int(random.integers(1, 40))
            change = random.integers(7)
            if change <= 1:
                data[start : start + length] = random.bytes(len(data[start : start + length]))
            elif change == 2:
                data[min(start, 90)] ^= 1 << int(random.integers(8))
            elif change == 3:
                data = data[: start + 1]
            elif change == 4:
                data[start : start + length] = bytes([random.choice([0, 255])]) * len(data[start : start + length])
            elif change == 5:
                data = data[:start] + data[start : start + length] * 2 + data[start + length :]
            else:
                data[:length] = whole[random.integers(len(whole))][:length]
        begun = time.perf_counter()
        try:
            assert_is_clean(read_picture(bytes(data)))
            read += 1
        except UploadError as refusal:
            assert_is_a_sentence(str(refusal))
        assert time.perf_counter() - begun < pictures.SECONDS + 2
    assert 200 < read < 1800  # neither all refused nor all read: the damage is of the right size
