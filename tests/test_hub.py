"""timm models in repositories of the hub: described, downloaded and built, or refused in one sentence before anything is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save

import model_zoo
from model_zoo import description, sources
from model_zoo.cache import ModelCache
from model_zoo.errors import ModelLoadError
from tests.hub_server import COMMIT, Hub, serve

REPOSITORY = "someone/my-model"
KEY = f"hf-hub:{REPOSITORY}"
CONFIG = f"{REPOSITORY}/resolve/main/config.json"
WEIGHTS = f"{REPOSITORY}/resolve/main/model.safetensors"
SOUND = {
    "architecture": "test_resnet",
    "num_classes": 3,
    "label_names": ["cat", "dog", "fox"],
    "pretrained_cfg": {"input_size": [3, 96, 96], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1], "crop_pct": 0.9, "interpolation": "bilinear"},
}


@pytest.fixture(scope="session")
def trained() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=3).eval()


@pytest.fixture
def hub(tmp_path, monkeypatch, trained):
    """The stand-in hub with one repository, and empty caches."""
    from huggingface_hub import constants

    for name, value in (("HF_HUB_CACHE", str(tmp_path / "hub")), ("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True)):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(sources, "CACHE", ModelCache(10**9))
    with serve(Hub({CONFIG: json.dumps(SOUND).encode(), WEIGHTS: save(trained.state_dict())})) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}")
        yield hub


def _describe(hub: Hub, **changes) -> None:
    """Publish another description: the sound one with some entries changed."""
    hub.files[CONFIG] = json.dumps({**SOUND, **changes}).encode()


def _weights_asked_for(hub: Hub) -> list[str]:
    return [request for request in hub.requests if "safetensors" in request]


# What works


def test_a_model_of_a_repository_has_its_own_weights_labels_and_preprocessing(hub, trained):
    model = model_zoo.load(KEY)
    pixels = torch.rand(1, 3, 96, 96)
    mean, std = (torch.tensor(SOUND["pretrained_cfg"][name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        # the same network on the same machine: only the order of sums may differ
        assert torch.allclose(model.logits(pixels), trained((pixels - mean) / std), atol=1e-5)
    assert (model.key, model.title, model.labels) == (KEY, "my-model", ("cat", "dog", "fox"))
    preprocessing = model.preprocessing
    assert (preprocessing.size, preprocessing.crop_fraction, preprocessing.interpolation) == ((96, 96), 0.9, "bilinear")


@pytest.mark.parametrize("key", [f"https://huggingface.co/{REPOSITORY}", f"hf_hub:{REPOSITORY}", f"huggingface.co/{REPOSITORY}/tree/main"])
def test_every_way_to_name_a_repository_leads_to_one_model(hub, key):
    assert model_zoo.load(key) is model_zoo.load(KEY)


def test_description_and_weights_are_of_one_commit(hub):
    model_zoo.load(KEY)
    assert sources.find(KEY).weights.revision == COMMIT
    assert all(f"/resolve/{COMMIT}/" in request for request in _weights_asked_for(hub))


def test_what_is_on_this_machine_needs_no_request(hub):
    assert model_zoo.needs_download(KEY) == 0  # nothing is known of it yet
    sources.find(KEY)
    # 4 bytes of every parameter and running statistic, 8 of every counter
    assert model_zoo.needs_download(KEY) == sum(t.numel() * t.element_size() for t in timm.create_model("test_resnet", num_classes=3).state_dict().values())
    model_zoo.load(KEY)
    sources.CACHE.clear()
    hub.requests.clear()
    assert model_zoo.needs_download(KEY) is None
    model_zoo.load(KEY)
    assert hub.requests == []


def test_a_description_of_the_older_kind_is_read(hub):
    hub.files[CONFIG] = json.dumps({"architecture": "test_resnet", **SOUND["pretrained_cfg"], "num_classes": 3, "labels": ["a", "b", "c"]}).encode()
    model = model_zoo.load(KEY)
    assert (model.labels, model.preprocessing.size) == (("a", "b", "c"), (96, 96))


def test_a_transformer_of_another_size_is_built_in_that_size(hub):
    vit = timm.create_model("test_vit", num_classes=3, img_size=64)
    hub.files[WEIGHTS] = save(vit.state_dict())
    _describe(hub, architecture="test_vit", model_args={"img_size": 64})
    assert model_zoo.load(KEY).preprocessing.size == (64, 64)


def test_a_grey_network_whose_statistics_stayed_those_of_colours_gets_their_average(hub):
    grey = timm.create_model("test_resnet", num_classes=3, in_chans=1)
    hub.files[WEIGHTS] = save(grey.state_dict())
    _describe(hub, model_args={"in_chans": 1})
    model = model_zoo.load(KEY)
    assert model.preprocessing.mean == pytest.approx([0.4]) and model.preprocessing.std == pytest.approx([0.5 / 3])
    assert any("average" in note for note in model.notes)


def test_two_classes_of_one_name_are_told_apart_by_their_descriptions(hub):
    _describe(hub, label_names=["crane", "crane 2", "fox"], label_descriptions={"crane": "a bird", "crane 2": "a machine", "fox": "a fox"})
    assert model_zoo.load(KEY).labels == ("crane", "crane 2", "fox")


@pytest.mark.parametrize("names", [["a", "b"], "abc", [1, 2, 3], {"a": 1}, [None] * 3])
def test_names_that_are_not_one_per_class_give_way_to_numbers_and_it_is_said(hub, names):
    _describe(hub, label_names=names)
    model = model_zoo.load(KEY)
    assert model.labels == ("class 0", "class 1", "class 2") and any("numbered" in note for note in model.notes)


# What is refused, before anything is built


def _deep(levels: int) -> str:
    return '{"architecture": ' + "[" * levels + "]" * levels + "}"


HOSTILE = {
    "a billion classes": ({"num_classes": 10**9}, "num_classes as 1000000000. Expected a whole number from 1 to 30,000"),
    "negative classes": ({"num_classes": -1}, "num_classes as -1"),
    "classes that are true": ({"num_classes": True}, "num_classes as true"),
    "classes in words": ({"num_classes": "ten"}, 'num_classes as "ten"'),
    "no classes": ({"num_classes": 0}, "features, not classes"),
    "a billion classes as an argument": ({"model_args": {"num_classes": 10**9}}, "num_classes as 1000000000"),
    "wide": ({"architecture": "test_vit", "model_args": {"embed_dim": 99999}}, "sets “\"embed_dim\"”, which is not passed on"),
    "deep": ({"architecture": "test_vit", "model_args": {"depth": 2000}}, "sets “\"depth\"”, which is not passed on"),
    "small patches": ({"architecture": "test_vit", "model_args": {"patch_size": 1}}, "sets “\"patch_size\"”"),
    "a million channels": ({"model_args": {"in_chans": 10**6}}, "in_chans as 1000000. Expected 1, 3 or 4"),
    "a huge picture": ({"model_args": {"img_size": 10**6}}, "img_size as 1000000"),
    "a huge input": ({"pretrained_cfg": {"input_size": [3, 10**6, 10**6]}}, "input_size as"),
    "an input in words": ({"pretrained_cfg": {"input_size": "3x224x224"}}, "input_size as"),
    "a mean that is no number": ({"pretrained_cfg": {"mean": [float("nan")] * 3}}, "mean as"),
    "an infinite deviation": ({"pretrained_cfg": {"std": [float("inf")] * 3}}, "std as"),
    "no deviation": ({"pretrained_cfg": {"std": [0, 0, 0]}}, "std as"),
    "a crop of nothing": ({"pretrained_cfg": {"crop_pct": 0}}, "crop_pct as 0"),
    "an unknown crop": ({"pretrained_cfg": {"crop_mode": "../x"}}, "crop_mode as"),
    "an unknown interpolation": ({"pretrained_cfg": {"interpolation": "random"}}, "interpolation as"),
    "an unknown pool": ({"model_args": {"global_pool": "__import__('os')"}}, "global_pool as"),
    "a layer by its name": ({"model_args": {"act_layer": "torch.nn.ReLU"}}, "act_layer as"),
    "a file": ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "sets “\"checkpoint_path\"”"),
    "a cache": ({"model_args": {"cache_dir": "/tmp/x"}}, "sets “\"cache_dir\"”"),
    "weights of others": ({"model_args": {"pretrained": True}}, "sets “\"pretrained\"”"),
    "an overlay": ({"model_args": {"pretrained_cfg_overlay": {"file": "/etc/passwd"}}}, "sets “\"pretrained_cfg_overlay\"”"),
    "arguments in a list": ({"model_args": [["num_classes", 3]]}, "model_args as"),
    "HTML": ({"model_args": {"<img src=x onerror=alert(1)>": 1}}, "which is not passed on"),
    "an architecture nobody knows": ({"architecture": "resnet5O"}, "names no architecture of timm"),
    "another repository": ({"architecture": "hf-hub:other/model"}, "names no architecture of timm"),
    "a folder": ({"architecture": "local-dir:/etc"}, "names no architecture of timm"),
    "a list for an architecture": ({"architecture": ["resnet50"]}, "names no architecture of timm"),
    "a model of transformers": ({"architecture": None, "architectures": ["ViTForImageClassification"]}, "holds no timm model"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_description_that_asks_for_too_much_is_one_sentence_and_nothing_is_built(hub, monkeypatch, case):
    changes, sentence = HOSTILE[case]
    _describe(hub, **changes)
    monkeypatch.setattr(timm, "create_model", lambda *_arguments, **_settings: pytest.fail("a network was built"))
    with pytest.raises(ModelLoadError) as refusal:
        model_zoo.load(KEY)
    assert sentence in str(refusal.value) and len(str(refusal.value)) < 600
    assert _weights_asked_for(hub) == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is damaged"),
        (b"\xff\xfe\x00", "is damaged"),
        (b"<html>not found</html>", "is damaged"),
        (b"[1, 2]", "describes no model"),
        (b"null", "describes no model"),
        (_deep(49_000).encode(), "is damaged"),
        (_deep(500).encode(), "names no architecture"),
        (b'{"architecture": "test_resnet", "num_classes": ' + b"9" * 5000 + b"}", "is damaged"),
    ],
    ids=["empty", "no text", "a web page", "a list", "null", "very deep", "deep", "a very long number"],
)
def test_a_file_that_is_no_description_is_one_sentence(hub, content, sentence):
    hub.files[CONFIG] = content
    with pytest.raises(ModelLoadError, match=sentence):
        model_zoo.load(KEY)
    assert _weights_asked_for(hub) == []


def test_a_description_that_is_too_long_is_not_downloaded(hub):
    hub.files[CONFIG] = b" " * (description.LONGEST + 1)
    with pytest.raises(ModelLoadError, match="larger than such a"):
        model_zoo.load(KEY)
    assert hub.sent == 0


def test_an_argument_that_the_architecture_does_not_take_is_one_sentence(hub):
    _describe(hub, model_args={"img_size": 64})
    with pytest.raises(ModelLoadError, match="timm builds no test_resnet with .*img_size 64"):
        model_zoo.load(KEY)


def test_a_network_too_large_for_memory_is_refused_before_its_weights_are_asked_for(hub):
    _describe(hub, architecture="convnextv2_huge", pretrained_cfg={})
    with pytest.raises(ModelLoadError, match="needs 2.6 GB of memory"):
        model_zoo.load(KEY)
    assert _weights_asked_for(hub) == []


# Weights


def test_a_repository_with_old_weights_only_is_one_sentence(hub):
    hub.files[WEIGHTS.replace("model.safetensors", "pytorch_model.bin")] = hub.files.pop(WEIGHTS)
    with pytest.raises(ModelLoadError, match="holds no model.safetensors, the only file"):
        model_zoo.load(KEY)


def test_a_repository_without_a_description_is_one_sentence(hub):
    del hub.files[CONFIG]
    with pytest.raises(ModelLoadError, match="holds no config.json"):
        model_zoo.load(KEY)


def test_weights_far_larger_than_the_network_are_not_downloaded(hub):
    hub.files[WEIGHTS] = bytes(40 * 10**6)
    with pytest.raises(ModelLoadError, match="larger than such a network"):
        model_zoo.load(KEY)
    assert hub.sent < 10_000


def test_weights_of_another_network_are_one_sentence(hub):
    hub.files[WEIGHTS] = save(timm.create_model("test_efficientnet", num_classes=3).state_dict())
    with pytest.raises(ModelLoadError, match="do not fit a test_resnet with 3 classes"):
        model_zoo.load(KEY)


def test_weights_for_other_classes_are_one_sentence(hub):
    _describe(hub, num_classes=4, label_names=None)
    with pytest.raises(ModelLoadError, match="do not fit a test_resnet with 4 classes"):
        model_zoo.load(KEY)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\xff" * 100, b"\x80\x02cos\nsystem\n."], ids=["empty", "zip", "long header", "pickle"])
def test_a_file_that_is_no_safetensors_is_one_sentence(hub, content):
    hub.files[WEIGHTS] = content
    with pytest.raises(ModelLoadError, match="could not be read"):
        model_zoo.load(KEY)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64], ids=str)
def test_weights_that_are_not_floating_point_are_one_sentence(hub, trained, dtype):
    hub.files[WEIGHTS] = save({**trained.state_dict(), "fc.weight": trained.fc.weight.detach().to(dtype)})
    with pytest.raises(ModelLoadError, match="floating point"):
        model_zoo.load(KEY)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_weights_in_another_precision_become_float32(hub, trained, dtype):
    hub.files[WEIGHTS] = save({name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in trained.state_dict().items()})
    model = model_zoo.load(KEY)
    assert model.network.fc.weight.dtype == torch.float32
    # bfloat16 keeps eight binary digits
    assert torch.allclose(model.network.fc.weight, trained.fc.weight, rtol=2**-8, atol=0)


def test_weights_that_are_no_numbers_are_one_sentence(hub, trained):
    state = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    state["fc.weight"][0, 0] = float("nan")
    hub.files[WEIGHTS] = save(state)
    with pytest.raises(ModelLoadError, match="no valid numbers"):
        model_zoo.load(KEY)


def test_a_repository_behind_a_gate_is_one_sentence(hub):
    hub.status, hub.error_code = 403, "GatedRepo"
    with pytest.raises(ModelLoadError, match="private or gated"):
        model_zoo.load(KEY)


def test_no_sentence_names_a_folder_of_the_server(hub, tmp_path: Path):
    hub.files[CONFIG] = b"{"
    with pytest.raises(ModelLoadError) as refusal:
        model_zoo.load(KEY)
    assert str(tmp_path) not in str(refusal.value) and "/" not in str(refusal.value).replace(KEY, "")
