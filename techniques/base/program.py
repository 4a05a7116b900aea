"""What went into a run, as files, and a short Python program that runs it once more from them, without the page.

The program is read before it is run: it says in a few lines which model, which pictures and which settings made the
numbers in `arrays.npz`, and compares. Whatever a visitor has named (a file, a class) stands in it as a quoted text only.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from techniques.base.drawing import png_bytes
from techniques.base.sample import Sample, Samples

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.registry import Technique

FEW = 20  # pictures up to which each is a file of its own; more come as one archive
ARCHIVE = "inputs.zip"
CLASS_NAMES = "class_names.json"

PROGRAM = '''"""Runs {title} {purpose}.

Python must know where Loupe is:  PYTHONPATH=path/to/loupe python repeat.py
"""

{imports}

HERE = Path(__file__).parent

{model}
{pictures}
answer = techniques.run(
    {name!r},
    sample,
    model,
{arguments})

{ending}'''

COMPARE = '''# On the same machine the numbers are the same; another processor or another torch rounds the last digits otherwise.
arrays, largest = all_arrays(answer), 0.0
for name, expected in np.load(HERE / "arrays.npz").items():
    np.testing.assert_allclose(arrays[name], expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected).max(initial=0.0)), err_msg=name)
    largest = max(largest, float(np.abs(arrays[name].astype(np.float32) - expected).max(initial=0.0)))
print(f"Repeated: the largest difference is {largest:.3g}.")
'''

FINISH = '''# arrays.npz holds what there was when the run was stopped; nothing of it is compared.
np.savez(HERE / "finished.npz", **all_arrays(answer))
print("Run to its end: the numbers are in finished.npz.")
'''

SET = '''
def read(about):
    """One picture of the set; pixels that no 8-bit picture can hold come as numbers."""
    file = {file}
    if about["file"].endswith(".npy"):
        picture = Sample.from_pixels(np.load(file), about["origin"])
    else:
        picture = Sample.from_image(Image.open(file), model, about["origin"], framing=about["framing"])
    return replace(picture, group=about["group"])


pictures = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))["pictures"]
sample = [read(about) for about in pictures]'''


def input_name(sample: Sample, number: int) -> str:
    """The file that a picture is read from again: of exact pixels the numbers, of any other the picture itself."""
    return f"input-{number}.{'npy' if sample.exact else 'png'}"


def input_files(sample: Sample | Samples, model: LoadedModel) -> Iterator[tuple[str, bytes]]:
    """Every picture that went in, as PNG without any metadata; the pixels that the model saw, float32 `[1, C, H, W]`, as
    .npy; and a visitor's class names, which no key of a model leads to."""
    if not isinstance(sample, Samples):
        yield from _files_of(sample, 1, pixels=True)
    elif len(sample) <= FEW:
        for number, item in enumerate(sample, 1):
            yield from _files_of(item, number, pixels=True)
    else:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for number, item in enumerate(sample, 1):
                for name, content in _files_of(item, number, pixels=item.exact):  # of many, those that no picture holds
                    archive.writestr(zipfile.ZipInfo(name), content)  # dated 1980: the same run gives the same bytes
        yield ARCHIVE, buffer.getvalue()
    if model.key.startswith("upload/"):
        yield CLASS_NAMES, (json.dumps(model.labels[: model.named], ensure_ascii=False, indent=1) + "\n").encode()


def _files_of(sample: Sample, number: int, pixels: bool) -> Iterator[tuple[str, bytes]]:
    image = sample.image.copy()
    image.info = {}
    yield f"input-{number}.png", png_bytes(image)
    if pixels:
        buffer = io.BytesIO()
        np.save(buffer, sample.pixels.cpu().numpy(), allow_pickle=False)
        yield f"input-{number}.npy", buffer.getvalue()


def program(technique: Technique, sample: Sample | Samples, model: LoadedModel, settings: Mapping[str, Any], unfinished: bool = False) -> str:
    """The text of `repeat.py` for checked settings: it finds the files of `input_files`, painted areas and arrays beside it. An
    `unfinished` run it does not compare, since the steps it went are not all: it takes it to its end."""
    many = isinstance(sample, Samples)
    archived = many and len(sample) > FEW
    uploaded = model.key.startswith("upload/")
    masks = any(param.kind == "mask" and settings[param.name] is not None for param in technique.params)
    picture_opened = many or masks or not sample.exact
    imports = [
        *(["import json"] if many else []),
        *(["import zipfile"] if archived else []),
        *(["from dataclasses import replace"] if many else []),
        "from pathlib import Path\n",
        "import numpy as np",
        *(["from PIL import Image"] if picture_opened else []),
        "\nimport model_zoo",
        "import techniques",
        *(["from model_zoo.preprocessing import Preprocessing"] if uploaded else []),
        "from techniques.base import Sample",
        "from techniques.base.results import all_arrays",
    ]
    return PROGRAM.format(
        title=technique.title,
        purpose="to its end, with what is in this folder" if unfinished else "once more with what is in this folder, and compares the numbers with arrays.npz",
        ending=FINISH if unfinished else COMPARE,
        imports="\n".join(imports),
        model=_own_model(model) if uploaded else f"model = model_zoo.load({model.key!r})",
        pictures=_pictures(sample),
        name=technique.name,
        arguments="".join(_arguments(technique, model, settings)),
    )


def _pictures(sample: Sample | Samples) -> str:
    """The lines that make `sample`."""
    if isinstance(sample, Samples):
        file = "zipfile.ZipFile(HERE / 'inputs.zip').open(about['file'])" if len(sample) > FEW else "HERE / about['file']"
        return SET.format(file=file.replace("'", '"'))
    file = f'HERE / "{input_name(sample, 1)}"'
    if sample.exact:
        return f"sample = Sample.from_pixels(np.load({file}), {sample.origin!r})"
    return f"sample = Sample.from_image(Image.open({file}), model, {sample.origin!r}, framing={sample.framing!r})"


def _own_model(model: LoadedModel) -> str:
    """The lines that load a visitor's own weights, which stay with their owner."""
    named = re.fullmatch(r"(.*) \(([^()]+)\)", model.title, re.DOTALL)
    file, architecture = named.groups() if named else (model.title, "")
    numbered = all(label == f"class {index}" for index, label in enumerate(model.labels))
    return "\n".join(
        [
            "# Your own weights are not in this folder: write here where they are.",
            "model = model_zoo.from_file(",
            f"    {file!r},",
            f"    {architecture or None!r},",
            "    None," if numbered else f'    HERE / "{CLASS_NAMES}",',
            f"    multi_label={model.multi_label},",
            f"    preprocessing={model.preprocessing!r},",
            ")",
        ]
    )


def _arguments(technique: Technique, model: LoadedModel, settings: Mapping[str, Any]) -> Iterator[str]:
    """Every setting as an argument of the call, a class by its number and, beside it, its name."""
    for param in technique.params:
        value = settings[param.name]
        written = repr(value)
        if param.kind == "mask" and value is not None:
            planes = (f'np.asarray(Image.open(HERE / "{mask_name(param.name, number)}")) > 0' for number in range(len(value)))
            written = f"[{', '.join(planes)}]"
        name = f"  # {model.label(value)!r}" if param.kind == "target" and value is not None else ""
        yield f"    {param.name}={written},{name}\n"


def mask_name(setting: str, number: int) -> str:
    """The file of a painted area; `number` counts from 0."""
    return f"setting-{setting}" + (f"-{number + 1}" if number else "") + ".png"
