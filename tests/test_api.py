"""Every technique as an HTTP endpoint, called as a program of somebody else's would call it."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import model_zoo
import techniques
from techniques.base import Technique
from techniques.base.results import all_arrays
from tests.page_server import Caller

CATALOGUE = techniques.catalogue()
CLIENTS, CALLS = 4, 10
TOLERANCE = 1e-5  # of the largest number: server and test may use another number of threads, which changes the order of sums
TYPES = {"number": "float", "integer": "int", "seed": "int", "flag": "bool", "target": "str | int", "layer": "str", "mask": "filepath"}
NOT_FOR_VISITORS = re.compile(r"Traceback|File \"|/[a-z]+/[a-z]+/|site-packages|\.py\b|hf_")


@pytest.fixture(scope="module")
def client(server) -> Client:
    return Caller(server.url)


@pytest.fixture(scope="module")
def endpoints(client) -> dict[str, dict]:
    return client.view_api(return_format="dict", print_info=False)


@pytest.fixture(scope="session")
def golf_ball() -> str:
    from ui.samples import sample

    return str(sample("golf_ball").path)


@pytest.fixture(scope="session")
def three() -> str:
    from ui.samples import sample

    return str(sample("digit_3").path)


def refused(client: Client, technique: str, **given) -> str:
    """The sentence by which a call is refused; it tells nothing of the machine."""
    with pytest.raises(AppError) as error:
        client.predict(api_name=f"/{technique}", **given)
    text = str(error.value)
    assert not NOT_FOR_VISITORS.search(text), text
    return text


def arrays(files: list[str]) -> dict[str, np.ndarray]:
    (path,) = [path for path in files if Path(path).name == "arrays.npz"]
    with np.load(path) as found:
        return dict(found)


# What is offered


def test_there_is_one_endpoint_per_technique_named_after_its_module_and_no_other(endpoints):
    assert set(endpoints["named_endpoints"]) == {f"/{name}" for name in CATALOGUE}
    assert endpoints["unnamed_endpoints"] == {}


@pytest.mark.parametrize("technique", CATALOGUE.values(), ids=lambda t: t.name)
def test_its_parameters_have_the_names_types_and_defaults_of_the_technique(endpoints, technique: Technique):
    found = endpoints["named_endpoints"][f"/{technique.name}"]["parameters"]
    first, model, *settings, framing = [(p["parameter_name"], p["python_type"]["type"], p["parameter_has_default"], p["parameter_default"]) for p in found]
    assert first == (("images", "list[filepath]", False, None) if technique.many else ("image", "filepath", False, None))
    assert model == ("model", "str", True, "bundled/imagenette")
    assert framing == ("framing", "Literal['model', 'crop', 'squash', 'pad']", True, "model")
    types = {**TYPES, **{param.name: f"Literal{list(param.choices)}" for param in technique.params if param.kind == "choice"}}
    listed = {param.name: "str" if param.more else f"Literal{list(param.choices)}" for param in technique.params if param.kind == "choices"}
    types |= {name: f"list[{text}]" for name, text in listed.items()}
    defaults = {param.name: list(param.default) if param.kind == "choices" else param.default for param in technique.params}
    assert settings == [(param.name, types.get(param.name) or types[param.kind], True, defaults[param.name]) for param in technique.params]


@pytest.mark.parametrize("technique", CATALOGUE.values(), ids=lambda t: t.name)
def test_each_setting_is_described(endpoints, technique: Technique):
    found = {p["parameter_name"]: p["type"].get("description", "") for p in endpoints["named_endpoints"][f"/{technique.name}"]["parameters"]}
    told = [param for param in technique.params if param.kind != "mask"]
    assert all(found[param.name] == f"{param.help} Expected {param.expected}." for param in told)
    assert technique.meaning in endpoints["named_endpoints"][f"/{technique.name}"]["description"]


# What is answered


def test_grad_cam_answers_with_a_manifest_and_the_numbers_of_a_run_in_python(client, golf_ball):
    model = model_zoo.load("bundled/imagenette")
    manifest, files = client.predict(image=handle_file(golf_ball), model="bundled/imagenette", target="golf ball", api_name="/grad_cam")
    assert manifest["technique"] == "grad_cam" and manifest["settings"] == {"target": "golf ball", "layer": None, "signed": False}
    assert manifest["model"] == {"key": model.key, "title": model.title, "sha256": model.sha256, "default_layer": model.default_layer}
    (picture,) = manifest["pictures"]
    with Image.open(golf_ball) as image:
        expected = hashlib.sha256(f"RGB {image.size}".encode() + image.convert("RGB").tobytes()).hexdigest()
    assert (picture["origin"], picture["sha256"]) == ("golf_ball.jpg", expected)
    top = [entry["probability"] for entry in picture["top"]]
    assert len(top) == 5 and top == sorted(top, reverse=True)
    assert {entry["label"] for entry in picture["top"]} <= set(model.labels)

    answer = techniques.run("grad_cam", golf_ball, model, target="golf ball")
    found = arrays(files)
    expected = all_arrays(answer)
    assert set(found) == set(expected) > {f"grad_cam.{name}" for name in answer.grad_cam.positions()}
    for name, values in expected.items():
        assert np.abs(found[name] - values).max() <= TOLERANCE * np.abs(values).max()
    assert {Path(path).name for path in files} >= {"grad_cam-golf-ball.png", "grad_cam-golf-ball-overlay.png", "predictions.svg", "manifest.json"}


def test_a_class_may_be_named_or_numbered(client, three):
    by_name, by_number = (client.predict(image=handle_file(three), model="bundled/digits", target=given, api_name="/saliency") for given in ("8", 8))
    assert by_name[0]["settings"]["target"] == by_number[0]["settings"]["target"] == "8"
    assert (arrays(by_name[1])["saliency"] == arrays(by_number[1])["saliency"]).all()


def test_two_pictures_are_compared(client, three):
    from ui.samples import sample

    pictures = [handle_file(three), handle_file(str(sample("digit_8").path))]
    manifest, files = client.predict(images=pictures, model="bundled/digits", norm="1", api_name="/average_activation")
    assert [picture["origin"] for picture in manifest["pictures"]] == ["3.png", "8.png"]
    assert [picture["top"][0]["label"] for picture in manifest["pictures"]] == ["3", "8"]
    assert manifest["settings"]["norm"] == "1"
    assert len(arrays(files)) > len(model_zoo.load("bundled/digits").layers) / 2  # at least one array for each layer with weights


def test_a_painted_picture_is_the_mask_of_a_cover(client, three, tmp_path):
    mask = np.zeros((28, 28), np.uint8)
    mask[:7] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    manifest, files = client.predict(
        image=handle_file(three), model="bundled/digits", mask=handle_file(str(tmp_path / "mask.png")), fill="white", api_name="/cover"
    )
    assert manifest["settings"]["mask"]["painted"] == 0.25
    covered = arrays(files)["covered.1"]
    model = model_zoo.load("bundled/digits")
    untouched = model.preprocessing.pixels(Image.open(three))[0].numpy()
    assert (covered[:, :7] == 1).all() and (covered[:, 7:] == untouched[:, 7:]).all()


def test_without_a_mask_the_middle_is_covered(client, three):
    _, files = client.predict(image=handle_file(three), model="bundled/digits", fill="black", api_name="/cover")
    assert (arrays(files)["covered.1"][:, 7:21, 7:21] == 0).all()


def test_forty_equal_calls_at_once_give_forty_whole_and_equal_answers(server, three):
    """Gradio writes equal results into one file; here none may come out short, broken or another's."""
    answers: list[dict[str, str]] = []
    faults: list[BaseException] = []

    def caller() -> None:
        try:
            own = Caller(server.url)
            for _ in range(CALLS):
                _, files = own.predict(image=handle_file(three), model="bundled/digits", api_name="/saliency")
                answers.append({Path(path).name: digest(Path(path)) for path in files})
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=caller) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == [] and len(answers) == CLIENTS * CALLS
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]) == 7


def digest(path: Path) -> str:
    """SHA-256 of a file; of a manifest without its time."""
    content = path.read_bytes()
    if path.suffix == ".png":
        Image.open(path).verify()
    if path.name == "manifest.json":
        content = json.dumps({**json.loads(content), "time": None}).encode()
    return hashlib.sha256(content).hexdigest()


# What is refused


@pytest.mark.parametrize(
    ("technique", "given", "sentence"),
    [
        ("grad_cam", {"target": "golf bal"}, "has no class “golf bal”. Expected one of its 10 labels or a number from 0 to 9. Did you mean golf ball?"),
        ("grad_cam", {"target": 10}, "Expected one of its 10 labels or a number from 0 to 9."),
        ("grad_cam", {"layer": "9.9"}, "has no layer “9.9”"),
        ("grad_cam", {"signed": "maybe"}, "Signed: received 'maybe', expected true or false."),
        ("pgd", {"epsilon": 65}, "Epsilon: received '65', expected a number from 0 to 64 of 255."),
        ("pgd", {"epsilon": "much"}, "Epsilon: received 'much', expected a number from 0 to 64 of 255."),
        ("pgd", {"steps": 2.5}, "Steps: received '2.5', expected a whole number from 1 to 200 steps."),
        ("pgd", {"steps": None}, "Steps: received 'None', expected a whole number from 1 to 200 steps."),
        ("pgd", {"seed": -1}, "Seed: received '-1', expected a whole number from 0 to "),
        ("pgd", {"norm": "l1"}, "Norm: received 'l1', expected one of linf, l2."),
        ("occlusion", {"stride": 0}, "Stride: received '0', expected a whole number from 25 to 100 % of the window."),
        ("saliency", {"model": "timm/no_such_model"}, "timm has no trained model “no_such_model”."),
        ("saliency", {"model": "bundled/none"}, "There is no bundled model “none”. Expected one of digits, imagenette."),
        ("saliency", {"model": "../../etc/passwd"}, "“../../etc/passwd” looks like a folder or a file, and none is opened by its name."),
        ("saliency", {"image": None}, "The call has no picture. Pass one as “image”."),
    ],
)
def test_a_mistake_is_told_in_a_sentence(client, golf_ball, technique, given, sentence):
    assert sentence in refused(client, technique, **{"image": handle_file(golf_ball), **given})


def test_a_model_that_needs_the_network_is_refused_without_one(client, server, golf_ball):
    text = refused(client, "saliency", image=handle_file(golf_ball), model="timm/resnet18.a1_in1k")
    assert "needs a download of about 47 MB, and this machine cannot reach its host." in text
    assert server.asked_for_on_purpose() == {"huggingface.co"}


def test_a_file_that_is_no_picture_is_told_in_a_sentence(client):
    assert refused(client, "saliency", image=handle_file(__file__)).startswith("This file is not a picture we can read.")


def test_one_picture_is_too_few_to_compare(client, three):
    assert "takes exactly two of them; received 1" in refused(client, "average_activation", images=[handle_file(three)], model="bundled/digits")


def test_a_parameter_of_an_unknown_name_is_refused(client, three):
    with pytest.raises(TypeError, match="epsilon"):
        client.predict(image=handle_file(three), epsilon=3, api_name="/saliency")


# What is closed


@pytest.fixture(scope="module")
def events(server) -> list[dict]:
    """Every handler behind the page, as anyone can read them."""
    with urlopen(f"{server.url}/config", timeout=20) as answer:
        return json.loads(answer.read())["dependencies"]


def test_nothing_runs_past_the_queue(server, events):
    """Gradio's direct route would let any number of runs start at once; it is closed for every handler."""
    for event in (event for event in events if event["backend_fn"]):
        for route, body in ((event["api_name"], {"data": []}), ("predict", {"data": [], "fn_index": event["id"]})):
            request = Request(f"{server.url}/gradio_api/run/{route}", json.dumps(body).encode(), {"Content-Type": "application/json"})
            with pytest.raises(OSError, match="404"):
                urlopen(request, timeout=20)


def test_the_handlers_of_the_page_are_not_offered(events):
    assert {event["api_name"] for event in events if event["api_visibility"] == "public"} == set(CATALOGUE)


def test_the_page_configuration_stays_small(server):
    with urlopen(f"{server.url}/config", timeout=20) as answer:
        assert len(answer.read()) < 30_000 * len(techniques.catalogue())
