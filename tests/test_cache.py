"""The memory for models: bounded in bytes, shared between visitors, given back."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace

import psutil
import pytest
import torch
from torch import nn

from model_zoo.cache import ModelCache, gigabytes
from model_zoo.errors import Cancelled, ModelLoadError
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing

MEGABYTE = 10**6


def model(key: str, megabytes: float = 1) -> LoadedModel:
    """A network with about so many megabytes of weights."""
    width = int(megabytes * MEGABYTE / 4 / 10)
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, width), nn.Linear(width, 9))
    return wrap(network, key=key, preprocessing=Preprocessing(1, (8, 8), (0.5,), (0.5,)))


def get(cache: ModelCache, key: str, megabytes: float = 1, check=lambda: None) -> LoadedModel:
    return cache.get(key, int(megabytes * MEGABYTE), lambda: model(key, megabytes), check)


def test_a_model_is_made_once():
    cache, made = ModelCache(10 * MEGABYTE), []
    for _ in range(3):
        cache.get("a", MEGABYTE, lambda: made.append(1) or model("a"), lambda: None)
    assert made == [1]


def test_the_least_recently_used_goes_first():
    cache = ModelCache(int(3.5 * MEGABYTE))
    for key in ("a", "b", "c", "a", "d"):
        get(cache, key)
    assert [key for key in "abcd" if cache.find(key)] == ["a", "c", "d"]


def test_room_is_made_before_a_model_is_built():
    cache = ModelCache(int(2.5 * MEGABYTE))
    get(cache, "a")
    get(cache, "b")
    held = []
    cache.get("c", MEGABYTE, lambda: held.append(cache.bytes()) or model("c"), lambda: None)
    assert held[0] <= cache.limit  # what is kept and the promise for the new one


def test_a_model_that_a_run_works_with_is_never_let_go():
    cache = ModelCache(int(2.5 * MEGABYTE))
    busy = get(cache, "busy")
    working, done = threading.Event(), threading.Event()

    def work() -> None:
        with busy.lock:
            working.set()
            done.wait()

    thread = threading.Thread(target=work)
    thread.start()
    working.wait()
    try:
        get(cache, "b")
        get(cache, "c")
        assert cache.find("busy") is busy and cache.find("b") is None
    finally:
        done.set()
        thread.join()


def test_a_model_waits_while_the_runs_of_others_fill_the_memory_and_can_be_stopped():
    cache = ModelCache(int(1.5 * MEGABYTE))
    held = get(cache, "held")  # no run holds it, yet somebody still has it: it counts
    looks = []

    def check() -> None:
        looks.append(cache.find("held"))
        if len(looks) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        get(cache, "next", check=check)
    assert held.bytes > 0 and cache.find("next") is None
    del held
    gc.collect()
    assert get(cache, "next").key == "next"


def test_a_model_that_finds_no_room_in_time_says_so(monkeypatch):
    monkeypatch.setattr("model_zoo.cache.PATIENCE", 0.2)
    cache = ModelCache(int(1.5 * MEGABYTE))
    held = get(cache, "held")
    with pytest.raises(ModelLoadError, match=r"^There is no memory for next \(1 MB\) while others work with their models\. Try again in a minute\.$"):
        get(cache, "next")
    assert held.key == "held"


def test_a_model_larger_than_the_limit_is_refused_before_anything_of_it_is_read():
    with pytest.raises(ModelLoadError, match=r"^timm/giant needs 26\.9 GB of memory; 1\.5 GB are allowed here\. Choose a smaller model\.$"):
        ModelCache(1500 * MEGABYTE).get("timm/giant", 26_900 * MEGABYTE, lambda: pytest.fail("it was built"), lambda: None)


def test_what_could_not_be_built_leaves_no_promise_behind():
    cache = ModelCache(int(1.5 * MEGABYTE))

    def broken() -> LoadedModel:
        raise ModelLoadError("damaged")

    with pytest.raises(ModelLoadError, match="damaged"):
        cache.get("broken", MEGABYTE, broken, lambda: None)
    assert cache.bytes() == 0 and get(cache, "sound").key == "sound"


def test_two_visitors_who_want_different_models_at_once_each_get_theirs():
    cache, both = ModelCache(10 * MEGABYTE), threading.Barrier(2, timeout=30)
    found = {}

    def visit(key: str) -> None:
        def make() -> LoadedModel:
            both.wait()  # neither waits for the other to be finished
            return model(key)

        found[key] = cache.get(key, MEGABYTE, make, lambda: None)

    visitors = [threading.Thread(target=visit, args=(key,)) for key in ("a", "b")]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert {key: kept.key for key, kept in found.items()} == {"a": "a", "b": "b"}


def test_fifty_models_in_turn_take_no_more_memory_than_the_limit_and_the_library_around_them():
    cache, process = ModelCache(40 * MEGABYTE), psutil.Process()
    with torch.no_grad():
        for number in range(4):  # until libraries have what they need themselves
            get(cache, f"first-{number}", 8)
    before = process.memory_info().rss
    for number in range(50):
        get(cache, f"model-{number}", 8)
        assert cache.bytes() <= cache.limit
    grown = process.memory_info().rss - before
    assert grown < 40 * MEGABYTE  # 50 models of 8 MB would be 400 MB


def test_a_forked_process_keeps_the_models_and_gets_locks_of_its_own():
    cache = ModelCache(10 * MEGABYTE)
    kept = get(cache, "a")
    locked = replace(kept, lock=threading.RLock())
    cache.get("b", MEGABYTE, lambda: cache.renew_locks() or model("b"), lambda: None)  # the fork comes while b is being built
    assert cache.bytes() == kept.bytes + cache.find("b").bytes
    assert cache.find("a").network is locked.network and cache.find("a").lock is not kept.lock
    assert get(cache, "b").key == "b"


@pytest.mark.parametrize(("count", "said"), [(26.9e9, "26.9 GB"), (1.5e9, "1.5 GB"), (4.5e8, "450 MB"), (4.5e7, "45 MB"), (4e4, "0 MB")])
def test_sizes_are_said_in_gigabytes_or_megabytes(count, said):
    assert gigabytes(int(count)) == said
