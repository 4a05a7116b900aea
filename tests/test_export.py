"""A run as files: what the files hold is what the answer held, and the manifest says where it came from."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import techniques
from techniques.base import (
    Animation, Browser, Curve, Gallery, Heatmap, Histogram, LoadedModel, Note, Picture, Predictions, Range, Sample, Samples, Table,
)  # fmt: skip
from techniques.base.drawing import overlay
from techniques.base.execute import execute
from techniques.base.export import bundle, manifest, write_bundle
from techniques.base.parameters import Param
from techniques.base.results import all_arrays
from techniques.base.sample import to_image

MASK = np.zeros((8, 8), dtype=bool)
MASK[2:4] = True
PARAMS = (
    Param("target", "target", None, "The class."),
    Param("strength", "number", 0.5, "How strong.", Range(0, 1)),
    Param("mask", "mask", None, "Painted."),
    Param("seed", "seed", 3, "Fixes chance.", Range(0, 9)),
)
PROBE = replace(techniques.find("saliency"), name="probe", params=PARAMS)
SETTINGS = {"target": "golf ball", "mask": MASK}


class Answer(dict):
    """Panels by name, as a technique's NamedTuple has them."""

    def _asdict(self):
        return dict(self)


@pytest.fixture
def model(tiny_models) -> LoadedModel:
    return tiny_models["cnn"]


@pytest.fixture
def sample(model, photograph) -> Sample:
    return Sample.from_image(photograph, model, "cat.jpg", ("turned upright",))


@pytest.fixture
def answer() -> Answer:
    random = np.random.default_rng(0)
    heatmap = Heatmap(random.normal(size=(32, 32)), signed=True, unit="logit", caption="Where")
    return Answer(
        heatmap=heatmap,
        picture=Picture(random.random((3, 32, 32)).astype(np.float32)),
        change=Picture(random.choice([-2, 2], (3, 32, 32)).astype(np.float32) / 255, signed=True),
        gallery=Gallery((heatmap, heatmap), ("a/b", "../c")),
        scores=Predictions(random.normal(size=(1, 5)), model_labels()),
        table=Table(("name", "value"), (("linf", 2.5), ("a, b", 1.0))),
        curve=Curve(np.arange(3), {"line": np.arange(3.0)}),
        browser=Browser(("layer", "filter"), {"conv1": {"0": Histogram(np.arange(3), {"": np.ones(2)})}}),
        film=Animation(random.random((3, 1, 4, 4)), names=("step 0", "step 1", "step 2")),
        note=Note("It did."),
        nothing=None,
    )


def model_labels() -> tuple[str, ...]:
    return ("tench", "church", "golf ball", "gas pump", "parachute")


def test_every_number_of_the_answer_is_in_the_arrays(sample, model, answer):
    arrays = np.load(io.BytesIO(bundle(PROBE, sample, model, SETTINGS, answer)["arrays.npz"]))
    expected = all_arrays(answer)
    assert set(arrays.files) == set(expected)
    for name in arrays.files:
        assert (arrays[name] == np.asarray(expected[name], dtype=arrays[name].dtype)).all()
        assert arrays[name].dtype == np.float32 or arrays[name].dtype.kind in "iu"


def test_the_files_of_each_kind_have_their_names(sample, model, answer):
    assert set(bundle(PROBE, sample, model, SETTINGS, answer)) == {
        "heatmap.png", "heatmap-overlay.png", "picture.png", "change.png", "scores.svg", "table.csv", "curve.svg",
        "gallery.png", "gallery-1-a-b.png", "gallery-1-a-b-overlay.png", "gallery-2-c.png", "gallery-2-c-overlay.png",
        "browser-conv1-0.svg", "film.png", "film.gif", "film.mp4", "setting-mask.png", "arrays.npz", "manifest.json", "input-1.png", "input-1.npy", "repeat.py",
    }  # fmt: skip


def test_a_picture_reads_back_within_half_a_level(sample, model, answer):
    image = Image.open(io.BytesIO(bundle(PROBE, sample, model, SETTINGS, answer)["picture.png"]))
    read = np.asarray(image, dtype=np.float64).transpose(2, 0, 1) / 255
    assert np.abs(read - answer["picture"].values).max() <= 0.501 / 255


def test_the_overlay_lies_over_what_the_model_saw(sample, model, answer):
    image = Image.open(io.BytesIO(bundle(PROBE, sample, model, SETTINGS, answer)["heatmap-overlay.png"]))
    expected = overlay(to_image(sample.pixels[0]), answer["heatmap"])
    assert (np.asarray(image) == np.asarray(expected)).all()


def test_a_table_keeps_its_words(sample, model, answer):
    rows = list(csv.reader(io.StringIO(bundle(PROBE, sample, model, SETTINGS, answer)["table.csv"].decode())))
    assert rows == [["name", "value"], ["linf", "2.5"], ["a, b", "1.0"]]


def test_labels_with_one_file_name_do_not_overwrite_each_other(sample, model):
    heatmaps = {name: Heatmap(np.full((2, 2), float(index))) for index, name in enumerate(("C", "C++", "C#"))}
    files = bundle(PROBE, sample, model, {}, Answer(letter=Browser(("language",), heatmaps)))
    assert len([name for name in files if name.startswith("letter-C")]) == 3


def test_the_manifest_says_what_ran_with_its_defaults(sample, model, answer):
    about = manifest(PROBE, sample, model, SETTINGS, answer)
    assert about["technique"] == "probe" and about["seed"] == 3
    assert about["settings"]["target"] == "golf ball" and about["settings"]["strength"] == 0.5
    assert about["settings"]["mask"]["painted"] == 0.25 and about["settings"]["mask"]["size"] == [8, 8]
    assert set(about["versions"]) >= {"loupe", "python", "torch", "timm", "captum", "numpy"}
    assert about["versions"]["loupe"] == techniques.__version__


def test_the_manifest_names_model_and_picture_by_their_hashes(sample, model, answer):
    about = manifest(PROBE, sample, model, SETTINGS, answer)
    digest = hashlib.sha256()  # the weights, hashed here a second time
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    assert about["model"]["sha256"] == digest.hexdigest() and about["model"]["key"] == "tiny/cnn"
    (picture,) = about["pictures"]
    assert picture["sha256"] == hashlib.sha256(b"RGB (96, 64)" + sample.image.tobytes()).hexdigest()
    assert (picture["origin"], picture["size"], picture["notes"]) == ("cat.jpg", [96, 64], ["turned upright"])


def test_the_manifest_holds_the_top_five_of_every_picture(sample, model, answer):
    about = manifest(PROBE, Samples((sample, sample)), model, SETTINGS, answer)
    assert len(about["pictures"]) == 2
    expected = model.probabilities(sample.pixels)[0].sort(descending=True)
    top = about["pictures"][1]["top"]
    assert [best["index"] for best in top] == expected.indices[:5].tolist()
    assert [best["probability"] for best in top] == pytest.approx(expected.values[:5].tolist(), abs=1e-6)  # six decimals


def test_panels_state_scale_unit_magnification_and_files(sample, model, answer):
    about = json.loads(bundle(PROBE, sample, model, SETTINGS, answer)["manifest.json"])
    panels = {panel["name"]: panel for panel in about["panels"]}
    most = float(np.abs(answer["heatmap"].values).max())
    assert panels["heatmap"]["scale"] == [-most, most] and panels["heatmap"]["unit"] == "logit"
    assert panels["change"]["magnification"] == pytest.approx(255 / 4, rel=1e-6)
    assert panels["heatmap"]["files"] == ["heatmap.png", "heatmap-overlay.png"]
    assert panels["note"]["text"] == "It did." and "nothing" not in panels


def test_the_same_run_gives_the_same_bytes_apart_from_the_time(sample, model, answer):
    first, second = (bundle(PROBE, sample, model, SETTINGS, answer) for _ in range(2))
    times = [json.loads(files["manifest.json"]).pop("time") for files in (first, second)]
    manifests = [files.pop("manifest.json").decode().replace(time, "") for files, time in zip((first, second), times)]
    assert first == second and manifests[0] == manifests[1]
    assert b"\x00\x00\x21\x00" in first["arrays.npz"][:32]  # the archive's entries are dated 1980, not today


def test_the_files_are_written_into_a_new_folder(tmp_path, sample, model, answer):
    paths = write_bundle(tmp_path / "a" / "b", PROBE, sample, model, SETTINGS, answer)
    assert sorted(paths) == sorted((tmp_path / "a" / "b").iterdir())


@pytest.mark.parametrize("name", ["saliency", "pgd"])
def test_a_real_answer_can_be_written(tmp_path, name, sample, model):
    technique = techniques.find(name)
    answer = execute(technique, sample, model, {"target": "church"})
    about = json.loads((write_bundle(tmp_path, technique, sample, model, {"target": "church"}, answer)[-1]).read_text(encoding="utf-8"))
    assert about["technique"] == name
    assert all((tmp_path / file).is_file() for panel in about["panels"] for file in panel["files"])
