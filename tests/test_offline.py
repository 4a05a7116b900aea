"""Without a network: the app starts, serves its page and runs a technique, and asks for no other machine on the way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import model_zoo
from model_zoo.bundled import DIGITS, IMAGENETTE
from techniques.base import Sample
from techniques.base.pictures import read_picture
from tests.page_server import Caller
from ui.samples import digits, photographs

ROOT = Path(__file__).resolve().parents[1]
ASK = """
import socket, sys
from tests.offline_app import refuse_other_machines
refuse_other_machines(sys.argv[1])
for ask in (
    lambda: socket.getaddrinfo("name.invalid", 443),
    lambda: socket.gethostbyname("old.invalid"),
    lambda: socket.create_connection(("192.0.2.1", 443)),
    lambda: socket.socket().connect_ex(("192.0.2.2", 443)),
    lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("192.0.2.3", 53)),
):
    try:
        ask()
    except OSError as error:
        assert "this test has no network" in str(error)
"""


def test_every_way_to_ask_for_another_machine_is_refused_and_recorded(tmp_path):
    record = tmp_path / "record"
    subprocess.run([sys.executable, "-c", ASK, str(record)], cwd=ROOT, check=True, timeout=60)
    assert record.read_text().split() == ["name.invalid", "old.invalid", "192.0.2.1", "192.0.2.2", "192.0.2.3"]


def test_the_page_is_served_and_loads_nothing_from_another_machine(server):
    with urllib.request.urlopen(server.url, timeout=60) as answer:
        page = answer.read().decode()
    assert "lp-brand" in page  # Loupe's own header
    assert re.findall(r"<(?:link|script|img|iframe)[^>]*(?:href|src)=.https?://(?!127\.0\.0\.1)[^>]*>", page) == []


@pytest.fixture(scope="module")
def answer(server, tmp_path_factory) -> tuple[dict, list[Path], str, Path]:
    """The manifest and the files that `/grad_cam` answers with, and the model and the picture it was asked about."""
    from gradio_client import handle_file

    bundled = next(model for model in (IMAGENETTE, DIGITS) if model.weights.exists())
    picture = (photographs() if bundled is IMAGENETTE else digits())[0].path
    client = Caller(server.url, download_files=str(tmp_path_factory.mktemp("answer")))
    try:
        manifest, files = client.predict(image=handle_file(str(picture)), model=f"bundled/{bundled.name}", api_name="/grad_cam")
    finally:
        client.close()
    return manifest, [Path(file) for file in files], f"bundled/{bundled.name}", picture


def test_a_technique_called_over_http_gives_the_numbers_of_the_model(answer):
    manifest, files, key, picture = answer
    model = model_zoo.load(key)
    (arrays,) = [file for file in files if file.name == "arrays.npz"]
    expected = model.logits(Sample.from_image(read_picture(picture).image, model).pixels)[0].numpy()
    with np.load(arrays) as numbers:
        assert np.allclose(numbers["predictions.logits"][0], expected, atol=1e-3)  # the picture is the same; sums in another order
    assert (manifest["technique"], manifest["model"]["sha256"]) == ("grad_cam", model.sha256)


def test_a_technique_called_over_http_answers_with_the_files_that_its_manifest_names(answer):
    manifest, files, _, _ = answer
    (written,) = [file for file in files if file.name == "manifest.json"]
    assert json.loads(written.read_text(encoding="utf-8")) == manifest
    assert {name for panel in manifest["panels"] for name in panel["files"]} <= {file.name for file in files}


def test_no_other_machine_was_asked_for(server, answer):
    assert server.asked_for() == [], server.output()
