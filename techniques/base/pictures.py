"""Loupe's one loader: the page, the command line and the API read every picture here, judged by its content.

Nothing is decoded before its size is known, and of the file only its pixels are kept: no folder, no place where
a photograph was taken, no colour profile (the models were trained without profiles, too). What cannot be read is
told in one sentence; what had to be changed is told in a note.
"""

from __future__ import annotations

import io
import re
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from model_zoo.errors import UploadError

PictureSource = str | Path | bytes | Image.Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")  # MPO arrives as JPEG; naming it here would lose AVIF
LARGEST_FILE = 20 * 2**20  # bytes
LARGEST_AREA = 25_000_000  # pixels
LONGEST_SIDE = 12_000  # pixels
LARGEST_ASPECT = 20
SECONDS = 8.0  # a file made to keep the decoder busy is given up after this
BLOCK = 1024  # bytes handed to a decoder at a time; each may be a dozen passes over the whole picture

UNREADABLE = "This file is not a picture we can read. Use JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF."
DAMAGED = "This picture is damaged or cut off. Please save it again and retry."
HEIC = "iPhone HEIC photos are not supported yet. Export as JPEG."
SVG = "This file is not a picture we can read but an SVG drawing. Please save it as PNG first."
TOO_LARGE = "This picture is too large (over 25 megapixels). Please make it smaller."
TOO_SLOW = "This picture takes too long to read. Please save it again as a plain JPEG or PNG and retry."

SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class ReadPicture:
    """An upright 8-bit picture, mode "L" when it is grey and else "RGB".

    `origin` is its name, safe to show; `notes` says what was changed on the way: bits, transparency, frames; `group` is
    the kind of pictures that it belongs to in a set, such as the name of its folder.
    """

    image: Image.Image
    origin: str
    notes: tuple[str, ...] = ()
    group: str = ""


def read_picture(source: PictureSource, name: str | None = None) -> ReadPicture:
    """Read a picture from a path, from a file's bytes, or from a PIL picture, which itself stays as it is.

    `name` is what to call it; left out, the file's own name is taken. Raises UploadError.
    """
    if isinstance(source, Image.Image):
        return _read(source, name or "picture")
    if isinstance(source, bytes):
        return _read(_open(source), name or "picture", from_file=True)
    if isinstance(source, (str, Path)):
        name = name or Path(source).name
        return _read(_open(_file_bytes(Path(source), name)), name, from_file=True)
    raise UploadError(f"Expected a picture as a path, as bytes or from PIL, received {type(source).__name__}.")


def safe_name(name: str, longest: int = 60) -> str:
    """The last part of a path in letters, digits and " -_.()+," only: harmless in HTML, Markdown and file names."""
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    name = "".join(c if unicodedata.category(c)[0] in "LMN" or c in " -_.()+," else "_" for c in name).strip(" .")
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending) > 5:
        return name[:longest] or "picture"
    return stem[: longest - len(ending) - 1] + dot + ending


def _read(image: Image.Image, name: str, from_file: bool = False) -> ReadPicture:
    """Check the size, decode, turn upright and reduce to 8 bits."""
    _check_size(image)
    with _as_sentence(DAMAGED):
        image.load()
        notes = []
        if from_file and image.format != "MPO" and getattr(image, "is_animated", False):  # an MPO is a photograph with extras
            notes.append("first frame used")
        turn = TO_UPRIGHT.get(_orientation(image))
        image, changes = _to_eight_bits(image)
        image = image if turn is None else image.transpose(turn)
    image.info = {}
    return ReadPicture(image, safe_name(name), (*notes, *changes))


def _file_bytes(path: Path, name: str) -> bytes:
    """The content of a regular file; at most one byte more than is allowed is read."""
    try:
        if path.is_file():  # neither folder nor device nor pipe
            with path.open("rb") as file:
                return file.read(LARGEST_FILE + 1)
    except (OSError, ValueError):
        pass
    raise UploadError(f"There is no picture “{safe_name(name)}” that we can open. Please check its name.")


def _open(data: bytes) -> Image.Image:
    """The picture in a file, its header read and nothing decoded."""
    if not data:
        raise UploadError("This file is empty (0 bytes).")
    if len(data) > LARGEST_FILE:
        raise UploadError(f"This file is too large; the limit is {LARGEST_FILE // 2**20} MB. Please make the picture smaller or save it as JPEG.")
    with _as_sentence(_complaint(data)):
        image = Image.open(_TimedFile(data), formats=FORMATS)
        image.decodermaxblock = BLOCK
        return image


def _complaint(data: bytes) -> str:
    """What to say when this content cannot be opened: a file of a kind we read is damaged, any other is a stranger."""
    head = data[:4096].replace(b"\0", b"").lower()  # text in 16 bits, too
    brands = data[8:64] if data[4:8] == b"ftyp" else b""
    if data.startswith(SIGNATURES) or data[8:12] == b"WEBP" or b"avif" in brands:
        return DAMAGED
    if any(brand in brands for brand in HEIC_BRANDS):
        return HEIC
    return SVG if b"<svg" in head and b"<html" not in head else UNREADABLE


def _check_size(image: Image.Image) -> None:
    """Refuse a picture by the size in its header."""
    width, height = image.size
    size = f"This picture is {width}×{height}"
    if width * height > LARGEST_AREA:
        raise UploadError(f"{size}; the limit is 25 megapixels. Please make it smaller.")
    if max(width, height) > LONGEST_SIDE:
        raise UploadError(f"{size}; the limit is {LONGEST_SIDE:,} pixels a side. Please make it smaller.")
    if not width or not height:
        raise UploadError(f"{size}: it has no pixels.")
    if max(width, height) > LARGEST_ASPECT * min(width, height):
        raise UploadError(f"{size}: too long and thin to resize meaningfully. Please crop it.")
    if image.format == "TIFF":
        with _as_sentence(DAMAGED):  # tiles are decoded whole, however little of one belongs to the picture
            tile_width, tile_height = image.tag_v2.get(322, 1), image.tag_v2.get(323, 1)
            if -(-width // tile_width) * tile_width * -(-height // tile_height) * tile_height > 2 * LARGEST_AREA:
                raise UploadError(TOO_LARGE)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; a picture with damaged EXIF is taken as upright."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # whatever the parser trips over, the pixels are good
        return 1


def _to_eight_bits(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """A copy in mode L or RGB, and notes on what that cost."""
    if image.mode.startswith("I;16"):
        values = np.minimum(np.asarray(image), 65407)  # so that adding half of 257, to round, stays within 16 bits
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)), ("16-bit picture reduced to 8-bit",)
    if image.mode in ("I", "F"):
        return _min_to_max(np.array(image, np.float32))
    opaque = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if not image.has_transparency_data:
        return image.convert(opaque), ()
    with_alpha = "LA" if opaque == "L" else "RGBA"
    if image.mode != with_alpha:  # convert would copy
        image = image.convert(with_alpha)
    alpha = image.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return image.convert(opaque), ()
    page = Image.new(opaque, image.size, "white")
    page.paste(image, mask=alpha)
    return page, ("transparent areas became white",)


def _min_to_max(values: np.ndarray) -> tuple[Image.Image, tuple[str, ...]]:
    """Numbers of any range `[H, W]` as grey: the smallest finite one black, the largest white; works in place."""
    finite = np.isfinite(values)
    if not finite.any():
        raise UploadError("This picture holds no finite numbers.")
    low = values.min(where=finite, initial=np.inf)
    high = values.max(where=finite, initial=-np.inf)
    np.nan_to_num(values, copy=False, nan=low, posinf=high, neginf=low)
    peak = max(abs(low), abs(high), np.float32(1e-30))
    values /= peak  # in [-1, 1], so that no difference overflows
    values -= low / peak
    values *= 255 / max(values.max(), np.float32(1e-30))
    return Image.fromarray(values.round().astype(np.uint8)), ("values scaled so that the smallest is black and the largest white",)


class _TimedFile(io.BytesIO):
    """A file in memory that can be read for a few seconds only: decoders that come back for more are told no."""

    def __init__(self, data: bytes):
        super().__init__(data)
        self.deadline = time.monotonic() + SECONDS

    def read(self, size: int | None = -1) -> bytes:
        if time.monotonic() > self.deadline:
            raise UploadError(TOO_SLOW)
        return super().read(size)


@contextmanager
def _as_sentence(sentence: str) -> Iterator[None]:
    """Tell whatever a decoder raises in one sentence; they raise more kinds than they document."""
    try:
        yield
    except UploadError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UploadError(TOO_LARGE) from error
    except Exception as error:
        raise UploadError(sentence) from error
