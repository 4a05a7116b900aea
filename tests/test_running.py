"""What Run does on the page: what is shown on the way is kept, so that a stopped run leaves something to save and to send on."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import techniques
from techniques.base import Animation, Note, Sample
from ui import running
from ui.running import fill_panels, run_handler
from ui.session import Sessions
from ui.settings import read_settings
from ui.worker import Done, Failed, Preview, Progress, Stopped

SALIENCY = techniques.find("saliency")
FILM = Animation(np.linspace(0, 1, 4, dtype=np.float32).repeat(12).reshape(4, 3, 2, 2), names=("a", "b", "c", "d"))


@pytest.fixture
def press(monkeypatch, tiny_models):
    """Runs the handler over the events of a run: (all outputs after each event, the session)."""
    model = tiny_models["cnn"]
    sessions = Sessions(model.key)
    session = sessions.create("page")
    session.picture = Sample.from_pixels(np.zeros((3, 32, 32), np.float32), "noise")
    monkeypatch.setattr(running.model_zoo, "load", lambda key: model)
    handler = run_handler(SALIENCY, [], sessions, read_settings([]), partial(fill_panels, SALIENCY, ["result"]))

    def press(*events):
        monkeypatch.setattr(running, "dispatch", lambda *given: iter(events))
        return list(handler(session.id, "", "", 0, False))[1:], session

    return press


def test_an_answer_that_is_shown_on_the_way_is_kept_until_the_next_one(press):
    outputs, session = press(Preview(Note("early"), "step 1 of 9"), Preview(Note("later"), "step 4 of 9"), Progress(0.6, "step 6 of 9"), Stopped())
    kept = session.answers["saliency"]
    assert (kept.answer.text, kept.unfinished) == ("later", "step 4 of 9")
    status, run, stop, download, panel, told = outputs[-1]
    assert "Stopped at step 4 of 9. What is shown is as far as it came." in status and "later" in panel
    assert run.interactive and "disabled" in stop and "data-ring='save' data-technique='saliency'" in download
    assert told == running.gr.skip()  # no address and no walk tells of a run that did not end


def test_a_finished_answer_takes_the_place_of_what_was_shown_before(press):
    outputs, session = press(Preview(Note("early"), "step 1 of 9"), Done(Note("all")))
    assert (session.answers["saliency"].answer.text, session.answers["saliency"].unfinished) == ("all", "")
    assert "lp-done" in outputs[-1][0] and "data-ran='saliency'" in outputs[-1][-1]


def test_at_the_deadline_the_sentence_says_both_why_and_what_is_there(press):
    outputs, session = press(Preview(Note("early"), "step 1 of 9"), Failed("This took longer than the 60 s allowed here."))
    assert "allowed here. What is shown is as far as it came." in outputs[-1][0] and "early" in outputs[-1][4]
    assert "data-ring='save'" in outputs[-1][3] and session.answers["saliency"].unfinished == "step 1 of 9"


@pytest.mark.parametrize(("event", "said"), [(Stopped(), "Stopped. There was nothing to show yet."), (Failed("No."), "No.")])
def test_a_run_that_came_to_nothing_leaves_the_answer_before(press, event, said):
    press(Done(Note("before")))
    outputs, session = press(Progress(0.1, "step 1 of 9"), event)
    assert said in outputs[-1][0] and outputs[-1][4] == running.gr.skip()
    assert session.answers["saliency"].answer.text == "before"


def test_while_it_runs_only_the_latest_frame_goes_to_the_page_and_all_are_kept(press):
    outputs, session = press(Preview(FILM, "step 4 of 9"), Stopped())
    on_the_way, stopped = outputs[0][4], outputs[-1][4]
    assert len(on_the_way) < len(stopped) and len(session.answers["saliency"].answer.frames) == 4


def test_on_the_way_the_page_is_sent_only_what_is_new_and_at_the_end_everything(press, monkeypatch):
    monkeypatch.setattr(running, "PER_SECOND", 1e12)  # nothing waits
    monkeypatch.setattr(running, "NEWS", 1e12)
    outputs, _ = press(Preview(Note("same"), "step 1 of 9"), Preview(Note("same"), "step 2 of 9"), Preview(Note("other"), "step 3 of 9"), Stopped())
    panel = [output[4] for output in outputs]
    assert "same" in panel[0] and panel[1] == running.gr.skip() and "other" in panel[2] and "other" in panel[3]


def test_a_page_is_sent_no_more_than_a_line_carries_and_the_latest_is_kept_all_the_same(press, monkeypatch):
    monkeypatch.setattr(running, "PER_SECOND", 0.001)  # the first holds the line for as long as the test runs
    outputs, session = press(*(Preview(Note(f"number {number}"), f"step {number} of 9") for number in range(9)), Stopped())
    assert len(outputs) == 2 and "number 0" in outputs[0][4] and "number 8" in outputs[1][4]
    assert session.answers["saliency"].answer.text == "number 8"


def test_a_page_is_told_of_a_run_a_few_times_a_second_and_of_its_end_at_once(press):
    outputs, _ = press(*[Progress(step / 100, f"step {step} of 100") for step in range(100)], Done(Note("all")))
    assert len(outputs) <= 3 and "step 0 of 100" in outputs[0][0] and "lp-done" in outputs[-1][0]  # a hundred events take no third of a second
