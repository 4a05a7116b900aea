"""Loupe on the command line: `python -m techniques grad_cam cat.jpg --target "golf ball" --out out/`.

The options of a technique are read from its signature, as its page and its API are.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import model_zoo
from model_zoo.cache import gigabytes
from model_zoo.catalogue import search
from model_zoo.errors import AppError, Cancelled, ParameterError
from model_zoo.loaded import LoadedModel
from model_zoo.preprocessing import FRAMINGS
from techniques import __version__, catalogue, find
from techniques.base.pairs import check_count, compares, execute_on
from techniques.base.parameters import MASKS, Param
from techniques.base.picture_sets import SUFFIXES, read_places
from techniques.base.pictures import ReadPicture, read_picture
from techniques.base.registry import FAMILIES, Technique
from techniques.base.run import Run
from techniques.base.sample import Sample, Samples

PROGRAM = "python -m techniques"
KEPT_EVERY = 2  # seconds between two unfinished answers that are kept for Ctrl-C, at the least
METAVARS = {"number": "NUMBER", "integer": "NUMBER", "seed": "NUMBER", "target": "CLASS", "layer": "LAYER", "mask": "PICTURE"}
METAVARS |= {"choice": "NAME", "choices": "NAME,NAME"}  # choices that a technique lists itself stand there themselves


class Parser(argparse.ArgumentParser):
    """Tells what is wrong with the arguments as every other fault is told: in one sentence."""

    def error(self, message: str) -> None:
        raise ParameterError(f"{message[:1].upper()}{message[1:].rstrip('.')}. See {self.prog} --help.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 after a fault that has its sentence, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments and not arguments[0].startswith("-"):
            _run_technique(find(arguments[0]), arguments[1:])
        else:
            _overview(arguments)
    except AppError as error:
        print(error, file=sys.stderr)
        return 2
    except (Cancelled, KeyboardInterrupt):
        print("Stopped.", file=sys.stderr)
        return 130
    return 0


def _overview(arguments: list[str]) -> None:
    """Everything that is asked without naming a technique."""
    parser = Parser(
        PROGRAM,
        usage=f"{PROGRAM} TECHNIQUE PICTURE... [options]",
        description="Look inside an image classifier, or fool it. Without arguments: every technique by family.",
        epilog=f"The options of a technique: {PROGRAM} grad_cam --help",
        allow_abbrev=False,
    )
    parser.add_argument("--list-models", nargs="?", const="", metavar="TEXT", help="the models that fit a text, or those to begin with")
    parser.add_argument("--version", action="version", version=f"Loupe {__version__}")
    text = parser.parse_args(arguments).list_models
    if text is None:
        _list_techniques()
    else:
        _list_models(text)


def _list_techniques() -> None:
    known = catalogue()
    wide = max(map(len, known)) + 2
    for family, said in FAMILIES.items():
        members = [technique for technique in known.values() if technique.family == family]
        if members:
            print(f"\n{family}: {said[:1].lower()}{said[1:]}")
        for technique in members:
            sentence = textwrap.wrap(technique.meaning, max(30, _columns() - wide - 2))
            print(f"  {technique.name:<{wide}}" + f"\n{' ' * (wide + 2)}".join(sentence))
    print(f"\nRun one: {PROGRAM} NAME PICTURE.  Its options: {PROGRAM} NAME --help.")


def _list_models(text: str) -> None:
    found = search(text)
    wide = max((len(entry.key) for entry in found), default=0) + 2
    for entry in found:
        accuracy = f"{entry.top1:.1f} % top-1" if entry.top1 else ""
        print(f"{entry.key:<{wide}}{gigabytes(entry.bytes) if entry.bytes else '':>9}  {accuracy:<14}{entry.about}".rstrip())
    print("\nEvery classifier of timm (timm/NAME.TAG), torchvision (torchvision/NAME) and the hub (hf-hub:OWNER/NAME), and --weights of your own.")


def _run_technique(technique: Technique, arguments: list[str]) -> None:
    given = vars(technique_parser(technique).parse_args(arguments))
    pictures, key, folder = given.pop("pictures"), given.pop("model"), given.pop("out")
    framing, weights = given.pop("framing"), {name: given.pop(name) for name in ("weights", "architecture", "class_names", "multi_label")}
    settings = {name: [*map(_mask, value)] if technique.param(name).kind == "mask" else value for name, value in given.items()}
    read = _read(pictures, technique)
    folder = _folder(folder or Path("out") / technique.name)
    if weights["weights"]:
        model = model_zoo.from_file(*weights.values())
    else:
        model = model_zoo.load(key)
    samples = Samples.of(read, model, framing)
    sample = samples if technique.many or len(samples) > 1 else samples[0]
    answer, unfinished = _answer(technique, sample, model, settings)
    _write_and_tell(folder, technique, sample, model, settings, answer, unfinished)
    if unfinished:
        raise KeyboardInterrupt  # what was written is told; the exit code is that of a stopped run


def _answer(technique: Technique, sample: Sample | Samples, model: LoadedModel, settings: dict[str, Any]) -> tuple[Any, str]:
    """(the answer, ""); after Ctrl-C the last one that was not finished, and what was being done when it came. KeyboardInterrupt when
    there is none yet."""
    doing, shown = "", None
    with progress() as move:

        def report(fraction: float, text: str) -> None:
            nonlocal doing
            doing = text
            move(fraction, text)

        def show(value: Any) -> None:
            nonlocal shown
            shown = value, doing or "its beginning"

        try:
            return execute_on(technique, sample, model, settings, Run(report=report, show=show, pause=KEPT_EVERY)), ""
        except (Cancelled, KeyboardInterrupt):
            if shown is None:
                raise
    return shown


def _write_and_tell(
    folder: Path, technique: Technique, sample: Sample | Samples, model: LoadedModel, settings: dict[str, Any], answer: Any, unfinished: str
) -> None:
    """Write the files; say the top five of each picture, then what was written."""
    from techniques.base.drawing.svg import percent
    from techniques.base.export import write_bundle

    paths = write_bundle(folder, technique, sample, model, settings, answer, unfinished)
    about = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for picture in about["pictures"]:
        print(f"{technique.title} of {picture['origin']} with {model.title}")
        for best in picture["top"]:
            print(f"  {percent(best['probability']):>8}  {best['label']}")
    for panel in about["panels"]:
        if "text" in panel:
            print(panel["text"])
    if unfinished:
        print(f"Stopped at {unfinished}. What was written is as far as it came.")
    print(f"Wrote {len(paths)} files:")
    for path in paths:
        print(f"  {path}")


def technique_parser(technique: Technique) -> argparse.ArgumentParser:
    """The options of one technique. Values that are not given stay out of the result; ranges are checked by `execute`."""
    parser = Parser(
        f"{PROGRAM} {technique.name}",
        usage=f"%(prog)s {'PICTURE...' if technique.many else 'PICTURE [AFTER]' if compares(technique) else 'PICTURE'} [--model KEY] [--out FOLDER] [settings]",
        description=_filled(f"{technique.title}. {technique.meaning}"),
        epilog=_filled(f"What it does not tell you: {technique.limits}") + (f"\n\nPaper: {technique.paper}" if technique.paper else ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    several = "picture files, zip files or folders of them" if technique.many else "the picture file"
    several += "; two are compared, before and after" if compares(technique) else ""
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help=several)
    parser.add_argument("--model", default="bundled/imagenette", metavar="KEY", help="the model to look into [bundled/imagenette]")
    framings = ", ".join(f"{name} ({meaning})" for name, meaning in FRAMINGS.items())
    parser.add_argument("--framing", default="model", metavar="NAME", help=f"how a picture gets the model's size: {framings} [model]")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"where the files go [out/{technique.name}]")
    own = parser.add_argument_group("a model of your own")
    own.add_argument("--weights", type=Path, metavar="FILE", help="safetensors, or a .pth with a state dict, instead of --model")
    own.add_argument("--architecture", metavar="KEY", help="timm/<name> or torchvision/<name>; guessed from the weights when left out")
    own.add_argument("--class-names", type=Path, metavar="FILE", help="one name per class: .txt, .csv or .json")
    own.add_argument("--multi-label", action="store_true", help="each class is a yes/no question of its own (sigmoid)")
    settings = parser.add_argument_group("settings")
    for param in technique.params:
        _add_option(settings, param)
    return parser


def _add_option(group: argparse._ArgumentGroup, param: Param) -> None:
    options: dict[str, Any] = {"dest": param.name, "default": argparse.SUPPRESS, "help": _help(param)}
    if param.kind == "flag":
        options["action"] = argparse.BooleanOptionalAction
    else:
        options["action"] = "append" if param.kind == "mask" else "store"  # --mask may be given several times
        options["metavar"] = "{" + ",".join(param.choices) + "}" if param.texts else METAVARS[param.kind]
        options["type"] = _number if param.range else _names if param.kind == "choices" else str
    group.add_argument("--" + param.name.replace("_", "-"), **options)


def _help(param: Param) -> str:
    """The setting's sentence, its range, and its default in brackets."""
    allowed = f" {str(param.range)[:1].upper()}{str(param.range)[1:]}." if param.range and param.kind != "seed" else ""
    if param.kind == "mask":
        return f"A painted area, as a picture in which it is white, given up to {MASKS} times; left out: the middle of the picture."
    if param.names:
        allowed = f" {'Some' if param.kind == 'choices' else 'One'} of {', '.join(param.choices)}{param.more and f', {param.more}'}."
    default = {True: "yes", False: "no"}.get(param.default, param.default) if param.kind == "flag" else param.default
    default = ",".join(default) if param.kind == "choices" else default
    return (param.help + allowed + ("" if default is None else f" [{default}]")).replace("%", "%%")


def _number(text: str) -> int | float | str:
    """A whole number or a number; any other text goes on as it is, for the technique's own check to refuse."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _names(text: str) -> list[str]:
    """Names between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _mask(path: str) -> Any:
    """Where a picture is brighter than mid grey, boolean `[H, W]`."""
    import numpy as np

    return np.asarray(read_picture(path).image.convert("L")) > 127


def _read(pictures: list[str], technique: Technique) -> list[ReadPicture]:
    """The pictures; for a technique on a set those of folders, zip files and MNIST files, too, in groups."""
    if technique.many:
        return read_places([(path, Path(path).name) for path in pictures], folders=True)
    return [read_picture(path) for path in _paths(pictures, technique)]


def _paths(pictures: list[str], technique: Technique) -> list[Path]:
    """The picture files, folders replaced by the pictures in them in the order of their names."""
    paths: list[Path] = []
    for given in map(Path, pictures):
        inside = sorted(path for path in given.iterdir() if path.suffix.lower() in SUFFIXES) if given.is_dir() else [given]
        if not inside:
            raise ParameterError(f"There is no picture in the folder {given}. Expected files such as .jpg or .png.")
        paths += inside
    check_count(technique, len(paths))
    for path in paths:
        if not path.is_file():
            raise ParameterError(f"There is no picture file {path}.")
    return paths


def _folder(folder: Path) -> Path:
    """The folder, made before the work begins; ParameterError when that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"The folder {folder} cannot be made: {error.strerror or error}. Choose another with --out.") from error
    return folder


@contextmanager
def progress() -> Iterator[Callable[[float, str], None]]:
    """A progress bar on stderr where that is a terminal; yields the function that moves it."""
    from tqdm import tqdm

    with tqdm(total=1.0, leave=False, disable=None, bar_format="{desc} {bar} {percentage:3.0f} %") as bar:

        def report(fraction: float, text: str) -> None:
            bar.set_description_str(text, refresh=False)
            bar.update(fraction - bar.n)

        yield report


def _columns() -> int:
    return min(110, shutil.get_terminal_size().columns)


def _filled(text: str) -> str:
    return textwrap.fill(text, _columns())


if __name__ == "__main__":
    sys.exit(main())
