"""A visitor's own model: weights, an architecture that they fit, class names, and how pictures go in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from model_zoo import uploads
from model_zoo.errors import AppError, ParameterError
from model_zoo.sources import CACHE
from techniques.base import Run
from ui.events import LIGHT, LOADING
from ui.guard import MEGABYTE
from ui.panels import progress
from ui.session import Session
from ui.upload import FileInput, Upload
from ui.worker import Done, Failed, Stopped, in_worker, until

if TYPE_CHECKING:
    from model_zoo.checkpoints import Match
    from model_zoo.preprocessing import Preprocessing
    from ui.wiring import Page

WORK = "weights"  # the name by which reading them is stopped; no technique has it
INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos")
PROBLEMS = 60  # rows of the table; it is for reading
HELP = (
    "<p class='lp-hint'>Weights only: .safetensors, or .pth / .pt with a state dict. The architecture is guessed from the names in the file. "
    "Nothing in it is run, only you can use it, and it is deleted when this page closes.</p>"
)


@dataclass(frozen=True)
class OwnModel:
    """The components, in the order in which they are filled in."""

    weights: FileInput
    status: gr.HTML
    stop: gr.Button
    fitting: gr.Column
    architecture: gr.Dropdown
    mean: gr.Textbox
    std: gr.Textbox
    size: gr.Textbox
    interpolation: gr.Dropdown
    class_names: FileInput
    multi_label: gr.Checkbox
    use: gr.Button

    @property
    def preprocessing(self) -> list:
        return [self.mean, self.std, self.size, self.interpolation]


def build_own_model() -> OwnModel:
    with gr.Accordion("Your own model", open=False, elem_id="own-model"):
        gr.HTML(HELP)
        weights = FileInput(label="Weights", file_count="single", height=120, elem_id="own-weights")
        status = gr.HTML(elem_id="own-status")
        stop = gr.Button("Stop", size="sm", visible=False, elem_id="own-stop")
        with gr.Column(visible=False, elem_id="own-fitting") as fitting:
            architecture = gr.Dropdown(
                [], allow_custom_value=True, label="Architecture", info="timm/<name> or torchvision/<name>", elem_id="own-architecture"
            )
            class_names = FileInput(label="Class names: .txt, .csv or .json (optional)", file_count="single", height=120, elem_id="own-class-names")
            with gr.Row():
                mean = gr.Textbox(label="Mean, per channel", min_width=120, elem_id="own-mean")
                std = gr.Textbox(label="Standard deviation", min_width=120, elem_id="own-std")
            with gr.Row():
                size = gr.Textbox(label="Size (px)", min_width=90, elem_id="own-size")
                interpolation = gr.Dropdown(list(INTERPOLATIONS), label="Interpolation", min_width=120, elem_id="own-interpolation")
            multi_label = gr.Checkbox(
                label="Each class is a question of its own", info="Several may be right at once (multi-label, sigmoid)", elem_id="own-multi-label"
            )
            use = gr.Button("Use this model", variant="primary", elem_id="own-use")
    return OwnModel(weights, status, stop, fitting, architecture, mean, std, size, interpolation, class_names, multi_label, use)


def wire_own_model(page: Page, load: Callable[[str, str], Iterator[list]], model_outputs: list) -> None:
    """Connect the parts."""
    own, header = page.header.own, page.header
    filled = [own.status, own.stop, own.fitting, own.architecture, *own.preprocessing]
    unfilled = [gr.skip()] * (len(filled) - 2)

    def receive(session_id: str, file: Upload | None) -> Iterator[list]:
        session = page.session(session_id)
        if file is None:
            yield ["", gr.Button(visible=False), *unfilled]
            return
        limit = min(page.settings.max_upload_mb * MEGABYTE, CACHE.limit)
        reading = in_worker(lambda run: _received(file, limit, run), page.settings.seconds)
        for event in until(session.begin(WORK), reading):
            if isinstance(event, Done):
                session.take(event.value)
                yield _filled(event.value.guesses)
            elif isinstance(event, Failed):
                yield [_fault(event.text), gr.Button(visible=False), *unfilled]
            elif isinstance(event, Stopped):
                yield ["<p class='lp-hint'>Stopped; nothing was taken.</p>", gr.Button(visible=False), *unfilled]
            else:
                yield [progress(event.fraction, event.text or "Reading the weights …"), gr.Button(visible=True), *unfilled]

    def compare(session_id: str, architecture: str) -> list:
        try:
            return _fields(_matched(page.session(session_id), architecture), gr.skip())
        except AppError as error:
            return [_fault(str(error)), gr.Button(visible=False), *unfilled]

    def settle(session_id: str, architecture: str, names: Upload | None, several: bool, *preprocessing: Any) -> Iterator[list]:
        session = page.session(session_id)
        try:
            key = _settled(session, architecture, names, several, preprocessing)
        except AppError as error:
            gr.Warning(escape(str(error)), duration=12)
            yield [gr.skip(), _fault(str(error)), *([gr.skip()] * (len(model_outputs) - 2))]
            return
        yield from load(session_id, key)

    options = {"show_progress_on": own.status, **LOADING}
    own.weights.upload(receive, [header.session, own.weights], filled, trigger_mode="always_last", **options)
    own.architecture.input(compare, [header.session, own.architecture], filled, trigger_mode="always_last", **options)
    own.stop.click(partial(page.stop, WORK), header.session, None, **LIGHT)
    inputs = [header.session, own.architecture, own.class_names, own.multi_label, *own.preprocessing]
    own.use.click(settle, inputs, model_outputs, show_progress_on=header.model_status, **LOADING)


def _received(file: Upload, limit: int, run: Run) -> uploads.Draft:
    """The weights, read and checked; gradio's copy of the file goes, whatever comes of it."""
    path = Path(file.path)
    try:
        return uploads.receive(path, file.name, limit, run)
    finally:
        path.unlink(missing_ok=True)


def _matched(session: Session, architecture: str) -> Match:
    from model_zoo.checkpoints import match

    if session.draft is None:
        raise ParameterError("There are no weights yet. Upload a file first.")
    known = {found.architecture: found for found in session.draft.guesses}
    return known.get(architecture) or match(session.draft.stored.shapes, str(architecture).strip())


def _filled(guesses: Sequence[Match]) -> list:
    """The status and every field for weights that have just been read."""
    from model_zoo.checkpoints import doubt

    names = [guess.architecture for guess in guesses]
    if not guesses:
        status = "<p class='lp-hint'>These weights fit no architecture that is known here. Type the one they belong to.</p>"
        return [status, gr.Button(visible=False), gr.Column(visible=True), gr.Dropdown(choices=[], value=None), "", "", "", "bicubic"]
    unsure = f"<p class='lp-hint'>{escape(doubt(guesses))}</p>" if doubt(guesses) else ""
    return _fields(guesses[0], gr.Dropdown(choices=names, value=names[0]), unsure)


def _fields(match: Match, architecture, unsure: str = "") -> list:
    """The status and every field for weights that fit an architecture like this."""
    from model_zoo.checkpoints import preprocessing_of

    own = preprocessing_of(match)
    return [
        _report(match) + unsure,
        gr.Button(visible=False),
        gr.Column(visible=True),
        architecture,
        ", ".join(f"{value:g}" for value in own.mean),
        ", ".join(f"{value:g}" for value in own.std),
        f"{own.size[0]} × {own.size[1]}",
        own.interpolation,
    ]


def _report(match: Match) -> str:
    """How many tensors found their place, what the shapes say, and a table of those that did not fit."""
    facts = [match.summary, f"{match.classes:,} classes", f"{match.channels} input channel{'s' * (match.channels != 1)}"]
    facts += [f"“{match.prefix}” cut off the names"] if match.prefix else []
    rows = match.rows()
    cells = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[:PROBLEMS])
    more = f"<p class='lp-hint'>… and {len(rows) - PROBLEMS} more</p>" if len(rows) > PROBLEMS else ""
    table = (
        f"<details class='lp-limits'><summary>{len(rows)} that did not simply fit</summary><div class='lp-scroll'><table><thead><tr><th>tensor</th>"
        f"<th>what is wrong</th><th>expected</th><th>found</th></tr></thead><tbody>{cells}</tbody></table></div>{more}</details>"
    )
    return f"<p class='lp-facts'>{''.join(f'<span>{escape(fact)}</span>' for fact in facts)}</p>{table if rows else ''}"


def _settled(session: Session, architecture: str, names: Upload | None, several: bool, preprocessing: tuple) -> str:
    """The key of the model that these settings make; AppError with a sentence when they do not fit together."""
    from model_zoo.checkpoints import read_class_names

    match = _matched(session, architecture)
    labels = read_class_names(Path(names.path), names.name, match.classes) if names else ()
    return uploads.settle(session.draft, match, read_preprocessing(match, *preprocessing), labels, bool(several))


def read_preprocessing(match: Match, mean: str, std: str, size: str, interpolation: str) -> Preprocessing:
    """The architecture's preprocessing with what was typed in its place; what is left empty stays."""
    from model_zoo.checkpoints import preprocessing_of

    own = preprocessing_of(match)
    sides = _numbers("Size", size, (1, 2), 8, 2048) or own.size
    if interpolation not in INTERPOLATIONS:
        raise ParameterError(f"Interpolation: received {str(interpolation)[:60]!r}, expected one of {', '.join(INTERPOLATIONS)}.")
    return replace(
        own,
        mean=_numbers("Mean", mean, (own.channels,), -1000, 1000) or own.mean,
        std=_numbers("Standard deviation", std, (own.channels,), 1e-3, 1000) or own.std,
        size=(int(sides[0]), int(sides[-1])),
        interpolation=interpolation,
    )


def _numbers(name: str, text: str, counts: tuple[int, ...], low: float, high: float) -> tuple[float, ...]:
    """The numbers in a text, as many as one of `counts` and each from `low` to `high`; none when it is empty."""
    parts = str(text or "").replace(",", " ").replace("×", " ").replace("x", " ").split()
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        numbers = ()
    if parts and (len(numbers) not in counts or not all(low <= number <= high for number in numbers)):
        many = " or ".join(str(count) for count in counts)
        raise ParameterError(f"{name}: received {str(text)[:60]!r}, expected {many} number{'s' * (many != '1')} from {low:g} to {high:g}.")
    return numbers


def _fault(text: str) -> str:
    return f"<p class='lp-error'>{escape(text)}</p>"
