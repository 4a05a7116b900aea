"""What stands between Loupe and its visitors: the gate, the worker that runs their work, and what is kept of them."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from model_zoo.errors import ParameterError
from techniques.base import Heatmap, Note, Run
from tests.page_server import UPLOAD_MB
from ui import files, guard, session, worker
from ui.session import Answered, Sessions
from ui.settings import read_settings
from ui.worker import Done, Failed, Preview, Progress, Stopped, in_worker, until

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 1_000_000
FILE = {"meta": {"_type": "gradio.FileData"}}
CHUNK = 64 * 1024


# The gate


def ask(server, path: str, method: str = "GET", body=None, headers: dict[str, str] | None = None, chunked: bool = False) -> tuple[int, str, dict]:
    """One plain request, its path sent as it is written: (status, text, headers with lower-case names)."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    try:
        connection.request(method, path, body, headers or {}, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, answer.read(MEGABYTE).decode(errors="replace"), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def alive(server) -> bool:
    return ask(server, "/config")[0] == 200


def test_a_body_above_the_limit_is_refused_by_its_declared_length(server):
    status, text, _ = ask(server, "/gradio_api/queue/join", "POST", headers={"Content-Length": str(4 * MEGABYTE + 1)})
    assert (status, text) == (413, "This request is too large; the limit is 4 MB.")


def test_all_files_of_an_upload_together_may_be_as_large_as_the_largest_file(server):
    status, text, _ = ask(server, "/gradio_api/upload", "POST", headers={"Content-Length": str((UPLOAD_MB + 1) * MEGABYTE + 1)})
    assert (status, text) == (413, f"This request is too large; the limit is {UPLOAD_MB + 1} MB.")


def test_an_upload_that_would_fill_the_disk_is_refused(monkeypatch):
    full = shutil.disk_usage("/")._replace(free=guard.SPARE + 99)
    monkeypatch.setattr(guard.shutil, "disk_usage", lambda _folder: full)
    sent = []

    async def send(message) -> None:
        sent.append(message)

    async def app(_scope, _receive, _send) -> None:
        sent.append("reached")

    async def receive() -> dict:
        return {}

    for length in (b"100", b"99"):
        scope = {"type": "http", "path": "/gradio_api/upload", "headers": [(b"content-length", length)]}
        with ThreadPoolExecutor(1) as pool:  # the browser's tests may run a loop in this thread
            pool.submit(lambda scope=scope: asyncio.run(guard.Guard(app, UPLOAD_MB)(scope, receive, send))).result()
    assert (sent[0]["status"], sent[1]["body"]) == (507, b"The storage of this server is full. Please try again later.")
    assert sent[2:] == ["reached"]


def test_one_uploaded_file_may_not_be_larger_than_the_limit(server):
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="large.png"\r\nContent-Type: image/png\r\n\r\n'
    body = head + bytes(UPLOAD_MB * MEGABYTE + 1000) + b"\r\n--x--\r\n"
    assert ask(server, "/gradio_api/upload", "POST", body, {"Content-Type": "multipart/form-data; boundary=x"})[0] == 413


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/call/saliency"])
def test_a_body_without_a_length_is_cut_off_at_the_limit(server, path):
    pieces = (b" " * CHUNK for _ in range(6 * MEGABYTE // CHUNK))
    try:
        status, _, _ = ask(server, path, "POST", pieces, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}, chunked=True)
    except (ConnectionError, http.client.HTTPException):
        status = 400  # the server hung up while we were sending
    assert status >= 400 and alive(server)


@pytest.mark.parametrize(
    "address",
    ["http://example.com/", "https://example.com/x.png", "%68ttp://example.com/", "%2568ttp://example.com/", "HTTP://example.com/", "http://127.0.0.1:22/"],
)
@pytest.mark.parametrize("start", ["/gradio_api/file=", "/gradio_api/file/", "/gradio_api/proxy=", "/file=", "/gradio_api/file%3D"])
def test_no_file_is_fetched_from_an_address(server, start, address):
    status, text, _ = ask(server, start + address)
    assert status in (403, 404) and "Example Domain" not in text
    assert server.asked_for() == []


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/file=/etc/passwd", "/no/such/page", "/gradio_api/proxy=http://example.com"])
def test_browsers_may_not_guess_content_types(server, path):
    assert ask(server, path)[2]["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=//etc/passwd", "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file=file:///etc/passwd", "/gradio_api/file=/proc/self/environ", "/gradio_api/file=app.py", f"/gradio_api/file={ROOT}/app.py", "/file=/etc/passwd",
        "/assets/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/static/../../../../etc/passwd",
        "/gradio_api/file=%2Fetc%2Fpasswd", "/gradio_api/file=C:/windows/win.ini",
    ],
)  # fmt: skip
def test_files_of_the_machine_are_not_served(server, path):
    status, text, _ = ask(server, path)
    assert status in (403, 404) and "root:" not in text and "import" not in text


# What comes as a picture through the API


def call(server, name: str, *values) -> str | None:
    """The error of one call by plain HTTP; None when Gradio tells none."""
    status, text, _ = ask(server, f"/gradio_api/call/{name}", "POST", json.dumps({"data": values}), {"Content-Type": "application/json"})
    assert status == 200, text
    _, text, _ = ask(server, f"/gradio_api/call/{name}/{json.loads(text)['event_id']}")
    assert "event: error" in text and "Traceback" not in text
    return json.loads(text.split("data: ", 1)[1])["error"]


OUTSIDE = "This file has not been uploaded. Upload the file itself."
ELSEWHERE = "Loupe fetches no files from other addresses. Upload the picture itself."


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"path": "/etc/passwd", **FILE}, None),
        ({"path": str(ROOT / "ui/samples/cat.jpg"), **FILE}, None),
        ({"path": str(ROOT / "ui/samples/cat.jpg")}, OUTSIDE),
        ({"path": "ui/samples/cat.jpg"}, OUTSIDE),
        ({"path": "http://example.com/cat.png", **FILE}, ELSEWHERE),
        ({"path": "https://example.com/cat.png", **FILE}, ELSEWHERE),
        ({"url": "data:image/png;base64,iVBORw0KGgo=", **FILE}, "The call has no picture. Pass one as “image”."),
        ({"url": "http://example.com/cat.png", **FILE}, "The call has no picture. Pass one as “image”."),
        (None, "The call has no picture. Pass one as “image”."),
    ],
)
def test_only_an_uploaded_file_is_taken_as_a_picture(server, payload, error):
    assert call(server, "saliency", payload, "bundled/digits", None, "max", "model") == error
    assert server.asked_for() == []


def test_no_other_parameter_makes_the_server_fetch_an_address(server):
    assert call(server, "saliency", None, {"path": "http://example.com/model", **FILE}, None, "max", "model") == ELSEWHERE
    assert server.asked_for() == []


def test_a_file_of_the_machine_is_no_picture_of_a_set_either(server):
    cats = [{"path": str(ROOT / "ui/samples/cat.jpg")}] * 2
    assert call(server, "average_activation", cats, "bundled/imagenette", "pictures", "2", True, "model") is None


# Options


@pytest.fixture
def no_settings(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("LOUPE_", "SPACE_"))]:
        monkeypatch.delenv(name)


def test_without_options_the_app_is_private_and_opens_with_the_bundled_model(no_settings):
    settings = read_settings([])
    assert (settings.host, settings.port, settings.share, settings.mcp) == (None, None, False, False)
    assert (settings.model, settings.max_upload_mb, settings.seconds) == ("bundled/imagenette", 1000, 600)


def test_environment_variables_set_what_the_command_line_leaves_open(no_settings, monkeypatch):
    given = {"HOST": "0.0.0.0", "PORT": "7999", "MODEL": "bundled/digits", "MAX_UPLOAD_MB": "5", "SECONDS": "30", "SHARE": "1", "MCP": "true"}
    for name, value in given.items():
        monkeypatch.setenv(f"LOUPE_{name}", value)
    settings = read_settings(["--port", "8001", "--model", "torchvision/squeezenet1_0"])
    assert (settings.host, settings.max_upload_mb, settings.seconds, settings.share, settings.mcp) == ("0.0.0.0", 5, 30, True, True)
    assert (settings.port, settings.model) == (8001, "torchvision/squeezenet1_0")


def test_a_number_that_is_none_is_told_by_name(no_settings, monkeypatch, capsys):
    monkeypatch.setenv("LOUPE_PORT", "many")
    with pytest.raises(SystemExit):
        read_settings([])
    assert "argument --port: invalid int value: 'many'" in capsys.readouterr().err


def test_a_space_gives_a_run_one_minute_and_an_upload_less_room(no_settings, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/loupe")
    assert (read_settings([]).seconds, read_settings([]).max_upload_mb) == (60, 200)


# The worker


def last_of(events) -> object:
    last = None
    for last in events:
        pass
    return last


def endless(run: Run, ended: threading.Event) -> None:
    """Work that ends only when it is told to."""
    pause = threading.Event()
    try:
        while True:
            run.check()
            pause.wait(0.01)
    finally:
        ended.set()


def test_work_tells_its_progress_a_first_picture_and_its_answer():
    heard, shown = threading.Event(), Note("so far")

    def work(run: Run) -> str:
        run.report(0.5, "half")
        assert heard.wait(5)
        run.show(lambda: shown)
        return "answer"

    seen = []
    for event in in_worker(work, 60):
        seen.append(event)
        if event == Progress(0.5, "half"):
            heard.set()
    assert Progress(0.5, "half") in seen and seen[-1] == Done("answer")
    assert [(event.value.text, event.text) for event in seen if isinstance(event, Preview)] == [("so far", "half")]


def test_a_slow_reader_is_told_the_latest_of_each_kind(monkeypatch):
    monkeypatch.setattr(worker, "SHOWN_EVERY", 0)
    ended = threading.Event()

    def work(run: Run) -> str:
        for step in run.steps(50, "Step"):
            run.show(lambda: Note(f"after {step}"))
        ended.set()
        return "answer"

    events = in_worker(work, 60)
    next(events)
    assert ended.wait(5)
    seen = list(events)
    assert len(seen) < 10 and seen[-1].value == "answer"
    assert [event.value.text for event in seen if isinstance(event, Preview)][-1] == "after 49"


def test_silent_work_is_heard_of_all_the_same():
    silent = threading.Event()
    events = in_worker(lambda run: silent.wait(10), 60)
    assert [next(events) for _ in range(3)] == [Progress(0.0, "")] * 3  # at every heartbeat, or this would take ten seconds
    silent.set()
    assert last_of(events) == Done(True)


FAULTS = (ValueError("secret /etc/passwd"), SystemExit(3), KeyboardInterrupt(), MemoryError("secret"))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_an_unknown_fault_becomes_a_code_and_is_logged_whole(fault, caplog):
    def work(run: Run) -> None:
        raise fault

    with caplog.at_level(logging.ERROR, "loupe"):
        last = last_of(in_worker(work, 60))
    assert isinstance(last, Failed) and "secret" not in last.text
    code = last.text.split()[2].rstrip(":")
    assert last.text.startswith(f"Internal error {code}: ") and len(code) == 6
    (record,) = caplog.records
    assert code in record.getMessage() and record.exc_info[1] is fault


def test_a_known_fault_keeps_its_sentence():
    def work(run: Run) -> None:
        raise ParameterError("Epsilon: received '99'.")

    assert last_of(in_worker(work, 60)) == Failed("Epsilon: received '99'.")


def test_work_is_stopped_within_a_second_when_nobody_listens_any_more():
    ended = threading.Event()
    events = in_worker(lambda run: endless(run, ended), 60)
    next(events)
    events.close()
    assert ended.wait(1)


def test_stop_ends_the_work_within_a_second_and_is_the_last_event():
    ended, stop = threading.Event(), threading.Event()
    events = until(stop, in_worker(lambda run: endless(run, ended), 60))
    assert isinstance(next(events), Progress)
    stop.set()
    assert list(events) == [Stopped()] and ended.wait(1)


def test_work_past_its_deadline_ends_with_a_sentence():
    ended = threading.Event()
    last = last_of(in_worker(lambda run: endless(run, ended), 0.3))
    assert last == Failed("This took longer than the 0.3 s allowed here and was stopped. Choose fewer steps or a smaller model.")


def test_a_technique_is_found_run_and_answered_by_name(tiny_models, monkeypatch, photograph):
    from techniques.base import Sample

    model = tiny_models["cnn"]
    monkeypatch.setattr(worker.model_zoo, "load", lambda key, run=None: model)
    last = last_of(worker.dispatch("saliency", Sample.from_image(photograph, model), model.key, {"target": "church"}, 60))
    assert isinstance(last, Done) and last.value.saliency.values.shape == (32, 32)
    refused = last_of(worker.dispatch("saliency", Sample.from_image(photograph, model), model.key, {"target": "church tower"}, 60))
    assert isinstance(refused, Failed) and "has no class “church tower”" in refused.text


def test_visitors_may_come_while_the_slow_packages_are_still_being_imported():
    """torchvision imports itself in circles: without one lock for all, Python told two of these three threads of a deadlock."""
    program = """
import threading, model_zoo
from model_zoo.deferred import timm, warm_up
faults, start = [], threading.Barrier(3)
def work(function):
    start.wait()
    try: function()
    except BaseException as fault: faults.append(repr(fault))
threads = [threading.Thread(target=work, args=(f,)) for f in (warm_up, lambda: model_zoo.load("bundled/imagenette"), lambda: timm.list_models())]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(faults)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr[-2000:]


# What is kept


@pytest.fixture
def sessions() -> Sessions:
    return Sessions("bundled/digits")


def answered(megabytes: float, model) -> Answered:
    return Answered(Heatmap(np.zeros((int(megabytes * 250), 1000), np.float32)), None, model.key, model.title, {})


def test_the_sessions_longest_unused_go_when_there_are_too_many(sessions, monkeypatch):
    monkeypatch.setattr(session, "SESSIONS", 3)
    first, second, third = (sessions.create(f"page {n}") for n in range(3))
    sessions.find(first.id)
    sessions.create("page 3")
    assert [sessions.find(s.id) is s for s in (first, second, third)] == [True, False, True]


def test_ids_of_sessions_cannot_be_guessed(sessions):
    ids = {sessions.create("page").id for _ in range(50)}
    assert len(ids) == 50 and min(map(len, ids)) >= 20  # 16 random bytes
    assert sessions.find("page") is None and sessions.find("") is None


def test_a_page_that_closes_is_forgotten(sessions):
    mine, other = sessions.create("mine"), sessions.create("other")
    sessions.leave("mine")
    assert sessions.find(mine.id) is None and sessions.find(other.id) is other


def test_answers_are_kept_up_to_a_number_of_bytes_and_the_oldest_pages_lose_theirs(sessions, monkeypatch, tiny_models):
    monkeypatch.setattr(session, "ANSWER_BYTES", 5 * MEGABYTE)
    pages = [sessions.create(f"page {n}") for n in range(3)]
    for page in pages:
        sessions.keep(page, "saliency", answered(2, tiny_models["cnn"]))
    assert [list(page.answers) for page in pages] == [[], ["saliency"], ["saliency"]]


def test_an_answer_larger_than_the_limit_is_kept_for_its_own_page(sessions, monkeypatch, tiny_models):
    monkeypatch.setattr(session, "ANSWER_BYTES", MEGABYTE)
    page = sessions.create("page")
    sessions.keep(page, "saliency", answered(2, tiny_models["cnn"]))
    assert list(page.answers) == ["saliency"]


def test_stop_ends_only_the_run_that_began_last(sessions):
    page = sessions.create("page")
    page.stop("pgd")  # nothing runs yet
    first = page.begin("pgd")
    other = page.begin("saliency")
    page.stop("pgd")
    second = page.begin("pgd")
    assert [flag.is_set() for flag in (first, other, second)] == [True, False, False]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    return tmp_path


def noise(seed: int, width: int = 20, height: int = 10) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_equal_pictures_share_one_file_and_keep_every_pixel(folder):
    first, second, other = files.shown_picture(noise(0)), files.shown_picture(noise(0)), files.shown_picture(noise(1))
    assert first == second != other and len(list(folder.iterdir())) == 2
    with Image.open(first) as image:
        assert (np.asarray(image) == np.asarray(noise(0))).all()


def test_a_large_picture_is_shown_smaller(folder):
    with Image.open(files.shown_picture(noise(0, 3000, 1000))) as image:
        assert image.size == (1024, 341)


def test_files_that_others_move_while_the_oldest_are_looked_for_do_no_harm(folder):
    pictures = [noise(number, 8, 8) for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        shown = list(pool.map(files.shown_picture, pictures * 20))
    assert len(set(shown)) == 12 and len(list(folder.iterdir())) == 12


def test_a_file_that_is_gone_before_its_age_is_asked_counts_as_the_newest(folder):
    assert files._written(folder / "gone.png") == float("inf")


def test_the_oldest_files_go_and_with_them_their_folders(folder, monkeypatch):
    monkeypatch.setattr(files, "KEEP", 3)
    made = []
    for age in range(5):
        path = files.new_folder("saliency") / "saliency.png"
        path.write_bytes(b"picture")
        os.utime(path, (1000 + age, 1000 + age))
        made.append(path)
    files.prune()
    assert [path.exists() for path in made] == [False, False, True, True, True]
    assert len(list(folder.iterdir())) == 3
