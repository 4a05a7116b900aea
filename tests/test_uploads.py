"""Visitors' own models: from a file to a key only they know, kept while their page is open, below a quota."""

from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import model_zoo
import techniques
from model_zoo import sources, uploads
from model_zoo.checkpoints import preprocessing_of
from model_zoo.downloads import Alone
from model_zoo.errors import ModelLoadError, UploadError
from techniques.base import Sample
from ui.session import Sessions

LIMIT = 100 * 10**6


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=3).eval()


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture
def draft(weights):
    received = uploads.receive(weights, weights.name, LIMIT, Alone())
    yield received
    uploads.discard(received.token)


def settled(draft, **options) -> str:
    (match, *_) = draft.guesses
    return uploads.settle(draft, match, preprocessing_of(match), **options)


def test_an_uploaded_model_computes_what_the_network_it_came_from_does(draft, network):
    model = model_zoo.load(settled(draft, labels=("cat", "dog", "bird")))
    pixels = torch.rand(2, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.preprocessing.mean, model.preprocessing.std))
    with torch.no_grad():
        expected = network((pixels - mean) / std)
        assert torch.allclose(model.logits(pixels), expected, atol=1e-5)  # float32
    assert model.labels == ("cat", "dog", "bird") and model.title == "mine.safetensors (timm/resnet10t)"
    tensors = len(network.state_dict())
    assert f"{tensors} of {tensors} tensors matched" in model.notes


def test_the_visitors_file_stays_as_it_is(weights, draft):
    assert weights.is_file() and draft.stored.path != weights


def test_its_key_cannot_be_guessed_and_its_folder_is_for_the_owner_alone(draft):
    key = settled(draft)
    assert uploads.token_of(key) == draft.token and len(draft.token) == 22  # 16 random bytes
    assert stat.S_IMODE(os.stat(uploads.FOLDER).st_mode) == stat.S_IMODE(os.stat(uploads.FOLDER / draft.token).st_mode) == 0o700


def test_other_settings_make_another_model_and_the_first_one_stays(draft):
    first, second = settled(draft, labels=("a", "b", "c")), settled(draft, multi_label=True)
    assert first != second
    assert model_zoo.load(second).labels == ("class 0", "class 1", "class 2", "not class 0", "not class 1", "not class 2")
    assert model_zoo.load(first).labels == ("a", "b", "c")


def test_a_model_that_had_to_leave_memory_comes_back_from_its_recipe(draft):
    key = settled(draft)
    logits = model_zoo.load(key).logits(torch.full((1, 3, 176, 176), 0.3))
    sources.CACHE.forget(key)
    assert torch.equal(model_zoo.load(key).logits(torch.full((1, 3, 176, 176), 0.3)), logits)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot fork")
def test_a_forked_process_finds_it_by_its_key(draft):
    def look(sender) -> None:
        sender.send(uploads.bytes_of(key.removeprefix("upload/")))

    key = settled(draft)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=look, args=(sender,))
    process.start()
    process.join(30)
    assert receiver.poll() and receiver.recv() == 4 * sum(tensor.numel() for tensor in torch_state(draft))
    assert (uploads.FOLDER / draft.token).is_dir()  # its end has tidied nothing up


def torch_state(draft) -> list[torch.Tensor]:
    from safetensors.torch import load_file

    return list(load_file(draft.stored.path).values())


@pytest.mark.parametrize("name", ["", "x", "../../etc/passwd", "A" * 22 + "/1", "A" * 22 + "/../1", "A" * 22 + "/1/2", "A" * 22, "é" * 22 + "/1"])
def test_a_key_that_is_none_is_told_in_a_sentence(name):
    with pytest.raises(ModelLoadError, match=r"^This uploaded model is no longer kept\. Upload its weights again\.$"):
        model_zoo.load(f"upload/{name}")


def test_a_full_quota_is_told_and_given_back(weights, monkeypatch):
    monkeypatch.setattr(uploads, "QUOTA", weights.stat().st_size + 1000 + sum(p.stat().st_size for p in uploads.FOLDER.rglob("*.safetensors")))
    first = uploads.receive(weights, "first", LIMIT, Alone())
    with pytest.raises(UploadError, match=r"^The storage for visitors' models is full\. Try again later, or run Loupe on your own machine\.$"):
        uploads.receive(weights, "second", LIMIT, Alone())
    uploads.discard(first.token)
    uploads.discard(uploads.receive(weights, "third", LIMIT, Alone()).token)


def test_a_file_that_is_refused_leaves_nothing_behind(tmp_path):
    before = set(uploads.FOLDER.iterdir())
    (tmp_path / "letter.pth").write_text("Dear Loupe")
    with pytest.raises(UploadError):
        uploads.receive(tmp_path / "letter.pth", "letter.pth", LIMIT, Alone())
    assert set(uploads.FOLDER.iterdir()) == before and not uploads._promised


def test_weights_larger_than_the_limit_are_refused_before_they_are_read(weights):
    with pytest.raises(UploadError, match="MB"):
        uploads.receive(weights, "mine", 10**6, Alone())


def test_discarding_removes_only_what_is_an_upload(tmp_path):
    (tmp_path / "kept").write_text("mine")
    for token in ("", ".", "..", "../..", str(tmp_path)):
        uploads.discard(token)
    assert (tmp_path / "kept").exists() and uploads.FOLDER.is_dir()


# The page that brought it along


@pytest.fixture
def session(weights):
    sessions = Sessions("bundled/digits")
    found = sessions.create("page")
    found.take(uploads.receive(weights, "first", LIMIT, Alone()))
    yield found
    sessions.leave("page")


def test_when_the_page_closes_its_weights_go_from_disk_and_memory(weights):
    sessions = Sessions("bundled/digits")
    session = sessions.create("page")
    session.take(uploads.receive(weights, "mine", LIMIT, Alone()))
    key = settled(session.draft)
    session.use(model_zoo.load(key))
    folder = uploads.FOLDER / session.draft.token
    assert folder.is_dir() and sources.CACHE.find(key)
    sessions.leave("page")
    assert not folder.exists() and sources.CACHE.find(key) is None


def test_a_newer_file_takes_the_place_of_an_older_one_but_not_of_the_model_in_use(session, weights):
    first = session.draft
    session.take(uploads.receive(weights, "second", LIMIT, Alone()))
    assert not (uploads.FOLDER / first.token).exists()
    second = session.draft
    session.use(model_zoo.load(settled(second)))
    session.take(uploads.receive(weights, "third", LIMIT, Alone()))
    assert (uploads.FOLDER / second.token).is_dir() and (uploads.FOLDER / session.draft.token).is_dir()


# The same from Python


def test_a_file_of_ones_own_becomes_a_model_in_one_line(weights, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\nbird\n")
    before = set(uploads.FOLDER.iterdir())
    model = model_zoo.from_file(weights, class_names=names)
    assert model.labels == ("cat", "dog", "bird")
    answer = techniques.run("grad_cam", Sample.from_pixels(torch.rand(3, 176, 176), "noise"), model)
    assert answer.predictions.logits.shape == (1, 3)
    assert set(uploads.FOLDER.iterdir()) == before


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"architecture": "timm/resnet18"}, "tensors match timm/resnet18"),
        ({"architecture": "timm/resnet10x"}, "There is no architecture “timm/resnet10x”."),
        ({"class_names": __file__}, "names"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(weights, given, sentence):
    with pytest.raises((UploadError, ModelLoadError), match=sentence):
        model_zoo.from_file(weights, **given)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UploadError, match="There is no file"):
        model_zoo.from_file(tmp_path / "none.pth")
