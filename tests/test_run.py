"""Run: progress, Stop, the deadline, and answers that are shown before they are finished."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from techniques.base import Cancelled, Note, OutOfTime, Picture, Run
from techniques.base import run as run_module


class Clock:
    """Takes the place of `time.monotonic`: it goes forward only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(run_module, "time", clock)
    return clock


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.mark.parametrize(("items", "expected"), [(3, [0, 1, 2]), ("abc", ["a", "b", "c"]), ((n * n for n in range(3)), [0, 1, 4]), (0, []), ([], [])])
def test_steps_hands_on_every_item_in_order(items, expected):
    assert list(Run().steps(items, "Step")) == expected


def test_steps_reports_the_share_that_is_done_before_each_step_and_one_at_the_end():
    reports = []
    for _ in Run(report=lambda *report: reports.append(report)).steps(4, "PGD step"):
        pass
    assert reports == [
        (0.0, "PGD step 1 of 4"), (0.25, "PGD step 2 of 4"), (0.5, "PGD step 3 of 4"), (0.75, "PGD step 4 of 4"), (1.0, "PGD step"),
    ]  # fmt: skip


def test_a_stop_during_a_step_ends_the_run_before_the_next_one(stop):
    done = []
    with pytest.raises(Cancelled):
        for step in Run(stop=stop).steps(5, "Step"):
            done.append(step)
            if step == 1:
                stop.set()
    assert done == [0, 1]


def test_a_run_that_was_stopped_before_it_began_takes_no_step(stop):
    stop.set()
    with pytest.raises(Cancelled):
        next(Run(stop=stop).steps(5, "Step"))


def test_check_is_silent_until_stop_is_set(stop):
    run = Run(stop=stop, seconds=60)
    run.check()
    stop.set()
    with pytest.raises(Cancelled):
        run.check()


def test_the_deadline_is_kept_and_its_sentence_names_it(clock):
    run = Run(seconds=2.5)
    clock.now += 2.5
    run.check()
    clock.now += 0.01
    with pytest.raises(OutOfTime, match=r"longer than the 2\.5 s allowed here"):
        run.check()


def test_a_stop_goes_before_the_deadline(clock, stop):
    run = Run(stop=stop, seconds=1)
    stop.set()
    clock.now += 2
    with pytest.raises(Cancelled):
        run.check()


def test_without_a_deadline_a_run_may_take_as_long_as_it_likes(clock):
    run = Run()
    clock.now += 10**9
    run.check()


def test_guard_hands_on_arguments_and_answer():
    assert Run().guard(divmod)(17, 5) == (3, 2)
    assert Run().guard(int)("11", base=2) == 3


def test_guard_refuses_every_call_after_a_stop(stop):
    calls = []
    guarded = Run(stop=stop).guard(calls.append)
    guarded("before")
    stop.set()
    with pytest.raises(Cancelled):
        guarded("after")
    assert calls == ["before"]


def test_show_hands_out_numpy_arrays_without_a_graph():
    shown = []
    values = torch.full((3, 2, 2), 0.5, requires_grad=True)
    Run(show=shown.append).show(lambda: Picture(values * 1, label="half"))
    (picture,) = shown
    assert isinstance(picture.values, np.ndarray) and picture.values.sum() == 6.0 and picture.label == "half"


def test_an_answer_that_nobody_watches_is_not_even_made():
    made = []
    Run().show(lambda: made.append(Note("unseen")))
    assert made == []


def test_what_was_shown_stays_as_it_was_when_the_technique_goes_on_writing():
    shown, pixels, counts = [], torch.zeros(3, 2, 2), np.zeros(2)
    Run(show=shown.append).show(lambda: (Picture(pixels), Picture(counts)))
    pixels += 1
    counts += 1
    assert [picture.values.sum() for picture in shown[0]] == [0, 0]


def test_of_answers_at_every_step_two_are_shown_at_once_and_then_one_in_each_pause(clock):
    made, run = [], Run(show=lambda value: None, pause=0.25)
    for step in range(101):  # 1 s, a hundredth at each step
        run.show(lambda step=step: made.append(step))
        clock.now += 0.01
    assert made[:2] == [0, 1] and len(made) == 6
    assert all(after - before >= 24 for before, after in zip(made[1:], made[2:]))  # hundredths; the first two are one ahead


def test_answers_that_take_long_to_make_leave_half_of_the_time_to_the_work(clock):
    def make() -> None:
        clock.now += 1
        made.append(clock.now)

    made, run = [], Run(show=lambda value: None, pause=0.25)
    while clock.now < 200:
        run.show(make)
        clock.now += 0.25
    assert 45 <= len(made) <= 55  # of 100 s, each takes one


def test_without_a_pause_every_answer_is_shown(clock):
    made, run = [], Run(show=lambda value: None)
    for step in range(5):
        run.show(lambda step=step: made.append(step))
    assert made == [0, 1, 2, 3, 4]


def test_waiting_for_a_lock_that_others_hold_ends_with_stop():
    lock, taken, done = threading.RLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            done.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    taken.wait(30)
    stop = threading.Event()
    stop.set()
    try:
        with pytest.raises(Cancelled), Run(stop=stop).holding(lock):
            raise AssertionError("the lock was not free")
    finally:
        done.set()
        other.join()


def test_two_runs_that_each_want_the_others_lock_both_come_to_an_end():
    locks, both, done = (threading.RLock(), threading.RLock()), threading.Barrier(2), []

    def work(own: threading.RLock, other: threading.RLock) -> None:
        with own, own:  # the page holds it, and `execute` once more
            both.wait(30)
            with Run().holding_beside(own, own, other):
                done.append(own)

    threads = [threading.Thread(target=work, args=order) for order in (locks, locks[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 2
    assert all(lock.acquire(blocking=False) for lock in locks)  # none is left behind


def test_waiting_for_a_second_lock_ends_with_stop_and_the_first_one_is_still_held():
    own, other, taken, done = threading.RLock(), threading.RLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with other:
            taken.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(30)
    stop = threading.Event()
    stop.set()
    with own:
        with pytest.raises(Cancelled), Run(stop=stop).holding_beside(own, other):
            raise AssertionError("the lock was not free")
        own.release()  # raises when it is not held
        own.acquire()
    done.set()
    thread.join()
