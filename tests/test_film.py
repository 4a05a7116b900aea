"""Animations as GIF and MP4: all frames with their names, enlarged where small, in the colours they have, the same bytes each time."""

from __future__ import annotations

import io
import re

import av
import numpy as np
import pytest
from PIL import Image, ImageFont

from techniques.base import Animation, Curve, Note
from techniques.base.drawing import film_frames, gif_bytes, mp4_bytes, to_svg
from techniques.base.drawing.film import LAST
from ui.panels import REPLAY_BYTES, body

GREY = np.linspace(0, 1, 5)[:, None, None, None]


def flat(colours, height: int, width: int) -> np.ndarray:
    """One frame of each colour `[T, C]`, `[T, C, height, width]`."""
    return np.tile(np.asarray(colours, np.float32)[:, :, None, None], (1, 1, height, width))


def named(frames: np.ndarray, name: str = "step {}: golf ball 31 %") -> Animation:
    return Animation(frames, 8.0, tuple(name.format(number) for number in range(len(frames))))


def decoded(file: bytes) -> tuple[list[np.ndarray], av.VideoStream]:
    with av.open(io.BytesIO(file)) as container:
        stream = container.streams.video[0]
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], stream


def test_a_small_picture_is_enlarged_with_sharp_pixels_above_its_name():
    frames = np.random.default_rng(0).random((2, 1, 28, 28))
    images = film_frames(named(frames))
    assert images[0].width == 224 and images[0].height > 224 and images[0].height % 2 == 0
    shown = np.asarray(images[1])[:224, :, 0]
    assert (shown[::8, ::8] == np.rint(frames[1, 0] * 255)).all() and (shown[7::8, 7::8] == shown[::8, ::8]).all()
    names = [np.asarray(image)[224:] for image in images]
    assert min(name.min() for name in names) < 60 and names[0].max() == 255  # dark on white
    assert (names[0] != names[1]).any()


def test_without_names_there_is_no_strip_and_odd_sides_become_even():
    assert [image.size for image in film_frames(Animation(np.zeros((2, 3, 225, 301))))] == [(302, 226)] * 2


@pytest.mark.parametrize("name", ["step {}: " + "a very long name of a class " * 9, "x" * 300])
def test_a_long_name_is_broken_into_two_lines_and_cut(name):
    frames = named(np.full((1, 3, 300, 300), 0.5), name)
    (image,) = film_frames(frames)
    dark = (np.asarray(image)[300:, :, 0] < 128).any(0)
    assert dark.any() and not dark[-4:].any()  # it ends before the border
    line = 1.3 * ImageFont.load_default(size=15).size
    assert image.height - 300 <= 2 * line + 8


def test_a_gif_holds_every_frame_for_its_time_and_the_last_one_longer():
    image = Image.open(io.BytesIO(gif_bytes(named(np.tile(GREY, (1, 1, 8, 8))))))
    shown, durations = [], []
    for number in range(image.n_frames):
        image.seek(number)
        shown.append(int(np.asarray(image.convert("L"))[:200].mean()))
        durations.append(image.info["duration"])
    assert shown == pytest.approx([0, 64, 128, 191, 255], abs=2)
    assert image.info["loop"] == 0
    assert durations[:-1] == [120] * 4  # 1/8 s, in the hundredths that a GIF counts
    assert durations[-1] == pytest.approx(125 + 1000 * LAST, abs=10)


def test_an_mp4_is_what_browsers_and_quicktime_play_and_its_colours_are_those_of_the_frames():
    colours = [(0.9, 0.1, 0.1), (0.1, 0.8, 0.2), (0.2, 0.3, 0.9), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0)]
    frames, stream = decoded(mp4_bytes(Animation(flat(colours, 225, 225), 8.0)))
    context = stream.codec_context
    assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 226, 226)
    assert len(frames) == 5 + round(8 * LAST) and float(stream.average_rate) == 8
    for frame, colour in zip(frames, colours):
        # 8 bits of luma and chroma in the range of broadcasting, and lossy: a few levels
        assert frame[20:200, 20:200].mean((0, 1)) == pytest.approx(255 * np.array(colour), abs=4)


@pytest.mark.parametrize("write", [gif_bytes, mp4_bytes])
def test_the_same_animation_gives_the_same_bytes(write):
    frames = named(np.random.default_rng(1).random((9, 3, 64, 64)).astype(np.float32))
    assert write(frames) == write(frames)


def test_one_frame_is_a_film_too():
    assert len(decoded(mp4_bytes(Animation(GREY[:1].repeat(3, 1).repeat(8, 2).repeat(8, 3))))[0]) > 1


def frames_of(html: str) -> list[str]:
    return re.search(r" frames='([^']*)'", html).group(1).split(",")


def test_the_page_gets_small_frames_without_loss_and_large_ones_in_what_a_line_carries():
    from base64 import b64decode

    small = np.random.default_rng(0).random((3, 1, 28, 28))
    html = body(named(small), None)
    read = np.asarray(Image.open(io.BytesIO(b64decode(frames_of(html)[2]))))
    assert (read == np.rint(255 * small[2, 0])).all() and "step 2: golf ball 31 %" in html
    noise = np.random.default_rng(0).random((60, 3, 224, 224)).astype(np.float32)  # nothing compresses worse
    assert len(body(Animation(0.35 + 0.3 * noise), None)) < 1.4 * REPLAY_BYTES


def test_a_curve_says_where_each_of_its_values_lies_for_the_line_of_a_replay():
    places = [float(place) for place in re.findall(r'data-at="([\d.]+)"', to_svg(Curve(np.array([0.0, 1.0, 3.0]), {"": np.zeros(3)})))]
    assert len(places) == 3 and (places[2] - places[1]) == pytest.approx(2 * (places[1] - places[0]), abs=0.3)  # one decimal


def test_a_film_is_made_of_the_panel_that_the_page_names_and_of_nothing_else(tmp_path, monkeypatch):
    import gradio as gr

    from ui import files
    from ui.films import film_file
    from ui.session import Answered, Sessions

    monkeypatch.setattr(files, "FOLDER", tmp_path)
    session = Sessions("bundled/digits").create("page")
    film = named(np.tile(GREY, (1, 3, 8, 8)))
    places = {"pgd-result": ("pgd", "result"), "fgsm-result": ("fgsm", "result")}
    session.answers = {name: Answered(answer, None, "", "", {}) for name, answer in {"pgd": film, "fgsm": Note("no film")}.items()}
    path = film_file(session, places, {"place": "pgd-result", "kind": "gif", "path": ["../../x", 1]})
    assert path.endswith("/pgd-result.gif") and open(path, "rb").read() == gif_bytes(film)
    for told in ({"place": "pgd-result", "kind": "../x"}, {"place": "fgsm-result", "kind": "gif"}, {"place": "x", "kind": "mp4"}, {}):
        with pytest.raises(gr.Error, match="no longer kept"):
            film_file(session, places, told)
