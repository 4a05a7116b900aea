"""The command line, in process: it runs a technique, writes its files, and tells every fault in one sentence with exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import model_zoo
import techniques
from model_zoo.errors import Cancelled
from techniques.__main__ import main, technique_parser
from techniques.base import Run

KEY = "tiny/cnn"


@pytest.fixture(autouse=True)
def models_are_tiny(monkeypatch, tiny_models):
    monkeypatch.setattr(model_zoo, "load", lambda key: tiny_models[key.partition("/")[2]])


@pytest.fixture
def picture(tmp_path, photograph):
    path = tmp_path / "cat.png"
    photograph.save(path)
    return str(path)


def fault(capsys, *arguments: str) -> str:
    """The one sentence with which a command is refused."""
    assert main(list(arguments)) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err.strip()


def test_every_technique_is_listed_under_its_family(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in techniques.catalogue())
    assert said.index("Pixels") < said.index("  saliency ") < said.index("Fooling it") < said.index("  pgd ")


def test_listing_imports_nothing_that_is_slow():
    listing = "import sys; from techniques.__main__ import main; main([]); main(['--list-models'])"
    code = f"{listing}; print([name for name in ('torch', 'timm', 'captum') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "saliency" in done.stdout and done.stdout.strip().endswith("[]")


def test_models_are_listed(capsys):
    assert main(["--list-models"]) == 0
    assert {"bundled/imagenette", "bundled/digits", "torchvision/squeezenet1_0"} <= set(capsys.readouterr().out.split())


def test_models_are_searched_with_their_sizes(capsys):
    assert main(["--list-models", "resnet18 a1"]) == 0
    told = capsys.readouterr().out
    assert "timm/resnet18.a1_in1k" in told and "47 MB" in told and "% top-1" in told


def test_weights_of_ones_own_are_looked_into(capsys, tmp_path, picture):
    torch.manual_seed(0)
    torch.save(timm.create_model("resnet10t", num_classes=2).state_dict(), tmp_path / "mine.pth")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    options = ["--weights", str(tmp_path / "mine.pth"), "--class-names", str(tmp_path / "names.txt"), "--target", "dog"]
    assert main(["saliency", picture, *options, "--out", str(tmp_path / "out")]) == 0
    assert "with mine.pth (timm/resnet10t)" in capsys.readouterr().out


@pytest.mark.parametrize("framing", ["squash", "pad"])
def test_a_picture_is_fitted_as_one_wishes(tmp_path, picture, framing):
    assert main(["saliency", picture, "--model", KEY, "--framing", framing, "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out/manifest.json").read_text())["pictures"][0]["framing"] == framing


def test_a_run_writes_its_files_and_says_the_top_five(capsys, tmp_path, picture, tiny_models, photograph):
    assert main(["saliency", picture, "--model", KEY, "--target", "golf ball", "--channels", "mean", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert all(label in said for label in tiny_models["cnn"].labels)
    about = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert about["settings"] == {"target": "golf ball", "channels": "mean"}
    assert about["pictures"][0]["origin"] == "cat.png"
    expected = techniques.run("saliency", photograph, tiny_models["cnn"], target="golf ball", channels="mean")
    written = np.load(tmp_path / "out" / "arrays.npz")["saliency"]
    assert (written == expected.saliency.values).all()


def test_numbers_flags_and_choices_reach_the_technique(tmp_path, picture):
    options = ["--epsilon", "8", "--steps", "3", "--no-random-start", "--norm", "l2", "--seed", "5", "--step-size", "0.5"]
    assert main(["pgd", picture, "--model", KEY, "--out", str(tmp_path), *options]) == 0
    about = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    given = {"epsilon": 8.0, "steps": 3, "random_start": False, "norm": "l2", "seed": 5, "step_size": 0.5}
    assert {name: about["settings"][name] for name in given} == given and about["seed"] == 5


def test_a_mask_is_a_picture_in_which_the_painted_area_is_white(tmp_path, picture):
    mask = np.zeros((64, 96), dtype=np.uint8)
    mask[:16] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert main(["cover", picture, "--model", KEY, "--mask", str(tmp_path / "mask.png"), "--out", str(tmp_path / "out")]) == 0
    about = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert about["settings"]["mask"]["painted"] == 0.25
    assert (np.asarray(Image.open(tmp_path / "out" / "setting-mask.png")) == mask).all()


def test_several_masks_are_covered_side_by_side_and_written_one_by_one(tmp_path, picture):
    given = []
    for number, size in enumerate(((64, 96), (10, 10))):
        mask = np.zeros(size, dtype=np.uint8)
        mask[: size[0] // 2] = 255
        Image.fromarray(mask).save(tmp_path / f"{number}.png")
        given += ["--mask", str(tmp_path / f"{number}.png")]
    options = ["--region", "both", "--threshold", "30", "--samples", "1", "--out", str(tmp_path / "out")]
    assert main(["cover", picture, "--model", KEY, *given, *options]) == 0
    about = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert [(mask["size"], mask["painted"]) for mask in about["settings"]["mask"]] == [([96, 64], 0.5), ([10, 10], 0.5)]
    assert Image.open(tmp_path / "out" / "setting-mask-2.png").size == (10, 10)
    with np.load(tmp_path / "out" / "arrays.npz") as arrays:
        assert len(arrays["predictions.logits"]) == 4  # before, two masks, what Grad-CAM marks


def test_a_folder_is_its_pictures_in_the_order_of_their_names(tmp_path, photograph):
    folder = tmp_path / "pictures"
    folder.mkdir()
    photograph.rotate(90).save(folder / "b.png")
    photograph.save(folder / "a.png")
    (folder / "notes.txt").write_text("no picture")
    assert main(["average_activation", str(folder), "--model", KEY, "--out", str(tmp_path / "out")]) == 0
    about = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert [item["origin"] for item in about["pictures"]] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no_such_technique", "cat.png"], "There is no technique “no_such_technique”. Expected one of "),
        (["saliency", "PICTURE", "--target", "golf bal"], "golf ball"),
        (["grad_cam", "PICTURE", "--layer", "9.9"], "has no layer “9.9”"),
        (["pgd", "PICTURE", "--epsilon", "65"], "Epsilon: received '65', expected a number from 0 to 64"),
        (["pgd", "PICTURE", "--epsilon", "much"], "Epsilon: received 'much', expected a number from 0 to 64"),
        (["pgd", "PICTURE", "--steps", "2.5"], "Steps: received '2.5', expected a whole number from 1 to 200"),
        (["saliency", "PICTURE", "--channels", "red"], "Channels: received 'red', expected one of max, mean"),
        (["saliency", "PICTURE", "--epsilon", "4"], "Unrecognized arguments: --epsilon 4. See python -m techniques saliency --help."),
        (["saliency"], "The following arguments are required: PICTURE."),
        (["saliency", "no such file.png"], "There is no picture file no such file.png."),
        (["fgsm", "PICTURE", "PICTURE"], "FGSM works on one picture, received 2."),
        (["saliency", __file__], "This file is not a picture we can read."),
        (["saliency", "PICTURE", "--out", __file__], "cannot be made"),
        (["--no-such-option"], "Unrecognized arguments: --no-such-option."),
    ],
)
def test_a_fault_is_one_sentence(capsys, tmp_path, picture, arguments, said):
    extra = [] if arguments[0].startswith("-") or "--out" in arguments else ["--out", str(tmp_path / "out")]
    model = [] if arguments[0].startswith("-") else ["--model", KEY]
    assert said in fault(capsys, *(picture if argument == "PICTURE" else argument for argument in arguments), *model, *extra)


def test_a_folder_without_pictures_is_a_fault(capsys, tmp_path):
    assert "There is no picture in the folder" in fault(capsys, "average_activation", str(tmp_path), "--model", KEY)


@pytest.mark.parametrize("signal", [KeyboardInterrupt, Cancelled])
def test_stopping_ends_with_130(monkeypatch, capsys, tmp_path, picture, signal):
    def stop(self, *_):
        raise signal

    monkeypatch.setattr("techniques.base.run.Run.check", stop)
    assert main(["saliency", picture, "--model", KEY, "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err.strip() == "Stopped."


def test_a_run_that_is_stopped_writes_what_it_had_shown(monkeypatch, capsys, tmp_path, picture):
    def covered_then_stopped(self, *_):
        if shown:
            raise KeyboardInterrupt

    shown, show = [], Run.show
    monkeypatch.setattr(Run, "check", covered_then_stopped)
    monkeypatch.setattr(Run, "show", lambda run, make: shown.append(show(run, make)))
    assert main(["occlusion", picture, "--model", KEY, "--out", str(tmp_path)]) == 130
    about = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert about["unfinished"] in capsys.readouterr().out and "of covered pictures 1 of" in about["unfinished"]
    assert np.load(tmp_path / "arrays.npz").files and "finished.npz" in (tmp_path / "repeat.py").read_text()


@pytest.mark.parametrize("name", list(techniques.catalogue()))
def test_help_names_every_setting_with_its_range_and_default(name):
    technique = techniques.find(name)
    said = " ".join(technique_parser(technique).format_help().split())
    for param in technique.params:
        assert f"--{param.name.replace('_', '-')}" in said
        if param.range and param.kind != "seed":
            assert str(param.range).split()[0] in said and f"[{param.default}]" in said


def test_the_run_leaves_the_random_state_alone(tmp_path, picture):
    before = torch.random.get_rng_state()
    main(["pgd", picture, "--model", KEY, "--steps", "1", "--out", str(tmp_path)])
    assert (torch.random.get_rng_state() == before).all()
