"""A stranger's file of weights: it becomes plain, finite tensors or one sentence, and nothing in it ever runs."""

from __future__ import annotations

import argparse
import math
import pickle
import re
import shutil
import subprocess
import threading

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from model_zoo.checkpoints import conversion, precheck
from model_zoo.checkpoints.conversion import Stored, store
from model_zoo.checkpoints.precheck import Checked
from model_zoo.checkpoints.recognise import recognise
from model_zoo.checkpoints.sentences import SAVE_WEIGHTS
from model_zoo.checkpoints.tensors import read_header
from model_zoo.errors import Cancelled, UploadError
from tests import hostile_models
from tests.hostile_models import FOUR_FLOATS, LIMIT, WEIGHT, Case, attack, call, checkpoint, nested, number, refused, table, tensor

SECONDS = 10  # what a bad file may take at the most
READER_SECONDS = 60  # the same where a second process has to import torch, on a machine that is busy with other tests


class Watching:
    """Follows a conversion; calls `act` while the other process runs, and keeps what was reported."""

    def __init__(self, act=lambda process: None):
        self.act = act
        self.reports = []

    def check(self) -> None:
        for process in psutil.Process().children():
            if any(part.endswith("child.py") for part in process.cmdline()):
                self.act(process)

    def report(self, fraction: float, text: str) -> None:
        self.reports.append((fraction, text))


class Quiet(Watching):
    def check(self) -> None:
        pass


def by_name(case: Case) -> str:
    return case.name


def stored(path, folder, run=None, limit=LIMIT) -> Stored:
    folder.mkdir(exist_ok=True)
    return store(path, path.name, folder, limit, run or Quiet())


def assert_is_a_sentence(text: str) -> None:
    """Plain words for a person, and below them at most the lines that save weights: no traceback, no path, no markup."""
    sentence, _, lines = text.partition("\n")
    assert re.fullmatch(r"[A-Z][^<>]{10,330}[.:]", sentence), text
    assert not re.search(r"Error|Exception|0x[0-9a-f]|object at|/\w+/|weights_only|Unpickl", sentence), text
    assert lines in ("", SAVE_WEIGHTS)


def outcome(work, seconds=SECONDS):
    """What `work` returns or raises, or a failure when it takes longer than a visitor should wait."""
    answers = []

    def collect() -> None:
        try:
            answers.append(work())
        except BaseException as error:
            answers.append(error)

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(seconds)
    assert answers, f"still at work after {seconds} s"
    return answers[0]


# Refused


@pytest.mark.parametrize("case", refused(), ids=by_name)
def test_a_bad_file_gets_its_sentence_and_runs_nothing(case, tmp_path, monkeypatch):
    """All of them before a second process is started for them."""
    monkeypatch.setattr(subprocess, "Popen", None)
    path, canary, folder = tmp_path / "upload", tmp_path / "canary", tmp_path / "kept"
    path.write_bytes(case.build(canary))
    folder.mkdir()
    refusal = outcome(lambda: store(path, case.name, folder, LIMIT, Quiet()))
    assert isinstance(refusal, UploadError), refusal
    assert case.sentence in str(refusal)
    assert_is_a_sentence(str(refusal))
    assert not canary.exists()
    assert list(folder.iterdir()) == []  # nothing half done is left behind


def test_the_catalogue_of_bad_files_is_not_thinned_out():
    names = [case.name for case in refused()]
    assert len(names) == len(set(names)) >= 115


def test_the_attack_in_the_catalogue_is_real(tmp_path):
    pickle.loads(b"\x80\x02" + attack(tmp_path / "canary") + b".")
    assert (tmp_path / "canary").exists()


def test_what_is_no_file_gets_a_sentence(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UploadError, match="no weights that we can read"):
            stored(path, tmp_path / "kept")


@pytest.mark.parametrize("name", ["header of 83 MB", "67 MB of description", "header of 700,000 lists", "21,000 tensors", "30,000 members"])
def test_a_bomb_is_refused_without_filling_the_memory(name, tmp_path):
    import tracemalloc

    case = next(case for case in refused() if case.name.rpartition(".")[0] == name)
    path = tmp_path / "upload"
    path.write_bytes(case.build(tmp_path))
    tracemalloc.start()
    try:
        with pytest.raises(UploadError):
            stored(path, tmp_path / "kept")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50 * 10**6


# The second wall: what the other process does when the check has let something through


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(lambda canary: nested(), id="nested tuples"),
        pytest.param(lambda canary: table({"w": call("builtins", "bytearray", number(6 * 10**9))}), id="6 GB of bytes"),
        pytest.param(lambda canary: table({"w": tensor((200_000, 200_000), (0, 0))}), id="160 GB view"),
        pytest.param(lambda canary: table({"w": attack(canary)}), id="program"),
    ],
)
def test_what_passes_the_check_ends_only_the_other_process(value, tmp_path, monkeypatch):
    path, canary = tmp_path / "upload.pth", tmp_path / "canary"
    path.write_bytes(checkpoint(value(canary)))
    monkeypatch.setattr(conversion, "precheck", lambda *_: Checked((), {"w": (2, 2)}, {"w": "F32"}, (), 0))
    refusal = outcome(lambda: stored(path, tmp_path / "kept"), READER_SECONDS)
    assert isinstance(refusal, UploadError)
    assert "could not be read as plain weights" in str(refusal)
    assert_is_a_sentence(str(refusal))
    assert not canary.exists()


def test_a_killed_reader_gives_a_sentence_and_the_next_upload_works(tmp_path):
    path = tmp_path / "upload.pth"
    path.write_bytes(checkpoint(table({"w": WEIGHT})))
    with pytest.raises(UploadError, match="could not be read as plain weights"):
        stored(path, tmp_path / "kept", Watching(lambda process: process.kill()))
    assert list((tmp_path / "kept").iterdir()) == []
    assert load_file(stored(path, tmp_path / "kept").path)["w"].tolist() == [[1, 2], [3, 4]]


def test_stop_ends_the_reader_which_has_seen_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("LOUPE_SECRET", "hf_token")
    seen, environment = [], {}

    def stop(process) -> None:
        seen.append(process)
        environment.update(process.environ())
        raise Cancelled

    path = tmp_path / "upload.pth"
    path.write_bytes(checkpoint(table({"w": WEIGHT})))
    with pytest.raises(Cancelled):
        stored(path, tmp_path / "kept", Watching(stop))
    assert not seen[0].is_running()
    assert "OMP_NUM_THREADS" in environment and "LOUPE_SECRET" not in environment
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_reader_that_takes_too_long_is_ended_and_the_server_is_blamed(tmp_path, monkeypatch):
    path = tmp_path / "upload.pth"
    path.write_bytes(checkpoint(table({"w": WEIGHT})))
    monkeypatch.setattr(conversion, "SECONDS", 0)
    before = psutil.Process().children()
    with pytest.raises(UploadError, match="The server is busy"):
        stored(path, tmp_path / "kept")
    assert psutil.Process().children() == before


def test_a_full_disk_is_not_the_fault_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
    for name, data in (("a.pth", checkpoint(table({"w": WEIGHT}))), ("a.safetensors", hostile_models.floats("w", 1))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UploadError, match="storage of this server is full"):
            stored(tmp_path / name, tmp_path / "kept")


# Accepted


def test_a_training_checkpoint_gives_its_averaged_weights(tmp_path):
    """Settings, optimizer and counters beside two sets of weights; tensors that share memory or lie transposed."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(16, 2))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    weights = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    average = {
        **{name: tensor + 1 for name, tensor in weights.items()},
        "module.3.weight": torch.rand(16, 2).T,
        "module.half": torch.rand(8).half()[2:5],
        "module.brain": torch.rand(3).bfloat16(),
        "module.double": torch.rand(3).double(),
    }
    average["module.tied"] = average["module.3.weight"]
    settings = argparse.Namespace(lr=0.1, tags={"a", "b"}, dtype=torch.float16, device=torch.device("cpu"), raw=b"x", sizes=(1, (2, 3)))
    entries = {"epoch": 3, "args": settings, "optimizer": optimizer.state_dict(), "state_dict": weights, "state_dict_ema": average}
    torch.save(entries, tmp_path / "last.pth.tar")
    answer = stored(tmp_path / "last.pth.tar", tmp_path / "kept")
    assert (answer.part, answer.parts) == ("state_dict_ema", ("state_dict",))
    assert answer.notes == ("The weights under “state_dict_ema” are used; the file holds others, too: state_dict.",)
    found = load_file(answer.path)
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == answer.shapes
    assert answer.dtypes["module.half"] == "F16" and answer.dtypes["module.brain"] == "BF16" and answer.dtypes["module.double"] == "F64"
    assert found.keys() == average.keys()
    assert all(torch.equal(found[name], average[name]) for name in average)


def test_a_plain_state_dict_is_used_as_a_whole(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save(network.state_dict(), tmp_path / "plain.pt")
    answer = stored(tmp_path / "plain.pt", tmp_path / "kept")
    assert (answer.part, answer.notes, answer.parts) == ("", (), ())
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in load_file(answer.path).items())
    assert answer.shapes["1.num_batches_tracked"] == () and len(answer.shapes) == 7


def test_a_safetensors_file_is_copied_and_the_visitors_stays(tmp_path):
    path = tmp_path / "wrongly called.pth"
    save_file({"fc.weight": torch.eye(2), "attn.relative_position_index": torch.arange(4)}, path, {"format": "pt"})
    answer = stored(path, tmp_path / "kept")
    assert answer.path.read_bytes() == path.read_bytes()
    assert answer.dtypes == {"fc.weight": "F32", "attn.relative_position_index": "I64"}


def test_a_safetensors_file_is_known_whatever_the_length_of_its_header(tmp_path):
    """The length comes first, and 640 reads like the beginning of a pickle, 35,615 like gzip."""
    for length in (*range(100, 1500), 35_615, 0x12_00_08):
        (tmp_path / "a").write_bytes(hostile_models.safetensors(b'{"w":1}'.ljust(length)))
        assert recognise(tmp_path / "a") == "safetensors"


def checked(entries, path) -> Checked:
    torch.save(entries, path)
    return precheck.precheck(path, LIMIT, lambda: None)


def test_the_check_knows_each_shape_and_type_before_torch_does(tmp_path):
    tensors = {
        "scalar": torch.tensor(1.0),
        "empty": torch.zeros(0, 3),
        "row": torch.arange(12.0).reshape(3, 4)[1],
        "column": torch.arange(12.0).reshape(3, 4)[:, 1],
        "repeated": torch.nn.Parameter(torch.zeros(2, 3)),
        "one.num_batches_tracked": torch.tensor(7),
        **{str(dtype): torch.zeros(2, dtype=dtype) for dtype in (torch.float64, torch.float16, torch.bfloat16)},
    }
    found = checked(tensors, tmp_path / "a.pth")
    assert found.shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert found.dtypes["torch.float64"] == "F64" and found.dtypes["one.num_batches_tracked"] == "I64"


@pytest.mark.parametrize(
    ("entries", "part", "others"),
    [
        ({"state_dict": {"w": 1}, "epoch": 2}, ("state_dict",), ()),
        ({"model": {"w": 1}, "model_ema": {"decay": 0, "module": {"w": 1}}}, ("model_ema", "module"), ("model",)),
        ({"model": {"a": 1, "b": 1, "c": 1}, "ema": {"a": 1}}, ("model",), ()),
        ({"discriminator": {"a": 1}, "generator": {"a": 1, "b": 1}}, ("generator",), ("discriminator",)),
        ({"criterion": {"a": 1, "b": 1}, "net": {"a": 1, "b": 1}}, ("net",), ("criterion",)),
        ({"a": 1, "b": 1, "cinema": {"a": 1}}, (), ()),
        ({"optimizer": {"state": {0: {"exp_avg": 1}}}, "model_state_dict": {"a": 1}}, ("model_state_dict",), ()),
        ({"outer": {"inner": {"state_dict": {"a": 1}}}}, ("outer", "inner", "state_dict"), ()),
    ],
)
def test_the_right_set_of_weights_is_chosen(entries, part, others, tmp_path):
    """1 stands for a tensor."""

    def filled(value):
        return {key: filled(inner) for key, inner in value.items()} if isinstance(value, dict) else torch.ones(1) if value == 1 else value

    found = checked(filled(entries), tmp_path / "a.pth")
    assert found.part == part
    assert set(others) <= set(found.others)


def test_settings_of_kinds_that_run_no_code_do_not_stand_in_the_way(tmp_path):
    checked({"w": torch.ones(2), "lr": [0.1, {"a": (1, None, True, -(2**40))}], "size": torch.Size([1]), "type": torch.int8}, tmp_path / "a.pth")


def test_weights_are_found_in_the_numbers_one_by_one(tmp_path):
    """A fault behind the first piece that is looked at."""
    weights = torch.zeros(conversion.PIECE + 10)
    weights[-1] = math.nan
    save_file({"a": torch.zeros(3), "fc.weight": weights}, tmp_path / "a.safetensors")
    with pytest.raises(UploadError, match="first NaN in fc.weight"):
        stored(tmp_path / "a.safetensors", tmp_path / "kept")


# Damage at random


def mutated(random: np.random.Generator, whole: list[bytes]) -> bytes:
    data = bytearray(whole[random.integers(len(whole))])
    for _ in range(random.integers(1, 4)):
        start, length = int(random.integers(len(data))), int(random.integers(1, 40))
        change = random.integers(6)
        if change <= 1:
            data[start] ^= 1 << int(random.integers(8))
        elif change == 2:
            data[start : start + length] = random.bytes(len(data[start : start + length]))
        elif change == 3:
            data = data[: start + 1]
        elif change == 4:
            data = data[:start] + data[start : start + length] * 2 + data[start + length :]
        else:
            data[start : start + length] = whole[random.integers(len(whole))][:length]
    return bytes(data)


def look(path) -> None:
    if recognise(path) == "safetensors":
        read_header(path, LIMIT)
        conversion.check_numbers(path, Quiet())
    else:
        precheck.precheck(path, LIMIT, lambda: None)


def test_damaged_files_pass_or_get_a_sentence_and_nothing_else(tmp_path):
    """2,000 files: bits flipped, bytes replaced, cut, doubled, and pieces of one put into another."""
    random = np.random.default_rng(2026)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    torch.save({"state_dict": network.state_dict(), "args": argparse.Namespace(lr=0.1)}, tmp_path / "a.pth")
    whole = [(tmp_path / "a.safetensors").read_bytes(), (tmp_path / "a.pth").read_bytes(), checkpoint(table({"w": WEIGHT}), FOUR_FLOATS)]
    passed, path = 0, tmp_path / "damaged"
    for _ in range(2000):
        path.write_bytes(mutated(random, whole))
        try:
            look(path)
            passed += 1
        except UploadError as refusal:
            assert_is_a_sentence(str(refusal))
    assert 100 < passed < 1900  # neither all refused nor all let pass: the damage is of the right size


def test_damaged_instructions_pass_or_get_a_sentence_and_nothing_else(tmp_path):
    """2,000 pickles with one to three bytes changed, in a zip that is whole."""
    from model_zoo.checkpoints.outline import outline

    random = np.random.default_rng(2027)
    weights = {"w": WEIGHT, "more": b"](" + WEIGHT + number(3) + b"e", "x": call("torch", "Size", hostile_models.numbers(1, 2))}
    whole = hostile_models.pickled(table({"state_dict": table(weights), "args": b"cargparse\nNamespace\n)\x81" + table({}) + b"b"}))
    passed = 0
    for _ in range(2000):
        data = bytearray(whole)
        for place in random.integers(len(data), size=random.integers(1, 4)):
            data[place] = random.integers(256)
        try:
            outline(bytes(data), {"0": 16}, lambda: None)
            passed += 1
        except UploadError as refusal:
            assert_is_a_sentence(str(refusal))
    assert 20 < passed < 1980
