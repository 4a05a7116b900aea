"""What a visitor is told about a file of weights that is refused.

A refusal is one or two sentences, and the three lines of code that make a file we take where its owner can still do that.
"""

from __future__ import annotations

from model_zoo.errors import UploadError

SAVE_WEIGHTS = """from safetensors.torch import save_file
weights = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
save_file(weights, "weights.safetensors")"""

CODE = "This file contains program code or an old pickle format{item}. For safety only plain weights are accepted. Save as .safetensors."
PROGRAM = "This is a whole program ({kind}), not weights. Export `model.state_dict()` to .safetensors and choose the architecture."
STRANGER = "This file holds {item} beside its weights, which is not plain data. Save the weights alone, as .safetensors."
STRUCTURE = "This file holds {item}, which plain weights never do. Save `model.state_dict()` alone, as .safetensors."
DAMAGED = "This file is damaged: {what}. Save or download it again."
INCOMPLETE = "This is an incomplete file — {arrived} of {whole}. Download or upload it again."
NOT_PLAIN = "This file could not be read as plain weights. Save `model.state_dict()` alone, as .safetensors."
UNKNOWN = "This file holds no weights that we can read. Use .safetensors, or a .pth or .pt file with a state dict."
TOO_LARGE = "The weights need {needed}; this server allows {allowed}. Choose a smaller network, or save the weights without the optimizer."
NOT_FLOAT = "The weights are not floating point ({name} is {dtype}). Save them before they are quantised, as float32 or float16."
NOT_FINITE = "The network gives no valid numbers (first {what} in {name}). Choose a checkpoint from before its training went wrong."
BUSY = "The server is busy and could not read the file in time. Please try again in a minute."
DISK_FULL = "The storage of this server is full. Please try again later."


def refusal(sentence: str, way_out: bool = False, **words: str) -> UploadError:
    """The error with this sentence; with the lines that save the weights alone below it, if `way_out`."""
    text = sentence.format(**words)
    return UploadError(f"{text} In the program that made the model:\n{SAVE_WEIGHTS}" if way_out else text)


def shown(text: str) -> str:
    """A name out of a stranger's file, short and of one line, for use in a sentence."""
    clean = "".join(letter if letter.isprintable() and letter not in "<>" else "_" for letter in text[:81])
    return clean if len(clean) <= 80 else clean[:79] + "…"


def size_text(count: float) -> str:
    """A count of bytes for a person: "773 bytes", "12 kB", "45 MB", "26.9 GB"."""
    if count < 1000:
        return f"{count:.0f} bytes"
    unit, size = next((unit, size) for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if count >= size)
    value = count / size
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
