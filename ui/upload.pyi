"""The picture input: hands the uploaded file to Loupe's own loader instead of Gradio's."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from techniques.base.pictures import ReadPicture, read_picture


@dataclass(frozen=True)
class Upload:
    """A file on the server, checked by Gradio to lie in its upload folder, and the name its owner gave it."""

    path: str
    name: str

    def read(self) -> ReadPicture:
        """The picture; UploadError says in a sentence why it is none."""
        return read_picture(self.path, self.name)

from gradio.events import Dependency

class PictureInput(gr.Image):
    """An image component that does not decode: it returns the `Upload`, or None when there is no file."""

    is_template = True

    def get_block_name(self) -> str:
        return "image"

    def preprocess(self, payload) -> Upload | None:
        if payload is None or not payload.path:
            return None
        return Upload(payload.path, payload.orig_name or "picture")
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component