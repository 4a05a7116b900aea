"""Files that a page on the open internet is given sooner or later, and what Loupe must make of each.

Every case is built here in memory, small or at least small as a file. `python -m tests.hostile_pictures FOLDER`
writes them out, for trying them on the page.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

UNREADABLE = "not a picture we can read"
DAMAGED = "damaged or cut off"
TRANSPARENT = "transparent areas became white"
FIRST_FRAME = "first frame used"
SCALED = "values scaled"
SIXTEEN = "16-bit picture reduced to 8-bit"
FORMS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")


@dataclass(frozen=True)
class Case:
    """One file. Refused with `sentence`, or read as `mode` and `size` with the grey value `mean` and `corner` (the
    4x4 px at the top left), both to within 2 of 255, and exactly these `notes`, each given by its beginning."""

    name: str
    build: Callable[[], bytes]
    sentence: str | None = None
    mode: str = "RGB"
    size: tuple[int, int] = (48, 40)
    mean: float | None = None
    corner: float | None = None
    notes: tuple[str, ...] = ()


def encode(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def plain(mode: str = "RGB", colour=127, size=(48, 40)) -> Image.Image:
    return Image.new(mode, size, (colour,) * 3 if mode == "RGB" and isinstance(colour, int) else colour)


def marked(mode: str = "RGB") -> Image.Image:
    """Dark, with a white block of 8 px at the top left."""
    image = plain(mode, 20)
    image.paste((255,) * len(image.getbands()) if len(image.getbands()) > 1 else 255, (0, 0, 8, 8))
    return image


def lying(orientation: int) -> Image.Image:
    """`marked`, stored so that this EXIF orientation turns it upright again."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL's Transpose that undoes the one the tag asks for
    return marked().transpose(Image.Transpose(back[orientation])) if orientation in back else marked()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0)})  # where it was taken
    return tags


def noise(size=(48, 40)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes = b"", depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    """A PNG by hand: `rows` are the filtered scan lines, `extra` chunks come before them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def png16(colour: int, values: tuple[int, ...], extra: bytes = b"") -> bytes:
    return png(48, 40, (b"\0" + struct.pack(f">{len(values)}H", *values) * 48) * 40, 16, colour, extra)


def tiff(entries: dict[int, int], data: bytes) -> bytes:
    """A TIFF by hand: `data` at offset 8, then one directory of single LONG values."""
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(entries)) + directory + b"\0\0\0\0"


def tiled_tiff(width: int, height: int, tile_width: int, tile_height: int) -> bytes:
    """A small file whose tiles are far larger than its picture."""
    data = zlib.compress(bytes(100_000))
    sizes = {256: width, 257: height, 322: tile_width, 323: tile_height, 324: 8, 325: len(data)}
    return tiff({**sizes, 258: 8, 259: 8, 262: 1, 277: 1}, data)


def frames(form: str, count: int = 3, size=(48, 40), mode: str = "RGB", **options) -> bytes:
    """Several frames; the first one is of grey 60, the others brighter."""
    first, *others = (plain(mode, 60 + 20 * (i % 8), size) for i in range(count))
    return encode(first, form, save_all=True, append_images=others, **options)


def long_gif(count: int = 500, side: int = 2000) -> bytes:
    """A grey first frame and `count - 1` copies of a second, put together from the bytes of two frames."""
    still, two = (frames("GIF", n, (side, side), "L", disposal=1) for n in (1, 2))
    start = len(still) - 1
    return two[:start] + two[start:-1] * (count - 1) + b";"


def progressive_jpeg(scans: int) -> bytes:
    """A 25-megapixel JPEG of a few kilobytes that asks for one more pass over the whole picture per 42 bytes."""
    data = encode(Image.new("L", (5000, 5000), 128), "JPEG", progressive=True, quality=20)
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last * scans + b"\xff\xd9"


def broken_png() -> bytes:
    data = bytearray(encode(noise(), "PNG"))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    return bytes(data)


def keyed_png(mode: str, colour, key) -> bytes:
    """A PNG without alpha in which one colour counts as transparent."""
    return encode(plain(mode, colour), "PNG", transparency=key)


def palette_with_alpha() -> bytes:
    image = plain("P", 0)
    image.putpalette([200, 0, 0] * 256)
    return encode(image, "PNG", transparency=bytes([0] * 256))


def float_tiff(*values: float) -> bytes:
    return encode(Image.fromarray(np.resize(np.array(values, np.float32), (40, 48))), "TIFF")


def int_tiff(low: int, high: int) -> bytes:
    return encode(Image.fromarray(np.resize(np.array([low, high], np.int32), (40, 48))), "TIFF")


def webp_canvas(side: int) -> bytes:
    """An animated WebP that announces a huge canvas and draws 48x40 px of it."""
    frame = encode(plain(), "WEBP")[12:]

    def number(value: int) -> bytes:
        return struct.pack("<I", value)[:3]

    canvas = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + number(side - 1) * 2
    body = number(0) * 2 + number(47) + number(39) + number(100) + b"\0" + frame
    parts = canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6) + b"ANMF" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WEBP" + parts


def with_profile(profile: bytes) -> bytes:
    return encode(plain(), "JPEG", icc_profile=profile)


def compressed_text(megabytes: int) -> bytes:
    """A PNG whose comment unpacks to this much."""
    packer = zlib.compressobj(1)
    text = b"".join(packer.compress(bytes(10**6)) for _ in range(megabytes)) + packer.flush()
    return png(48, 40, bytes(145 * 40), extra=chunk(b"zTXt", b"comment\0\0" + text))


def with_text() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "somebody")
    return encode(plain(), "PNG", pnginfo=text)


def broken_exif() -> bytes:
    return encode(plain(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")


SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><script>alert(1)</script></svg>"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


def refused() -> list[Case]:
    """Files that get a sentence."""

    def half(form: str, **options) -> Callable[[], bytes]:
        data = encode(noise(), form, **options)
        return lambda: data[: len(data) // 2]

    strangers = {
        "text.png": b"This is not a picture at all.\n" * 20,
        "page.jpg": b"<!doctype html><html><body><svg></svg>hello</body></html>",
        "program.png": b"MZ\x90\0\x03\0\0\0" + bytes(200),
        "document.jpg": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 40\n%%EndComments\nshowpage\n",
        "archive.png": b"PK\x03\x04" + bytes(100),
        "pickle.jpg": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
        "sound.webp": b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
        "metafile.png": b"\xd7\xcd\xc6\x9a" + bytes(60),
        "photoshop.png": b"8BPS\0\x01" + bytes(6) + b"\0\x03\0\0\0\x28\0\0\0\x30\0\x08\0\x03" + bytes(40),
        "portable.png": b"P6 48 40 255\n" + bytes(48 * 40 * 3),
        "icon.png": encode(plain(size=(32, 32)), "ICO"),
        "jpeg2000.jpg": encode(plain(), "JPEG2000"),
        "film.avif": b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(64),
        "zeros.bmp": bytes(5000),
        "no pixels.png": png(0, 40),
        "only a bitmap's letters.bmp": b"BM" + bytes(60),
    }
    return [
        Case("empty.jpg", lambda: b"", "empty (0 bytes)"),
        *(Case(name, lambda data=data: data, DAMAGED if name == "no pixels.png" else UNREADABLE) for name, data in strangers.items()),
        Case("half.jpg", half("JPEG"), DAMAGED),
        Case("half progressive.jpg", half("JPEG", progressive=True), DAMAGED),
        Case("half.png", half("PNG"), DAMAGED),
        Case("half.gif", half("GIF"), DAMAGED),
        Case("half.tif", half("TIFF"), DAMAGED),
        Case("half packed.tif", half("TIFF", compression="tiff_lzw"), DAMAGED),
        Case("half.bmp", half("BMP"), DAMAGED),
        Case("half.webp", half("WEBP", lossless=True), DAMAGED),
        Case("half.avif", half("AVIF"), DAMAGED),
        Case("twenty bytes.jpg", lambda: encode(noise(), "JPEG")[:20], DAMAGED),
        Case("header only.png", lambda: encode(noise(), "PNG")[:33], DAMAGED),
        Case("one bit wrong.png", broken_png, DAMAGED),
        Case("no packed data.png", lambda: png(48, 40, b""), DAMAGED),
        Case("drawing.svg", lambda: SVG, "SVG"),
        Case("drawing.png", lambda: b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- drawn -->\n" + SVG, "save it as PNG first"),
        Case("drawing in 16 bits.svg", lambda: SVG.decode().encode("utf-16"), "SVG"),
        Case("telephone.heic", lambda: HEIC, "HEIC"),
        Case("telephone.jpg", lambda: HEIC.replace(b"ftypheic", b"ftypmif1"), "Export as JPEG"),
        Case("169 megapixels.png", lambda: png(13000, 13000, bytes(1626 * 13000), 1, 0), "13000×13000; the limit is 25 megapixels"),
        Case("88 megapixels.png", lambda: png(9380, 9380, b"", 8, 0), "9380×9380; the limit is 25 megapixels"),
        Case("400 megapixels.png", lambda: png(20000, 20000, b"", 1, 0), "over 25 megapixels"),
        Case("900 megapixels.png", lambda: png(30000, 30000, b"", 1, 0), "over 25 megapixels"),
        Case("broad.png", lambda: png(12001, 1300, b"", 1, 0), "12,000 pixels a side"),
        Case("row.png", lambda: encode(plain(size=(10000, 1)), "PNG"), "too long and thin"),
        Case("column.png", lambda: encode(plain(size=(1, 10000)), "PNG"), "too long and thin"),
        Case("ribbon.jpg", lambda: encode(plain(size=(41, 2)), "JPEG"), "too long and thin"),
        Case("canvas.gif", lambda: b"GIF89a" + struct.pack("<HH", 65535, 65535) + encode(plain("L"), "GIF")[10:], "over 25 megapixels"),
        Case("canvas.webp", lambda: webp_canvas(16383), "over 25 megapixels"),
        Case("smaller canvas.webp", lambda: webp_canvas(6000), "6000×6000"),
        Case("huge tile.tif", lambda: tiled_tiff(64, 64, 40000, 40000), "over 25 megapixels"),
        Case("tall tiles.tif", lambda: tiled_tiff(12000, 600, 16, 1_500_000), "over 25 megapixels"),
        Case("no tile.tif", lambda: tiled_tiff(64, 64, 0, 0), DAMAGED),
        Case("21 megabytes.bmp", lambda: encode(plain(), "BMP") + bytes(21 * 2**20), "limit is 20 MB"),
        Case("100 MB of comment.png", lambda: compressed_text(100), DAMAGED),
        Case("no numbers.tif", lambda: float_tiff(float("nan"), float("inf")), "no finite numbers"),
    ]


def accepted() -> list[Case]:
    """Files that give a picture, told apart by its mean, its corner and its notes."""
    upright = {"mean": 28, "corner": 255}
    first = {"mean": 60, "notes": (FIRST_FRAME,)}
    white = {"mean": 255, "notes": (TRANSPARENT,)}
    half = (255 * 128 + 127 * 0) / 255  # black at alpha 127 over white
    return [
        *(Case(f"plain.{form.lower()}", lambda form=form: encode(plain(), form), mean=127) for form in FORMS),
        Case("a png.jpg", lambda: encode(plain(), "PNG"), mean=127),
        Case("grey.jpg", lambda: encode(plain("L"), "JPEG"), mode="L", mean=127),
        Case("grey.gif", lambda: encode(plain("L"), "GIF"), mean=127),
        Case("progressive.jpg", lambda: encode(plain(), "JPEG", progressive=True), mean=127),
        Case("one bit.png", lambda: encode(plain("1", 1), "PNG"), mode="L", mean=255),
        Case("fax.tif", lambda: encode(plain("1", 1), "TIFF", compression="group4"), mode="L", mean=255),
        Case("palette.png", lambda: encode(plain("RGB", (30, 60, 90)).quantize(4), "PNG"), mean=54),
        Case("ink.jpg", lambda: encode(plain("CMYK", (128, 128, 128, 0)), "JPEG"), mean=127),
        Case("lab.tif", lambda: encode(plain("LAB", (127, 128, 128)), "TIFF"), mean=118),
        Case("video colours.tif", lambda: encode(plain(), "TIFF", compression="jpeg"), mean=127),
        Case("16 bits.png", lambda: png16(0, (127 * 257,)), mode="L", mean=127, notes=(SIXTEEN,)),
        Case("16 bits at the top.png", lambda: png16(0, (65535,)), mode="L", mean=255, notes=(SIXTEEN,)),
        Case("16 bits and a key.png", lambda: png16(0, (127 * 257,), chunk(b"tRNS", b"\x12\x34")), mode="L", mean=127, notes=(SIXTEEN,)),
        Case("16 bits.tif", lambda: encode(Image.fromarray(np.full((40, 48), 32639, np.uint16)), "TIFF"), mode="L", mean=127, notes=(SIXTEEN,)),
        Case("16 bits in colour.png", lambda: png16(2, (32639, 32639, 32639)), mean=127),
        Case("16 bits, colour and a key.png", lambda: png16(2, (32639,) * 3, chunk(b"tRNS", b"\x12\x34" * 3)), mean=127),
        Case("32 bits.tif", lambda: int_tiff(-70000, 70000), mode="L", mean=127.5, corner=127.5, notes=(SCALED,)),
        Case("floats.tif", lambda: float_tiff(0.0, 1.0), mode="L", mean=127.5, notes=(SCALED,)),
        Case("huge floats.tif", lambda: float_tiff(-3e38, 3e38), mode="L", mean=127.5, notes=(SCALED,)),
        Case("floats and infinity.tif", lambda: float_tiff(0, 1, float("nan"), float("inf")), mode="L", mean=127.5, notes=(SCALED,)),
        Case("one float.tif", lambda: float_tiff(0.5), mode="L", mean=0, notes=(SCALED,)),
        Case("hidden colours.png", lambda: encode(plain("RGBA", (200, 0, 0, 0)), "PNG"), **white),
        Case("half transparent.png", lambda: encode(plain("RGBA", (0, 0, 0, 127)), "PNG"), mean=half, notes=(TRANSPARENT,)),
        Case("opaque.png", lambda: encode(plain("RGBA", (127, 127, 127, 255)), "PNG"), mean=127),
        Case("grey and alpha.png", lambda: encode(plain("LA", (0, 127)), "PNG"), mode="L", mean=half, notes=(TRANSPARENT,)),
        Case("palette and alpha.png", palette_with_alpha, **white),
        Case("grey key.png", lambda: keyed_png("L", 40, 40), mode="L", **white),
        Case("unused grey key.png", lambda: keyed_png("L", 40, 41), mode="L", mean=40),
        Case("colour key.png", lambda: keyed_png("RGB", (9, 8, 7), (9, 8, 7)), **white),
        Case("one bit and a key.png", lambda: keyed_png("1", 0, 0), mode="L", **white),
        Case("transparent.webp", lambda: encode(plain("RGBA", (200, 0, 0, 0)), "WEBP", lossless=True), **white),
        Case("transparent.tif", lambda: encode(plain("RGBA", (200, 0, 0, 0)), "TIFF"), **white),
        Case("transparent.gif", lambda: encode(plain("P", 3), "GIF", transparency=3), **white),
        Case("transparent.avif", lambda: encode(plain("RGBA", (200, 0, 0, 0)), "AVIF"), **white),
        Case("moving.gif", lambda: frames("GIF"), **first),
        Case("moving.webp", lambda: frames("WEBP", lossless=True), **first),
        Case("moving.png", lambda: frames("PNG"), **first),
        Case("moving.avif", lambda: frames("AVIF"), **first),
        Case("pages.tif", lambda: frames("TIFF"), **first),
        Case("500 frames.gif", long_gif, size=(2000, 2000), **first),
        Case("two photographs.jpg", lambda: frames("MPO", 2), mean=60),
        *(Case(f"turned {i}.jpg", lambda i=i: encode(lying(i), "JPEG", exif=exif(i), quality=95), **upright) for i in range(1, 9)),
        Case("turned 9.jpg", lambda: encode(marked(), "JPEG", exif=exif(9), quality=95), **upright),
        *(
            Case(f"turned 6.{form.lower()}", lambda form=form: encode(lying(6), form, exif=exif(6), quality=95), **upright)
            for form in ("PNG", "WEBP", "TIFF", "AVIF")
        ),
        Case("broken exif.jpg", broken_exif, mean=127),
        Case("one pixel.png", lambda: encode(plain(size=(1, 1)), "PNG"), size=(1, 1), mean=127),
        Case("four pixels.gif", lambda: encode(plain("L", size=(2, 2)), "GIF"), size=(2, 2), mean=127),
        Case("digit.png", lambda: encode(plain("L", size=(28, 28)), "PNG"), mode="L", size=(28, 28), mean=127),
        Case("small, clear.gif", lambda: encode(plain("P", 3, (20, 20)), "GIF", transparency=3), size=(20, 20), mean=255, notes=(TRANSPARENT,)),
        Case("twenty to one.png", lambda: encode(plain(size=(640, 32)), "PNG"), size=(640, 32), mean=127),
        Case("25 megapixels.png", lambda: png(5000, 5000, bytes(5001 * 5000), 8, 0), mode="L", size=(5000, 5000), mean=0),
        Case("12000 pixels.png", lambda: png(12000, 600, bytes(1501 * 600), 1, 0), mode="L", size=(12000, 600), mean=0),
        Case("one tile.tif", lambda: tiled_tiff(64, 64, 256, 256), mode="L", size=(64, 64), mean=0),
        Case("bad profile.jpg", lambda: with_profile(b"not a profile" * 20), mean=127),
        Case("written on.png", with_text, mean=127),
        Case("photograph and film.jpg", lambda: encode(plain(), "JPEG") + b"ftypmp42" * 999, mean=127),
    ]


def cases() -> list[Case]:
    return refused() + accepted()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases():
        (folder / case.name).write_bytes(case.build())
