"""Pictures as a set: files, zips and places on this machine become named groups; what is hostile or too much is told in a sentence."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import techniques
from model_zoo.errors import Cancelled, UploadError
from techniques.base import Run, Samples, picture_sets
from techniques.base.archives import TooLarge, read_member
from techniques.base.arrays import read_npz
from techniques.base.drawing import png_bytes as png
from techniques.base.picture_sets import KEPT_SIDE, read_here, read_places, read_set


def picture(number: int = 0, side: int = 24) -> bytes:
    return png(Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)))


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def read_zip(path: Path, already=()) -> picture_sets.PictureSet:
    return read_set([(path, path.name)], Run(), already)


# What comes in


def test_several_files_are_a_set_without_groups(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(picture())
    found = read_set([(tmp_path / "a.png", "first.png"), (tmp_path / "b.png", "second.png")], Run())
    assert [(picture.origin, picture.group) for picture in found.pictures] == [("first.png", ""), ("second.png", "")]
    assert found.notes == ()


@pytest.mark.parametrize("root", ["", "my set/", "a/b/"])
def test_folders_in_a_zip_are_groups_whatever_lies_above_them(tmp_path, root):
    members = {f"{root}cats/1.png": picture(1), f"{root}cats/2.png": picture(2), f"{root}dogs/1.png": picture(3)}
    found = read_zip(zipped(tmp_path / "pets.zip", members))
    assert [(picture.origin, picture.group) for picture in found.pictures] == [("1.png", "cats"), ("2.png", "cats"), ("1.png", "dogs")]
    assert np.array_equal(np.asarray(found.pictures[2].image), np.asarray(Image.open(io.BytesIO(picture(3)))))


def test_a_zip_with_one_folder_or_none_has_no_groups(tmp_path):
    for members in ({"1.png": picture()}, {"all/1.png": picture(), "all/2.png": picture()}):
        assert {picture.group for picture in read_zip(zipped(tmp_path / "plain.zip", members)).pictures} == {""}


def test_the_number_of_an_imagenet_class_becomes_its_name(tmp_path):
    members = {"n01440764/1.png": picture(), "n03445777/1.png": picture(), "n99999999/1.png": picture()}
    assert [picture.group for picture in read_zip(zipped(tmp_path / "classes.zip", members)).pictures] == ["tench", "golf ball", "n99999999"]


def test_what_an_operating_system_adds_to_a_zip_is_left_out_without_a_word(tmp_path):
    members = {"1.png": picture(), "__MACOSX/._1.png": b"x", ".DS_Store": b"x", "a/.hidden/2.png": picture()}
    found = read_zip(zipped(tmp_path / "apple.zip", members))
    assert len(found.pictures) == 1 and found.notes == ()


def test_what_cannot_be_read_is_left_out_and_named(tmp_path):
    members = {"1.png": picture(), "letter.png": b"Dear Loupe", "more.zip": b"PK\x03\x04", "<img src=x>.png": b""}
    members |= {f"{number}.txt": b"no" for number in range(3)}
    (note,) = read_zip(zipped(tmp_path / "mixed.zip", members)).notes
    assert note.startswith("Left out: letter.png (This file is not a picture we can read.") and note.endswith("and 2 more.")
    assert "more.zip (an archive inside the archive)" in note and "<" not in note


def test_a_folder_of_this_machine_is_read_with_its_folders_as_groups(tmp_path):
    for name in ("train/cats/1.png", "val/cats/2.png", "val/dogs/1.png", "val/dogs/notes.txt", ".git/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture())
    found = read_here(tmp_path, Run())
    assert [(picture.origin, picture.group) for picture in found.pictures] == [("1.png", "cats"), ("2.png", "cats"), ("1.png", "dogs")]


def test_some_random_pictures_are_the_same_for_the_same_seed_and_others_for_another(tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02}.png").write_bytes(picture(number))
    names = [[picture.origin for picture in read_here(tmp_path, Run(), count=6, seed=seed).pictures] for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2] and len(set(names[0])) == 6


def test_mnist_is_read_as_npz_and_as_idx_files_with_its_labels_as_groups(tmp_path):
    digits, labels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8), np.array([7, 2, 1, 0, 4], np.uint8)
    np.savez_compressed(tmp_path / "mnist.npz", x_train=digits[:0], y_train=labels[:0], x_test=digits, y_test=labels)
    folder = tmp_path / "idx"
    folder.mkdir()
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(struct.pack(">4I", 0x803, 5, 28, 28) + digits.tobytes()))
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">2I", 0x801, 5) + labels.tobytes()))
    for place in (tmp_path / "mnist.npz", folder, folder / "t10k-images-idx3-ubyte.gz"):
        found = read_here(place, Run()).pictures
        assert [picture.group for picture in found] == ["7", "2", "1", "0", "4"]
        assert np.array_equal(np.stack([np.asarray(picture.image) for picture in found]), digits)


def test_several_places_are_a_group_each(tmp_path):
    for folder in ("sharp", "blurred"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_bytes(picture())
    found = read_places([(tmp_path / "sharp", "sharp"), (tmp_path / "blurred", "blurred")], folders=True)
    assert [picture.group for picture in found] == ["sharp", "blurred"]


def test_a_technique_takes_a_zip_from_python_too(tmp_path, tiny_models):
    members = {f"{group}/{number}.png": picture(7 * number + len(group), 40) for group in ("a", "bb") for number in range(2)}
    path = zipped(tmp_path / "groups.zip", members)
    answer = techniques.run("average_activation", path, tiny_models["cnn"], groups="named groups")
    assert answer.note.text.startswith("a (2 pictures) against bb (2 pictures)")


# Memory


def test_pictures_of_a_large_set_are_kept_small_and_the_set_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_sets, "LARGE", 2)
    large = Image.new("RGB", (900, 600))
    found = read_zip(zipped(tmp_path / "large.zip", {f"{n}.png": png(large) for n in range(3)}))
    assert [picture.image.size for picture in found.pictures] == [(KEPT_SIDE, round(KEPT_SIDE * 2 / 3))] * 3
    assert f"kept at {KEPT_SIDE} pixels at most" in found.notes[0]
    two = read_zip(zipped(tmp_path / "two.zip", {f"{n}.png": png(large) for n in range(2)}))
    assert [picture.image.size for picture in two.pictures] == [(900, 600)] * 2


def test_a_picture_of_a_set_is_made_when_its_turn_comes_and_is_the_same_each_time(tmp_path, tiny_models, photograph):
    pictures = [techniques.read_picture(photograph, f"{number}") for number in range(5)]
    samples = Samples.of(pictures, tiny_models["cnn"])
    first, again = samples[2], samples[2]
    assert first is not again and np.array_equal(first.pixels, again.pixels)
    assert [sample.origin for part in samples.batches(2) for sample in part] == samples.origins == list("01234")
    expected = techniques.base.Sample.from_image(photograph, tiny_models["cnn"])
    assert np.array_equal(first.pixels, expected.pixels)


# Too much, and hostile


def test_more_pictures_than_a_set_takes_are_refused_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_sets, "MOST", 4)
    path = zipped(tmp_path / "many.zip", {f"{n}.png": picture(n) for n in range(5)})
    with pytest.raises(TooLarge, match=r"many.zip holds 5 files; a set takes at most 4 pictures"):
        read_zip(path)
    three = read_zip(zipped(tmp_path / "three.zip", {f"{n}.png": picture(n) for n in range(3)})).pictures
    with pytest.raises(TooLarge, match="These are 3 pictures and the set holds 3 already; a set takes at most 4"):
        read_zip(tmp_path / "three.zip", already=three)


def test_a_zip_with_a_list_of_a_megabyte_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "names.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(4000):
            archive.writestr(f"{number:0250}.png", b"")
    with pytest.raises(TooLarge, match="lists too many files"):
        read_zip(path)


def test_a_member_that_unpacks_to_a_hundred_times_its_size_is_left_out(tmp_path):
    path = zipped(tmp_path / "bomb.zip", {"bomb.png": bytes(15_000_000), "1.png": picture()}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 50_000
    found = read_zip(path)
    assert len(found.pictures) == 1 and "bomb.png (It becomes more than 100 times as large when unpacked" in found.notes[0]


def test_a_member_above_the_limit_of_a_picture_is_left_out(tmp_path):
    noise = np.random.default_rng(0).bytes(20 * 2**20 + 1)
    found = read_zip(zipped(tmp_path / "large.zip", {"large.png": noise, "1.png": picture()}))
    assert len(found.pictures) == 1 and "large.png (It is too large; the limit is 20 MB)" in found.notes[0]


def test_a_zip_that_unpacks_to_more_than_the_limit_in_all_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_sets, "ZIP_BYTES", 3000)
    with pytest.raises(TooLarge, match="unpacks to more than"):
        read_zip(zipped(tmp_path / "sum.zip", {f"{n}.png": picture(n) for n in range(3)}))


def test_members_that_share_their_bytes_count_each_time_they_are_read(tmp_path, monkeypatch):
    """Entries of the list that all point to one place: Python refuses them where it notices; the sum stops them elsewhere."""
    monkeypatch.setattr(picture_sets, "ZIP_BYTES", 4000)
    one = zipped(tmp_path / "one.zip", {"1.png": picture()}).read_bytes()
    start = one.index(b"PK\x01\x02")
    entry, end = one[start : one.index(b"PK\x05\x06")], one[one.index(b"PK\x05\x06") :]
    end = end[:8] + struct.pack("<HHI", 40, 40, 40 * len(entry)) + end[16:]
    (tmp_path / "overlap.zip").write_bytes(one[:start] + 40 * entry + end)
    with pytest.raises(UploadError, match="unpacks to more than|None of the 40 files"):
        read_zip(tmp_path / "overlap.zip")


def test_a_link_in_a_zip_is_a_text_that_is_no_picture(tmp_path):
    link = zipfile.ZipInfo("passwords.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("../../1.png", picture())
    found = read_zip(tmp_path / "link.zip")
    assert [picture.origin for picture in found.pictures] == ["1.png"] and "passwords.png (This file is not a picture" in found.notes[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.zip"]


def test_a_member_with_a_password_or_an_unusual_packing_is_told(tmp_path):
    path = zipped(tmp_path / "odd.zip", {"1.png": picture()}, zipfile.ZIP_LZMA)
    with pytest.raises(UploadError, match="packed in an unusual way"):
        read_zip(path)
    data = bytearray(zipped(tmp_path / "locked.zip", {"1.png": picture()}).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(data)
    with pytest.raises(UploadError, match="protected by a password"):
        read_zip(tmp_path / "locked.zip")


@pytest.mark.parametrize("cut", [8, 300, -30, -10])
def test_a_zip_that_is_cut_off_is_told_in_a_sentence(tmp_path, cut):
    data = zipped(tmp_path / "whole.zip", {"1.png": picture()}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(data[:cut])
    with pytest.raises(UploadError, match="damaged or cut off"):
        read_zip(tmp_path / "cut.zip")


def test_a_thousand_damaged_zips_end_in_a_set_or_in_a_sentence(tmp_path):
    whole = zipped(tmp_path / "whole.zip", {"a/1.png": picture(1, 8), "b/2.png": picture(2, 8)}, zipfile.ZIP_DEFLATED).read_bytes()
    random, path = np.random.default_rng(0), tmp_path / "damaged.zip"
    for _ in range(1000):
        data = bytearray(whole)
        for place in random.integers(4, len(data), random.integers(1, 6)):
            data[place] = random.integers(256)
        path.write_bytes(data)
        try:
            assert all(picture.image.size for picture in read_zip(path).pictures)
        except UploadError as error:
            assert len(str(error)) < 900


def test_reading_is_stopped_between_two_pictures(tmp_path):
    reached = []

    def report(fraction, text):
        reached.append(text)
        if len(reached) == 3:
            raise Cancelled

    path = zipped(tmp_path / "ten.zip", {f"{n}.png": picture(n) for n in range(10)})
    with pytest.raises(Cancelled):
        read_set([(path, path.name)], Run(report=report))
    assert reached[-1] == "Reading picture 3 of 10"


@pytest.mark.parametrize(("place", "said"), [("no such folder", "There is nothing at"), ("empty", "There is no picture in the folder")])
def test_a_place_without_pictures_is_told(tmp_path, place, said):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UploadError, match=said):
        read_here(tmp_path / place, Run())


# Arrays


def header(text: str) -> bytes:
    line = text.encode() + b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000)}"), "larger than it can hold"),
        (header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}") + b"cos\nsystem\n", "other than plain numbers"),
        (header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}") + bytes(4), "other than plain numbers"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}") + bytes(4), "other than plain numbers"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (9,)}") + bytes(4), "damaged"),
        (header("__import__('os').system('true')"), "damaged"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", "other than plain numbers"),
        (b"no array", "damaged"),
        (b"", "damaged"),
    ],
)
def test_an_npz_that_is_no_plain_numbers_is_refused_before_it_is_read(tmp_path, content, said):
    with pytest.raises(UploadError, match=said):
        read_npz(zipped(tmp_path / "hostile.npz", {"a.npy": content}))


def test_an_npz_of_plain_numbers_reads_as_numpy_reads_it(tmp_path):
    whole = np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3))
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": whole, "c": np.zeros((0, 4)), "d": np.array(True)}
    np.savez_compressed(tmp_path / "plain.npz", **arrays)
    found = read_npz(tmp_path / "plain.npz", lambda name: name != "d")
    assert list(found) == ["a", "b", "c"] and all(np.array_equal(found[name], arrays[name]) for name in found)


def test_a_lie_about_a_member_s_size_is_found_out(tmp_path):
    data = bytearray(zipped(tmp_path / "lie.zip", {"1.png": picture()}, zipfile.ZIP_DEFLATED).read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 10)
    (tmp_path / "lie.zip").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "lie.zip") as archive, pytest.raises((UploadError, zlib.error)):
        read_member(archive, archive.infolist()[0], 10**6)
