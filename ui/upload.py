"""The picture inputs: they hand uploaded files to Loupe's own loader instead of Gradio's."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr
from gradio.utils import is_in_or_equal

from techniques.base.pictures import ReadPicture, read_picture


@dataclass(frozen=True)
class Upload:
    """A file in Gradio's upload folder, and the name its owner gave it."""

    path: str
    name: str

    @classmethod
    def of(cls, payload, folder: str) -> Upload | None:
        """What a component was sent, or None when there is no file in it.

        Gradio looks whether a file lies in the upload folder only where the message calls itself one.
        """
        if payload is None or not payload.path:
            return None
        if not is_in_or_equal(payload.path, folder):
            raise gr.Error("This file has not been uploaded. Upload the file itself.", print_exception=False)
        return cls(payload.path, payload.orig_name or "file")

    def read(self) -> ReadPicture:
        """The picture; UploadError says in a sentence why it is none."""
        return read_picture(self.path, self.name)


class PictureInput(gr.Image):
    """An image component that does not decode: it returns the `Upload`, or None when there is no file."""

    is_template = True

    def get_block_name(self) -> str:
        return "image"

    def preprocess(self, payload) -> Upload | None:
        return Upload.of(payload, self.GRADIO_CACHE)


class FileInput(gr.File):
    """One file of any kind, which is not looked into: it returns the `Upload`, or None when there is none."""

    is_template = True

    def get_block_name(self) -> str:
        return "file"

    def preprocess(self, payload) -> Upload | None:
        return Upload.of(payload, self.GRADIO_CACHE)


class PicturesInput(gr.File):
    """Several picture files: it returns a list of `Upload`."""

    is_template = True

    def get_block_name(self) -> str:
        return "file"

    def preprocess(self, payload) -> list[Upload]:
        uploads = [Upload.of(file, self.GRADIO_CACHE) for file in payload or ()]
        return [upload for upload in uploads if upload]
