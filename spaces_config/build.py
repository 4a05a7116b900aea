"""Lay out a folder that is a Hugging Face Space: `python -m spaces_config.build FOLDER [--hardware cpu|gpu|zero]`.

The folder holds what the app runs with and nothing else, and is the same each time. spaces_config/README.md says
how to push it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template

from model_zoo.errors import AppError

ROOT = Path(__file__).resolve().parents[1]
APP = ("app.py", "model_zoo", "techniques", "ui")
LEFT_OUT = ("__pycache__", "*.pyc", "*.pyi", ".*", "*.checkpoint.pt")
FLAVOURS = {"cpu": "cpu-basic", "gpu": "t4-small", "zero": "zero-a10g"}  # what the hub calls the hardware

# ZeroGPU runs torch 2.8 to 2.11; its own package speaks to the platform, which moves on, so only its least version is said
ZERO_PACKAGES = {"torch": "torch==2.11.*", "torchvision": "torchvision==0.26.*", "spaces": "spaces>=0.51.3"}

# the hub takes binary files through large file storage only
BINARY = ("*.safetensors", "*.png", "*.jpg")


def lay_out(folder: Path, hardware: str) -> None:
    """Write the Space into `folder`, which is made; AppError when there is something in it already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AppError(f"{folder} is not an empty folder. Expected one that is empty or does not exist yet; choose another or remove it.")
    if any(folder.resolve().is_relative_to(ROOT / name) for name in APP):
        raise AppError(f"{folder} lies inside the app's own code. Choose a folder outside of {', '.join(APP[1:])}.")
    folder.mkdir(parents=True, exist_ok=True)
    for name in APP:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(*LEFT_OUT), copy_function=shutil.copyfile)
        else:
            shutil.copyfile(ROOT / name, folder / name)
    _write(folder / "README.md", readme(hardware))
    _write(folder / "requirements.txt", requirements(hardware))
    _write(folder / ".gitattributes", "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in BINARY))


def readme(hardware: str) -> str:
    """The README of the Space; its front matter asks for the gradio that requirements.txt is pinned to."""
    template = Template((ROOT / "spaces_config" / "space.md").read_text(encoding="utf-8"))
    return template.substitute(gradio=_pins()["gradio"].partition("==")[2], flavor=FLAVOURS[hardware])


def requirements(hardware: str) -> str:
    """The packages of the Space, one per line: those of requirements.txt, for ZeroGPU with the torch it can run."""
    packages = _pins() | (ZERO_PACKAGES if hardware == "zero" else {})
    return "".join(f"{line}\n" for line in packages.values())


def _pins() -> dict[str, str]:
    """The lines of requirements.txt by the name of their package, comments left out."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()]
    return {re.split(r"[^\w.-]", line)[0]: line for line in lines if line}


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode())  # as it stands, on Windows too


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m spaces_config.build", description="Lay out a folder that is a Hugging Face Space.")
    parser.add_argument("folder", type=Path, help="where to; must be empty or not exist yet")
    parser.add_argument("--hardware", choices=list(FLAVOURS), default="zero", help="what the Space will run on (default: zero, which is ZeroGPU)")
    given = parser.parse_args(arguments)
    try:
        lay_out(given.folder, given.hardware)
    except AppError as error:
        print(error, file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in given.folder.rglob("*") if path.is_file())
    print(f"{given.folder} is ready to push: {size / 1e6:.1f} MB for {FLAVOURS[given.hardware]}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
