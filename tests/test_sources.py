"""Models by key: found, fetched from a stand-in hub with progress and Stop, kept, and refused in one sentence."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save

import model_zoo
from model_zoo import downloads, sources
from model_zoo.cache import ModelCache
from model_zoo.catalogue import hub_repository
from model_zoo.errors import Cancelled, ModelLoadError
from model_zoo.labels import imagenet_labels, unique
from model_zoo.preprocessing import Preprocessing
from tests import tiny_models
from tests.hub_server import Hub, serve

NAME = "test_resnet.r160_in1k"  # timm's own model for tests: 0.5 M parameters
KEY = f"timm/{NAME}"
ROOT = Path(__file__).resolve().parents[1]
FILE = f"timm/{NAME}/resolve/main/model.safetensors"


class Watcher:
    """Remembers what is reported. Halfway through a download it raises Cancelled, or calls `halfway`."""

    def __init__(self, halfway=None):
        self.texts: list[str] = []
        self.fractions: list[float] = []
        self.halfway = halfway

    def check(self) -> None:
        if self.fractions and 0.4 < self.fractions[-1] < 0.6:
            if not self.halfway:
                raise Cancelled
            self.halfway()

    def report(self, fraction: float, text: str) -> None:
        self.fractions.append(fraction)
        self.texts.append(text)


@pytest.fixture(scope="session")
def published() -> bytes:
    """A file of weights as the hub would hold it, random ones."""
    torch.manual_seed(0)
    return save(timm.create_model("test_resnet").state_dict())


@pytest.fixture
def caches(tmp_path, monkeypatch) -> Path:
    """Empty caches on disk and in memory: nothing of the machine's own is read or written."""
    from huggingface_hub import constants

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(sources, "CACHE", ModelCache(10**9))
    return tmp_path


@pytest.fixture
def hub(caches, monkeypatch, published):
    """The stand-in hub, holding the weights of one model."""
    with serve(Hub({FILE: published})) as hub:
        _point_to(hub.address, monkeypatch)
        yield hub


def _point_to(address: str, monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


def _partial_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".incomplete", ".partial")]


def _join_downloads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("download"):
            thread.join(10)


# Choices and keys


def test_the_list_of_models_needs_neither_torch_nor_timm():
    code = "import sys, model_zoo; model_zoo.keys(); print([n for n in ('torch', 'timm', 'torchvision', 'huggingface_hub') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip() == "[]"


@pytest.mark.parametrize("choice", model_zoo.keys(), ids=lambda choice: choice.key)
def test_every_model_on_offer_exists_under_exactly_its_key(choice):
    assert sources.find(choice.key).key == choice.key


def test_a_timm_name_without_a_tag_means_the_weights_timm_prefers():
    assert sources.find("timm/resnet50").key == "timm/resnet50.a1_in1k"


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("resnet50", "timm/resnet50.a1_in1k"),
        ("timm/convnext", "timm/convnext_tiny.fb_in1k"),
        ("timm/resnet5O.a1_in1k", "timm/resnet50.a1_in1k"),
        ("torchvision/squeezenet", "torchvision/squeezenet1_0"),
        ("bundled/mnist", "digits"),
    ],
)
def test_a_key_that_does_not_exist_is_answered_with_near_ones(key, near):
    with pytest.raises(ModelLoadError, match=key.rpartition("/")[2]) as refusal:
        model_zoo.load(key)
    assert near in str(refusal.value)


HOSTILE = {
    "timm/hf-hub:someone/model": "timm has no trained model",
    "timm/local-dir:/etc": "timm has no trained model",
    "timm/../../etc/passwd": "timm has no trained model",
    "timm/resnet50.a1_in1k/../x": "timm has no trained model",
    "timm/resnet50.a1_in1k\n": "timm has no trained model",
    "timm/": "timm has no trained model",
    "torchvision/fasterrcnn_resnet50_fpn": "torchvision has no classifier",
    "bundled/../../secret": "no bundled model",
    "": "no model “”",
    "../x": "none is opened by its name",
    "/etc/passwd": "none is opened by its name",
    "~/model.pth": "none is opened by its name",
    "C:\\models\\x.pth": "none is opened by its name",
    "local-dir:/etc": "none is opened by its name",
    "local-dir:../../etc": "none is opened by its name",
    "file:///etc/passwd": "not an address that models are taken from",
    "https://example.org/owner/name": "not an address that models are taken from",
    "http://169.254.169.254/latest/meta-data": "not an address that models are taken from",
    "hf-hub:": "names no repository",
    "hf-hub:one": "names no repository",
    "hf-hub:/etc/passwd": "names no repository",
    "hf_hub:../../x": "names no repository",
    "hf-hub:owner/name/../../x": "names no repository",
    "hf-hub:owner/name@main": "names no repository",
    "hf-hub:owner/name?download=1": "names no repository",
    "hf-hub:ow ner/name": "names no repository",
    "hf-hub:owner/näme": "names no repository",
    "hf-hub:owner/name.git": "names no repository",
    "https://huggingface.co/../../x": "not an address that models are taken from",
    "a" * 10_000: "no model “aaa",
    "\x00\x1b[31mred": "no model “  \\[31mred”",
    "<img src=x onerror=alert(1)>": "no model “<img",  # the page escapes what it shows
    "名前/模型": "no model “名前/模型”",
}


@pytest.mark.parametrize("key", HOSTILE, ids=lambda key: ascii(key[:40]))
def test_a_key_cannot_reach_past_the_listed_models(key, hub, monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda *_arguments, **_settings: pytest.fail("a network was built"))
    with pytest.raises(ModelLoadError, match=HOSTILE[key]) as refusal:
        model_zoo.load(key)
    assert len(str(refusal.value)) < 400 and hub.requests == []


@pytest.mark.parametrize("text", ["hf-hub:a..b/c", "hf-hub:a--b/c", "hf-hub:-a/b", "hf-hub:a/b-", "hf-hub:a/.b", "hf-hub:timm/resnet.a_b-1"])
def test_the_library_of_the_hub_takes_every_repository_that_we_take(text):
    from huggingface_hub.utils import validate_repo_id

    repository = hub_repository(text)
    assert (repository is None) == (text != "hf-hub:timm/resnet.a_b-1")
    if repository:
        validate_repo_id(repository)


def test_a_model_too_large_for_memory_is_refused_before_a_byte_is_asked_for(hub):
    with pytest.raises(ModelLoadError, match=r"convnextv2_huge.fcmae_ft_in1k needs 2.6 GB of memory; 1.0 GB are allowed"):
        model_zoo.load("timm/convnextv2_huge.fcmae_ft_in1k")
    assert hub.requests == []


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2.lvd142m", "vit_base_patch32_clip_224.openai", "vit_7b_patch16_dinov3.lvd1689m"])
def test_a_model_without_classes_is_refused(name):
    with pytest.raises(ModelLoadError, match="features, not classes"):
        model_zoo.load(f"timm/{name}")


def test_bundled_models_need_no_download():
    assert model_zoo.needs_download("bundled/digits") is None


def test_the_size_of_a_download_is_known_without_a_network(caches):
    # 25,557,032 parameters and 53,120 running statistics of 4 bytes, and 53 counters of 8
    assert model_zoo.needs_download("timm/resnet50.a1_in1k") == 4 * (25_557_032 + 53_120) + 8 * 53


# Labels


def test_the_thousand_imagenet_labels_are_unique_and_short():
    labels = imagenet_labels(1000)
    assert len(set(labels)) == 1000
    assert (labels[0], labels[574], labels[497]) == ("tench", "golf ball", "church")


def test_two_classes_of_one_name_are_told_apart_by_their_definitions():
    labels = imagenet_labels(1000)
    assert labels[134] == "crane: large long-necked wading bird of ..."
    assert labels[517].startswith("crane: lifts and moves heavy objects")


def test_labels_that_cannot_be_told_apart_get_their_class_number():
    assert unique(["a", "b", "a"]) == ("a (0)", "b", "a (2)")


# Downloads


def test_a_download_reports_its_progress_in_bytes_and_gives_a_working_model(hub):
    hub.half = True
    watcher = Watcher(halfway=hub.released.set)
    model = model_zoo.load(KEY, watcher)
    assert f"Downloading {NAME}: 0.8 of 2 MB" in watcher.texts, watcher.texts  # whole pieces of 0.26 MB
    assert watcher.fractions == sorted(watcher.fractions) and watcher.fractions[-1] == 1.0
    assert model.classes == 1000 and model.preprocessing.size == (160, 160)


def test_downloaded_weights_are_the_published_ones(hub):
    torch.manual_seed(0)
    network = timm.create_model("test_resnet").eval()
    pixels = torch.rand(1, 3, 160, 160)
    model = model_zoo.load(KEY)
    mean = torch.tensor(model.preprocessing.mean).view(1, 3, 1, 1)
    std = torch.tensor(model.preprocessing.std).view(1, 3, 1, 1)
    with torch.no_grad():
        # the same network on the same machine: only the order of sums may differ
        assert torch.allclose(model.logits(pixels), network((pixels - mean) / std), atol=1e-5)


def test_a_model_on_disk_is_loaded_without_a_single_request(hub, monkeypatch):
    model_zoo.load(KEY)
    asked = len(hub.requests)
    sources.CACHE.clear()
    assert model_zoo.needs_download(KEY) is None
    model_zoo.load(KEY)
    assert asked > 0 and len(hub.requests) == asked


def test_a_model_in_memory_is_returned_as_it_is(hub):
    assert model_zoo.load(KEY) is model_zoo.load(KEY)


def test_weights_in_the_older_format_are_found_where_there_are_no_safetensors(hub, published, tmp_path):
    from safetensors.torch import load

    torch.save(load(published), tmp_path / "old.bin")
    hub.files = {FILE.replace("model.safetensors", "pytorch_model.bin"): (tmp_path / "old.bin").read_bytes()}
    assert model_zoo.load(KEY).classes == 1000


def test_stop_ends_a_stalled_download_at_once(hub):
    hub.half = True
    started = time.monotonic()
    with pytest.raises(Cancelled):
        model_zoo.load(KEY, Watcher())
    assert time.monotonic() - started < 8  # a stalled read alone would last 10 s
    hub.released.set()
    _join_downloads()
    assert model_zoo.needs_download(KEY)


def test_after_stop_the_next_try_asks_for_the_rest_only(hub, published):
    hub.half = True
    with pytest.raises(Cancelled):
        model_zoo.load(KEY, Watcher())
    hub.half = False
    hub.released.set()
    _join_downloads()
    watcher = Watcher(halfway=lambda: None)
    assert model_zoo.load(KEY, watcher).classes == 1000
    (asked,) = hub.ranges
    kept = int(asked.removeprefix("bytes=").rstrip("-"))
    assert kept > len(published) * 0.3  # whole pieces of 0.26 MB of half the file
    assert hub.bodies[-1] == len(published) - kept
    assert watcher.fractions == sorted(watcher.fractions) and watcher.fractions[-1] == 1.0


def test_a_connection_that_breaks_in_the_middle_is_taken_up_again_within_the_same_download(hub, published):
    hub.drops = 1
    assert model_zoo.load(KEY).classes == 1000
    assert len(hub.ranges) == 1 and hub.sent < 1.5 * len(published)


def test_large_files_are_fetched_and_resumed_where_the_hub_keeps_them_and_no_password_goes_there(hub, published, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub.elsewhere, hub.drops = True, 1
    assert model_zoo.load(KEY).classes == 1000
    assert len(hub.ranges) == 1 and hub.sent < 1.5 * len(published)
    assert {token for host, token in hub.tokens if host == "127.0.0.1"} == {"Bearer secret"}
    assert {token for host, token in hub.tokens if host == "localhost"} == {""}


def test_a_host_that_breaks_off_and_stays_away_leaves_a_beginning_for_the_next_try(hub, caches, published, monkeypatch):
    from huggingface_hub import file_download

    plain = file_download.http_stream_backoff

    def gone_when_asked_for_the_rest(*arguments, headers, **settings):
        if "Range" in headers:
            raise OSError(errno.ECONNRESET, "Connection reset by peer")
        return plain(*arguments, headers=headers, **settings)

    hub.drops = 1
    monkeypatch.setattr(file_download, "http_stream_backoff", gone_when_asked_for_the_rest)
    with pytest.raises(ModelLoadError, match="cannot reach its host"):
        model_zoo.load(KEY)
    assert len(_partial_files(caches)) == 1 and model_zoo.needs_download(KEY)
    monkeypatch.setattr(file_download, "http_stream_backoff", plain)
    assert model_zoo.load(KEY).classes == 1000
    assert len(hub.ranges) == 1 and hub.sent < 1.5 * len(published) and _partial_files(caches) == []


def test_a_beginning_that_is_not_of_this_file_is_found_out_and_thrown_away(hub, caches, published):
    import hashlib

    partial = caches / "hub" / f"models--timm--{NAME}" / "blobs" / f"{hashlib.sha256(published).hexdigest()}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(1000))
    with pytest.raises(ModelLoadError, match="wrong checksum"):
        model_zoo.load(KEY)
    assert model_zoo.load(KEY).classes == 1000


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (401, "RepoNotFound", "gone or private"),
        (404, "RepoNotFound", "gone or private"),
        (403, "GatedRepo", "private or gated"),
        (404, "EntryNotFound", "does not have the file"),
        (429, "", "too many requests"),
        (500, "", "error 500"),
        (503, "", "error 503"),
    ],
)
def test_a_refusal_of_the_hub_is_one_sentence(hub, status, code, sentence):
    hub.status, hub.error_code = status, code
    with pytest.raises(ModelLoadError, match=sentence) as refusal:
        model_zoo.load(KEY)
    assert "Traceback" not in str(refusal.value) and "http" not in str(refusal.value)


def test_without_a_network_the_sentence_says_how_much_is_missing_within_seconds(caches, monkeypatch):
    with serve(Hub({})) as gone:
        address = gone.address
    _point_to(address, monkeypatch)
    started = time.monotonic()
    with pytest.raises(ModelLoadError, match="about 2 MB, and this machine cannot reach its host.*bundled models work without a network"):
        model_zoo.load(KEY)
    assert time.monotonic() - started < 15  # the hub's own retries would take 23 s


def test_a_host_that_never_answers_is_given_up(hub, monkeypatch):
    hub.mute = True
    monkeypatch.setattr(downloads, "ANSWER_SECONDS", 0.5)
    with pytest.raises(ModelLoadError, match="cannot reach its host"):
        model_zoo.load(KEY)


def test_a_download_that_falls_silent_is_given_up(hub, monkeypatch):
    hub.half = True
    monkeypatch.setattr(downloads, "SILENT_SECONDS", 0.5)
    with pytest.raises(ModelLoadError, match="has stopped sending"):
        model_zoo.load(KEY)


def test_bytes_that_are_not_the_published_ones_are_refused_and_not_kept(hub):
    hub.wrong_bytes = True
    with pytest.raises(ModelLoadError, match="wrong checksum"):
        model_zoo.load(KEY)
    hub.wrong_bytes = False
    assert model_zoo.load(KEY).classes == 1000


def test_a_disk_that_fills_up_is_one_sentence_and_gets_its_room_back(hub, caches, monkeypatch):
    def full(self, count):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(ModelLoadError, match="the disk is full"):
        patch.setattr(downloads.Transfer, "add", full)
        model_zoo.load(KEY)
    assert _partial_files(caches) == []
    assert model_zoo.load(KEY).classes == 1000


def test_a_disk_without_room_is_found_out_before_the_download(hub, published, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=len(published) - 1))
    with pytest.raises(ModelLoadError, match="the disk is full"):
        model_zoo.load(KEY)
    assert hub.sent == 0


@pytest.fixture
def web_weights(caches, published):
    """A file at a plain web address whose name ends in the first digits of its checksum, as torchvision's do."""
    import hashlib

    name = f"tiny-{hashlib.sha256(published).hexdigest()[:8]}.pth"
    with serve(Hub({name: published})) as server:
        yield server, downloads.UrlWeights("tiny", len(published), f"{server.address}/{name}")


def test_a_file_at_a_web_address_goes_into_the_cache_of_torch_hub(web_weights, published, caches):
    _server, weights = web_weights
    path = downloads.fetch(weights, sources.Alone())
    assert path.read_bytes() == published and path.parent == caches / "torch" / "hub" / "checkpoints"
    assert weights.cached() == path


def test_a_wrong_file_at_a_web_address_is_refused_and_not_kept(web_weights, caches):
    server, weights = web_weights
    server.wrong_bytes = True
    with pytest.raises(ModelLoadError, match="wrong checksum"):
        downloads.fetch(weights, sources.Alone())
    assert weights.cached() is None and _partial_files(caches) == []


def test_a_file_that_was_there_before_is_never_removed_or_replaced(web_weights):
    server, weights = web_weights
    weights.path.parent.mkdir(parents=True)
    weights.path.write_bytes(b"the user's own")  # its checksum does not fit its name
    assert downloads.fetch(weights, sources.Alone()).read_bytes() == b"the user's own"
    assert server.requests == []


@pytest.fixture
def damaged(hub, caches) -> Path:
    """A file of the hub's cache that was whole when it was downloaded, with one bit turned over since."""
    model_zoo.load(KEY)
    (path,) = (caches / "hub").rglob("model.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    sources.CACHE.clear()
    hub.requests.clear()
    return path


def test_a_damaged_file_of_the_hub_is_downloaded_again(damaged, hub, published):
    assert model_zoo.load(KEY).classes == 1000
    assert damaged.read_bytes() == published and hub.requests


def test_a_damaged_file_without_a_network_is_one_sentence(damaged, hub):
    hub.status = 503
    with pytest.raises(ModelLoadError, match="on this machine is damaged. It needs a download of about 2 MB, and its host answers with error 503"):
        model_zoo.load(KEY)


def test_a_file_that_arrives_wrong_a_second_time_is_one_sentence(damaged, hub):
    hub.wrong_bytes = True
    with pytest.raises(ModelLoadError, match="wrong checksum"):
        model_zoo.load(KEY)
    assert len([request for request in hub.requests if request.startswith("GET")]) == 1


def test_the_run_of_a_technique_can_follow_a_download_and_stop_it(hub):
    from techniques.base import Run

    hub.half = True
    stop = threading.Event()
    with pytest.raises(Cancelled):
        model_zoo.load(KEY, Run(report=lambda fraction, text: stop.set(), stop=stop))


# One model for several visitors


def test_two_threads_that_want_one_model_load_it_once():
    cache, model, made, began, finish = ModelCache(10**9), tiny_models.cnn(), [], threading.Event(), threading.Event()

    def make():
        made.append(1)
        began.set()
        finish.wait(10)
        return model

    results = []
    threads = [threading.Thread(target=lambda: results.append(cache.get("one", model.bytes, make, lambda: None))) for _ in range(2)]
    threads[0].start()
    began.wait(10)
    threads[1].start()
    finish.set()
    for thread in threads:
        thread.join(10)
    assert made == [1] and results == [model, model]


def test_a_visitor_who_waits_for_another_ones_load_can_stop():
    cache, began, finish = ModelCache(10**9), threading.Event(), threading.Event()
    model = tiny_models.cnn()

    def make():
        began.set()
        finish.wait(10)
        return model

    def stop():
        raise Cancelled

    thread = threading.Thread(target=lambda: cache.get("one", model.bytes, make, lambda: None))
    thread.start()
    began.wait(10)
    with pytest.raises(Cancelled):
        cache.get("one", model.bytes, make, stop)
    finish.set()
    thread.join(10)
    assert cache.find("one") is model


# torchvision


@pytest.mark.parametrize("name", ["squeezenet1_0", "resnet50", "efficientnet_v2_s", "vit_b_16", "inception_v3"])
def test_torchvision_pictures_come_out_as_its_own_transform_makes_them(name):
    from torchvision import models

    transform = models.get_model_weights(name).DEFAULT.transforms()
    preprocessing = Preprocessing.of_torchvision(transform)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (333, 487, 3), dtype=np.uint8))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    # the same resize and crop of the same bytes; the normalisation may round once more in float32
    assert torch.allclose((preprocessing.pixels(image)[0] - mean) / std, transform(image), atol=1e-6)


@pytest.fixture
def squeezenet_file(caches) -> Path:
    """Where torchvision looks for SqueezeNet's weights under TORCH_HOME."""
    path = caches / "torch" / "hub" / "checkpoints" / "squeezenet1_0-b66bff10.pth"
    path.parent.mkdir(parents=True)
    return path


def test_a_torchvision_model_loads_from_torch_home_without_a_network(squeezenet_file):
    from torchvision import models

    network = models.squeezenet1_0().eval()
    torch.save(network.state_dict(), squeezenet_file, _use_new_zipfile_serialization=False)  # the format of the published file
    model = model_zoo.load("torchvision/squeezenet1_0")
    pixels = torch.rand(1, 3, 224, 224)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.preprocessing.mean, model.preprocessing.std))
    assert torch.allclose(model.logits(pixels), network((pixels - mean) / std), atol=1e-5)  # the order of sums may differ
    assert (model.label(574), model.default_layer, model.title) == ("golf ball", "features", "SqueezeNet 1.0")


def test_a_file_of_weights_that_would_run_code_is_refused_and_does_not(squeezenet_file, tmp_path):
    class Harmful:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harm",)

    torch.save({"features.0.weight": Harmful()}, squeezenet_file)
    with pytest.raises(ModelLoadError, match="could not be read"):
        model_zoo.load("torchvision/squeezenet1_0")
    assert not (tmp_path / "harm").exists()


def test_squeezenet_from_torch_home_recognises_photographs(shared_folder, squeezenet_file):
    published = shared_folder / "torch_home" / "hub" / "checkpoints" / squeezenet_file.name
    archive = shared_folder / "data" / "imagenette2-160.tar.gz"
    if not published.is_file() or not archive.is_file():
        pytest.skip("the shared folder has no SqueezeNet weights or no Imagenette archive")
    shutil.copy(published, squeezenet_file)  # the shared folder is only read
    model = model_zoo.load("torchvision/squeezenet1_0")
    photographs = _first_photographs(archive, {"n03445777": "golf ball", "n03028079": "church"})
    recognised = [
        model.find_label(label) in model.probabilities(model.preprocessing.pixels(image))[0].topk(5).indices.tolist() for label, image in photographs
    ]
    assert model.default_layer == "features" and sum(recognised) >= 3, recognised  # by chance none of six would be right


def _first_photographs(archive: Path, labels: dict[str, str], each: int = 3) -> list[tuple[str, Image.Image]]:
    """The first photographs of some classes in the archive, read one after the other and only as far as needed."""
    import tarfile

    wanted = {folder: each for folder in labels}
    found = []
    with tarfile.open(archive, "r|gz") as members:
        for member in members:
            folder = member.name.split("/")[-2] if member.isfile() else ""
            if wanted.get(folder, 0) and member.name.endswith(".JPEG"):
                found.append((labels[folder], Image.open(members.extractfile(member)).convert("RGB")))
                wanted[folder] -= 1
            if not any(wanted.values()):
                break
    return found
