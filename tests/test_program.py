"""The program in every bundle: for every technique it gives the numbers that lie beside it, from the files that lie beside it."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

import model_zoo
import techniques
from techniques.base import Note, Sample, Samples, execute
from techniques.base.export import write_bundle
from techniques.base.pairs import execute_on
from techniques.base.results import all_arrays
from tests.tiny_models import fitting

ROOT = Path(__file__).resolve().parents[1]
TECHNIQUES = techniques.catalogue()
AREA = np.zeros((7, 9), dtype=bool)
AREA[2:5, 1:6] = True


@pytest.fixture(autouse=True)
def models_are_tiny(monkeypatch, tiny_models):
    monkeypatch.setattr(model_zoo, "load", lambda key: tiny_models[key.partition("/")[2]])


def of_a_run(technique, image, model, angles=(0, 90)) -> Sample | Samples:
    """A picture, or a set in which no two are alike."""
    if not technique.many:
        return Sample.from_image(image, model, "cat.jpg", framing="pad")
    turned = [image.rotate(angle) for angle in angles]
    return Samples(tuple(Sample.from_image(picture, model, f"{number}.jpg") for number, picture in enumerate(turned)))


def bundle_of(folder: Path, name: str, sample, model, settings=None) -> dict:
    """Write what Download writes; returns the arrays of the answer."""
    technique, settings = TECHNIQUES[name], settings or {}
    answer = execute_on(technique, sample, model, settings)
    write_bundle(folder, technique, sample, model, settings, answer)
    return all_arrays(answer)


def repeated(folder: Path) -> dict:
    """Run the program in this process; returns the arrays that it came to."""
    return runpy.run_path(str(folder / "repeat.py"))["arrays"]


def assert_same(arrays: dict, others: dict) -> None:
    """Bit for bit: the same machine, the same threads, the same order of additions."""
    assert set(arrays) == set(others)
    for name, array in arrays.items():
        np.testing.assert_array_equal(others[name], array, err_msg=name)


def unlike_the_defaults(technique) -> dict:
    """Another value than the default for every setting of the technique alone, as small as it may be: runs stay short."""
    values = {}
    for param in technique.params:
        if param.kind in ("number", "integer"):
            near = (param.range.low + param.range.step, param.range.low + 2 * param.range.step)
            values[param.name] = next(value for value in near if value != param.default)
        elif param.kind == "flag":
            values[param.name] = not param.default
        elif param.kind == "choice":
            values[param.name] = next(choice for choice in param.choices if choice != param.default)
        elif param.kind == "choices":
            values[param.name] = param.choices[:1]
        elif param.kind == "seed":
            values[param.name] = param.default + 5
    return values


@pytest.mark.parametrize("name", TECHNIQUES)
def test_the_program_of_every_technique_gives_its_numbers(tmp_path, name, tiny_models, photograph, capsys):
    model = tiny_models[fitting(TECHNIQUES[name]).key.partition("/")[2]]
    arrays = bundle_of(tmp_path, name, of_a_run(TECHNIQUES[name], photograph, model), model)
    assert_same(arrays, repeated(tmp_path))
    assert "Repeated: the largest difference is 0." in capsys.readouterr().out


@pytest.mark.parametrize("name", TECHNIQUES)
def test_the_program_takes_every_setting_of_the_run(tmp_path, name, tiny_models, photograph):
    technique = TECHNIQUES[name]
    model = tiny_models[fitting(technique).key.partition("/")[2]]
    settings = unlike_the_defaults(technique)
    given = {"target": model.label(model.classes - 1), "mask": [AREA, ~AREA]}
    settings |= {param.name: given[param.kind] for param in technique.params if param.kind in given}
    arrays = bundle_of(tmp_path, name, of_a_run(technique, photograph, model, (0, 90, 180, 270)), model, settings)
    assert_same(arrays, repeated(tmp_path))


def test_exact_pixels_come_back_to_the_last_bit(tmp_path, tiny_models):
    model = tiny_models["cnn"]
    sample = Sample.from_pixels(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)), "PGD, epsilon 2/255, of cat.jpg")
    arrays = bundle_of(tmp_path, "saliency", sample, model)
    assert_same(arrays, repeated(tmp_path))
    assert np.array_equal(np.load(tmp_path / "input-1.npy"), sample.pixels.numpy())


def test_a_pair_is_compared_again(tmp_path, tiny_models, photograph):
    model, technique = tiny_models["cnn"], TECHNIQUES["grad_cam"]
    pair = Samples((Sample.from_image(photograph, model, "cat.jpg"), Sample.from_pixels(torch.rand(3, 32, 32), "noise")))
    answer = execute_on(technique, pair, model)
    write_bundle(tmp_path, technique, pair, model, {}, answer)
    assert_same(all_arrays(answer), repeated(tmp_path))


def test_a_large_set_comes_as_one_archive_and_is_read_from_it(tmp_path, tiny_models, photograph):
    model = tiny_models["cnn"]
    pictures = [Sample.from_image(photograph.rotate(7 * number), model, f"{number}.jpg") for number in range(30)]
    exact = Sample.from_pixels(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1)), "noise")
    arrays = bundle_of(tmp_path, "average_activation", Samples((*pictures, exact)), model, {"groups": "classes"})
    assert not list(tmp_path.glob("input-*")) and (tmp_path / "inputs.zip").is_file()
    assert_same(arrays, repeated(tmp_path))


def test_the_program_runs_on_its_own_with_nothing_but_the_project_beside_it(tmp_path):
    digits = model_zoo.sources.load("bundled/digits")
    picture = Image.open(ROOT / "ui/samples/digits/8.png")
    bundle_of(tmp_path, "fgsm", Sample.from_image(picture, digits, "8"), digits, {"epsilon": 51, "target": "3"})
    command = [sys.executable, str(tmp_path / "repeat.py")]
    done = subprocess.run(command, cwd="/", env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Repeated: the largest difference is ")


def test_an_unfinished_run_is_taken_to_its_end(tmp_path, tiny_models, photograph):
    model, technique = tiny_models["cnn"], TECHNIQUES["saliency"]
    sample = Sample.from_image(photograph, model, "cat.jpg")
    answer = execute(technique, sample, model)
    write_bundle(tmp_path, technique, sample, model, {}, Note("nothing yet"), "step 1 of 9")
    runpy.run_path(str(tmp_path / "repeat.py"))
    assert_same(all_arrays(answer), dict(np.load(tmp_path / "finished.npz")))
    assert json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["unfinished"] == "step 1 of 9"


def test_the_program_says_so_when_the_numbers_are_others(tmp_path, tiny_models, photograph):
    model = tiny_models["cnn"]
    arrays = bundle_of(tmp_path, "saliency", Sample.from_image(photograph, model, "cat.jpg"), model)
    np.savez(tmp_path / "arrays.npz", **{name: array * 1.01 for name, array in arrays.items()})
    with pytest.raises(AssertionError, match="Mismatched"):
        repeated(tmp_path)


def test_weights_of_ones_own_are_named_and_everything_else_about_them_is_there(tmp_path, photograph):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights = tmp_path / "mine.safetensors"
    save_file(timm.create_model("resnet10t", num_classes=2).state_dict(), weights)
    (tmp_path / "names.txt").write_text("cat\n'''dog\n")
    own = model_zoo.preprocessing.Preprocessing(size=(64, 64), mean=(0.1, 0.2, 0.3))
    model = model_zoo.from_file(weights, "timm/resnet10t", tmp_path / "names.txt", preprocessing=own)
    arrays = bundle_of(tmp_path / "out", "saliency", Sample.from_image(photograph, model, "cat.jpg"), model, {"target": 1})
    text = (tmp_path / "out" / "repeat.py").read_text()
    (tmp_path / "out" / "repeat.py").write_text(text.replace("'mine.safetensors'", repr(str(weights))))  # as its owner would
    assert model.key not in text and "write here where they are" in text
    assert_same(arrays, repeated(tmp_path / "out"))


def test_names_that_a_stranger_chose_are_texts_in_the_program_and_nothing_else(tmp_path, tiny_models, photograph):
    model = tiny_models["cnn"]
    name = 'a"); raise SystemExit("run")  #\n""" + "'
    arrays = bundle_of(tmp_path, "saliency", Sample.from_image(photograph, model, name), model)
    assert_same(arrays, repeated(tmp_path))


def test_what_went_in_holds_nothing_but_pixels(tmp_path, tiny_models, photograph):
    model = tiny_models["cnn"]
    camera = photograph.copy()
    camera.info["icc_profile"] = b"the profile of a camera"
    camera.info["exif"] = b"Exif\0\0where it was taken"
    bundle_of(tmp_path, "saliency", Sample.from_image(camera, model, "cat.jpg"), model)
    with Image.open(tmp_path / "input-1.png") as image:
        assert isinstance(image, PngImagePlugin.PngImageFile) and image.info == {}
        assert image.tobytes() == photograph.tobytes()


def test_the_manifest_names_the_file_of_every_picture(tmp_path, tiny_models, photograph):
    model = tiny_models["cnn"]
    pictures = (Sample.from_image(photograph, model, "cat.jpg"), Sample.from_pixels(torch.rand(3, 32, 32), "noise"))
    bundle_of(tmp_path, "average_activation", Samples(pictures), model)
    about = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert [picture["file"] for picture in about["pictures"]] == ["input-1.png", "input-2.npy"]
    assert all((tmp_path / picture["file"]).is_file() for picture in about["pictures"])
