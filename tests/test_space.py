"""The Space: what its folder holds, that the app starts from it, and that ZeroGPU's forked processes can run techniques."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch

import model_zoo
from model_zoo.cache import ModelCache
from spaces_config import build
from techniques import catalogue
from techniques.base import Sample, Samples
from techniques.base.results import all_arrays
from tests.page_server import Caller
from tests.tiny_models import cnn, fitting, transformer
from ui import worker

ROOT = Path(__file__).resolve().parents[1]
START_LIMIT = 120  # s; a start takes a few seconds, on a machine with nothing else to do
SECRETS = re.compile(rb"hf_[A-Za-z0-9]{20}|sk-[A-Za-z0-9]{20}|gh[pousr]_[A-Za-z0-9]{20}|AKIA[0-9A-Z]{16}|PRIVATE KEY-----")
MACHINE_PATHS = re.compile(r"""(?<![\w.~*/])/(?:home|root|Users|tmp|work|mnt|opt)/\w|\b[A-Z]:\\\w""")


# The folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A Space folder for each kind of hardware."""
    made = {hardware: tmp_path_factory.mktemp("spaces") / hardware for hardware in build.FLAVOURS}
    for hardware, folder in made.items():
        build.lay_out(folder, hardware)
    return made


def _front_matter(folder: Path) -> dict:
    from huggingface_hub import RepoCard

    return RepoCard.load(folder / "README.md").data.to_dict()


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("hardware", build.FLAVOURS)
def test_the_space_asks_for_the_gradio_that_the_requirements_pin(folders, hardware):
    pin = re.search(r"^gradio==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE).group(1)
    front = _front_matter(folders[hardware])
    assert (front["sdk"], front["sdk_version"], front["app_file"]) == ("gradio", pin, "app.py")
    assert f"gradio=={pin}\n" in (folders[hardware] / "requirements.txt").read_text()


def test_the_front_matter_keeps_to_what_the_hub_accepts(folders):
    for hardware, folder in folders.items():
        front = _front_matter(folder)
        assert front["python_version"] == "3.12" and front["suggested_hardware"] == build.FLAVOURS[hardware]
        assert len(front["short_description"]) <= 60
        assert [line.partition(" ")[0] for line in front["preload_from_hub"]] == front["models"]


def test_the_models_that_are_fetched_while_the_space_is_built_are_among_the_choices(folders):
    from model_zoo.choices import CHOICES

    offered = {choice.key.removeprefix("timm/") for choice in CHOICES}
    assert {name.removeprefix("timm/") for name in _front_matter(folders["zero"])["models"]} <= offered


def test_zero_gpu_gets_a_torch_that_it_can_run_and_the_others_what_is_tested(folders):
    wanted = {hardware: (folder / "requirements.txt").read_text().split() for hardware, folder in folders.items()}
    ours = {line.strip() for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")}
    assert set(wanted["cpu"]) == set(wanted["gpu"]) == ours
    assert {"torch==2.11.*", "torchvision==0.26.*"} < set(wanted["zero"])
    assert {line for line in wanted["zero"] if not re.match("torch|spaces", line)} == {line for line in ours if not line.startswith("torch")}


def test_a_space_folder_is_the_same_each_time(folders, tmp_path):
    build.lay_out(tmp_path / "again", "zero")
    assert _files(tmp_path / "again") == _files(folders["zero"])


def test_a_space_folder_holds_the_app_and_nothing_else(folders):
    files = _files(folders["cpu"])
    top = {name.partition("/")[0] for name in files}
    assert top == {"README.md", "requirements.txt", ".gitattributes", "app.py", "model_zoo", "techniques", "ui"}
    assert not [name for name in files if re.search(r"__pycache__|\.py[ci]$|\.checkpoint\.|test_", name)]
    assert any(name.endswith(".safetensors") for name in files) and "ui/samples/cat.jpg" in files
    assert sum(map(len, files.values())) < 40e6  # bytes; the weights are about 12 MB


def test_every_binary_file_goes_through_large_file_storage(folders):
    suffixes = {pattern.removeprefix("*") for pattern in build.BINARY}
    binary = [name for name, content in _files(folders["cpu"]).items() if b"\0" in content]
    assert len(binary) > 10 and not [name for name in binary if Path(name).suffix not in suffixes]


def test_no_secret_and_no_path_of_a_machine_is_in_the_folder(folders):
    for name, content in _files(folders["zero"]).items():
        assert not SECRETS.search(content), name
        assert str(ROOT).encode() not in content, name
        if b"\0" not in content:
            assert not MACHINE_PATHS.search(content.decode()), name


def test_a_folder_with_something_in_it_is_refused_in_a_sentence(tmp_path, capsys):
    (tmp_path / "kept.txt").write_text("mine")
    assert build.main([str(tmp_path)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_a_folder_inside_the_app_is_refused_in_a_sentence(capsys):
    assert build.main([str(ROOT / "ui" / "space")]) == 2
    assert "inside the app's own code" in capsys.readouterr().err and not (ROOT / "ui" / "space").exists()


# What crosses to another process


@pytest.mark.parametrize("name", catalogue())
def test_every_event_of_a_run_survives_the_way_to_another_process(name, monkeypatch):
    model = fitting(catalogue()[name])
    monkeypatch.setattr(worker.model_zoo, "load", lambda key, run=None: model)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    one, two = (Sample.from_pixels(picture, origin) for picture, origin in zip(pixels, ("noise", "more noise")))
    given = pickle.loads(pickle.dumps(Samples((one, two)) if catalogue()[name].many else one))
    events = list(worker.dispatch(name, given, "any", {}, 60))
    assert isinstance(events[-1], worker.Done)
    for event in events:
        copy = pickle.loads(pickle.dumps(event))
        assert type(copy) is type(event)
        if isinstance(event, (worker.Done, worker.Preview)):
            expected, arrays = all_arrays(event.value), all_arrays(copy.value)
            assert list(arrays) == list(expected) and all(np.array_equal(arrays[key], expected[key]) for key in expected)


def test_a_model_follows_its_network_to_another_device():
    model = cnn()
    model.logits(torch.rand(1, 3, 32, 32))
    model.network.to("meta")  # a device without numbers, which every machine has
    assert model.logits(torch.rand(1, 3, 32, 32, device="meta")).shape == (1, 5)


def test_a_forked_process_does_not_wait_for_locks_that_were_held():
    cache = ModelCache(limit=10**9)
    cache.get("model", 0, cnn, lambda: None)
    lock = cache.find("model").lock
    holder = threading.Thread(target=lock.acquire)
    holder.start()
    holder.join()  # it ends without letting go
    cache.renew_locks()
    assert not lock.acquire(timeout=0.01) and cache.find("model").lock.acquire(timeout=0.01)


# The app, started from the folder


@contextmanager
def _started(command: list[str], folder: Path, home: Path, **variables: str) -> Iterator[tuple[str, list[str]]]:
    """A process in `folder` with nothing of our environment; its address, and the lines that it printed until then."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"SYSTEM": "spaces", "SPACE_ID": "x/y", "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), **variables}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    watchdog = threading.Timer(START_LIMIT, process.kill)
    watchdog.start()
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if "Running on local URL" in line:
                break
        else:
            pytest.fail("the app did not start:\n" + "".join(lines))
        watchdog.cancel()
        threading.Thread(target=process.stdout.read, daemon=True).start()  # or the process waits for a full pipe
        yield f"http://127.0.0.1:{port}/", lines
    finally:
        watchdog.cancel()
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGTERM)  # with the processes that it has forked
        process.wait()


def _endpoints(address: str) -> set[str]:
    with urllib.request.urlopen(f"{address}config", timeout=30) as answer:
        dependencies = json.load(answer)["dependencies"]
    return {one["api_name"] for one in dependencies if one["api_visibility"] == "public"}


def test_the_app_starts_from_the_folder_and_offers_every_technique(folders, tmp_path):
    with _started([sys.executable, "app.py"], folders["cpu"], tmp_path) as (address, _lines):
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.status == 200 and b"Loupe" in answer.read()
        assert _endpoints(address) == set(catalogue())


@pytest.fixture(scope="module")
def zero(folders, tmp_path_factory) -> Iterator[tuple[str, dict]]:
    """The address of the app on a ZeroGPU without a GPU, and what a rehearsal there saw."""
    pytest.importorskip("spaces")
    if sys.platform != "linux":
        pytest.skip("ZeroGPU's package needs Linux")
    folder = folders["zero"]
    paths = os.pathsep.join((str(folder), str(ROOT)))  # the Space's code first; the tiny models come from the tests
    with _started([sys.executable, "-m", "tests.zero_gpu"], folder, tmp_path_factory.mktemp("home"), PYTHONPATH=paths) as (address, lines):
        yield address, json.loads(next(line for line in lines if line.startswith('{"worker"')))


def _kinds(events: list[list[str]]) -> list[str]:
    return [kind for kind, _text in events]


def test_on_zero_gpu_every_technique_answers_from_a_forked_process(zero, folders):
    seen = zero[1]
    assert seen["worker"] == str(folders["zero"] / "ui" / "worker.py")
    model = model_zoo.load("bundled/imagenette")
    expected = {name: "Failed" if technique.why_not(model) else "Done" for name, technique in catalogue().items()}
    assert {name: _kinds(events)[-1] for name, events in seen["runs"].items()} == expected
    processes = sum(path.startswith("/allow") for path in seen["requests"])
    assert processes == 3  # the first is used again and again; then one that is forked while a lock is held, one without a GPU


def test_on_zero_gpu_a_run_asks_for_its_own_time_and_that_of_the_fork(zero):
    loans = [path for path in zero[1]["requests"] if path.startswith("/schedule")]
    assert len(loans) == len(catalogue()) + 6 and all("durationSeconds=65" in path for path in loans)


def test_on_zero_gpu_progress_comes_through(zero):
    texts = {text for kind, text in zero[1]["runs"]["occlusion"] + zero[1]["runs"]["pgd"] if kind == "Progress" and text}
    assert texts and zero[1]["before_stop"].startswith("PGD step")


def test_on_zero_gpu_stop_ends_the_run_at_its_next_step(zero):
    seen = zero[1]
    assert _kinds(seen["after_stop"])[-1] == "Done"
    assert seen["stop_seconds"] < 5  # the run stopped had 2000 steps to go, some 10 s; the next one waits until it has ended


def test_on_zero_gpu_faults_are_told_in_a_sentence(zero):
    seen = zero[1]
    assert _kinds(seen["wrong_class"]) == ["Failed"] and "has no class “no such class”" in seen["wrong_class"][0][1]
    assert seen["no_gpu"] == [["Failed", "ZeroGPU client error: No GPU was available."]]
    assert seen["broken_gpu"] == [["Failed", "ZeroGPU worker error: ZeroDivisionError."]]


def test_on_zero_gpu_a_lock_held_during_the_fork_blocks_nobody(zero):
    assert _kinds(zero[1]["forked_while_locked"])[-1] == "Done"


def test_on_zero_gpu_pictures_stay_out_of_shared_memory(zero):
    assert zero[1]["shared"] is False


def test_on_zero_gpu_the_main_process_takes_no_gradient(zero):
    assert zero[1]["gradients_here"] == 0 and zero[1]["default_layer"] == transformer().default_layer


def test_on_zero_gpu_an_endpoint_answers(zero, folders):
    from gradio_client import handle_file

    address, _seen = zero
    assert _endpoints(address) == set(catalogue())
    client = Caller(address)
    manifest, files = client.predict(handle_file(folders["zero"] / "ui" / "samples" / "cat.jpg"), "bundled/imagenette", api_name="/saliency")
    assert manifest["technique"] == "saliency" and any(file.endswith("arrays.npz") for file in files)
