"""An animation as files that can be shown anywhere: GIF and MP4, each frame with its name below it.

Both are for the eye: a GIF has 256 colours, and MP4 (H.264, 4:2:0) gives colour to every other pixel only. The exact frames are
in the arrays. The same animation gives the same bytes.
"""

from __future__ import annotations

import io
import math
from fractions import Fraction

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from techniques.base.drawing.pictures import enlarge, picture_image
from techniques.base.drawing.sheets import cut
from techniques.base.results import Animation, Picture

LAST = 1.5  # seconds for which the last frame stays before the film begins anew
LINES = 2  # of a name; what is longer is cut
COLOURS = 256  # of a GIF
SEEN = 8  # about so many of its frames are looked at to find them
PAPER, INK = 255, 25  # grey levels of the strip with the names
BT709 = 1  # its number for primaries, transfer and matrix in ITU-T H.273


def film_frames(animation: Animation) -> list[Image.Image]:
    """Every frame, small ones enlarged with sharp pixels, above a strip with its name; all of one size, with even sides, in RGB."""
    pictures = [enlarge(picture_image(Picture(frame))) for frame in animation.frames]
    width, height = pictures[0].size
    font = ImageFont.load_default(size=max(12, width // 20))
    names = [_lines(name, font, width - 8) for name in animation.names or [""] * len(pictures)]
    line = math.ceil(1.3 * font.size)
    strip = max(map(len, names)) * line + 6 if any(names) else 0
    frames = []
    for picture, name in zip(pictures, names):
        frame = Image.new("RGB", (width + width % 2, height + strip + (height + strip) % 2), (PAPER,) * 3)
        frame.paste(picture, (0, 0))
        for number, text in enumerate(name):
            ImageDraw.Draw(frame).text((4, height + 2 + number * line), text, fill=(INK,) * 3, font=font)
        frames.append(frame)
    return frames


def gif_bytes(animation: Animation) -> bytes:
    """The film as an endless GIF; all frames share the 256 colours that suit them best, so that nothing flickers."""
    frames = film_frames(animation)
    some = [np.asarray(frame)[::3, ::3] for frame in [*frames[:: math.ceil(len(frames) / SEEN)], frames[-1]]]
    palette = Image.fromarray(np.concatenate(some)).quantize(COLOURS)
    coloured = [frame.quantize(palette=palette) for frame in frames]
    pause = round(1000 / animation.rate)
    buffer = io.BytesIO()
    durations = [pause] * (len(frames) - 1) + [pause + round(1000 * LAST)]
    coloured[0].save(buffer, "GIF", save_all=True, append_images=coloured[1:], duration=durations, loop=0)
    return buffer.getvalue()


def mp4_bytes(animation: Animation) -> bytes:
    """The film as H.264 in MP4, as every browser and QuickTime play it; colours after BT.709."""
    import av

    frames = film_frames(animation)
    frames += frames[-1:] * round(LAST * animation.rate)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(animation.rate).limit_denominator(1000), options={"crf": "16", "preset": "veryfast"})
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # with another number of threads the bytes are others
        for what in ("color_primaries", "color_trc", "colorspace"):
            setattr(stream.codec_context, what, BT709)
        for frame in frames:
            video = av.VideoFrame.from_image(frame).reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            container.mux(stream.encode(video))
        container.mux(stream.encode())
    return buffer.getvalue()


def _lines(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The text in at most `LINES` lines, broken between words, and cut with an ellipsis where it needs more."""
    lines: list[str] = []
    for word in text.split():
        if lines and (len(lines) == LINES or font.getlength(f"{lines[-1]} {word}") <= width):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [cut(line, font, width) for line in lines]
