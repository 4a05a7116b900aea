"""Zip files of strangers: opened without trusting a number in them, read member by member, never unpacked to disk by name.

A zip says of itself how large everything in it is. Nothing here relies on that: what counts is what has been read.
"""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from model_zoo.errors import UploadError

AT_ONCE = 1_000_000  # bytes; the list of a thousand members is a quarter of this
CHUNK = 1 << 16  # bytes
RATIO = 100  # a member may become so many times as large; pictures and trained numbers hardly shrink
SMALL = 1_000_000  # bytes; a member below this may shrink as much as it likes
DAMAGED = "This zip file is damaged or cut off. Please save it again and retry."
_FAULTS = (
    OSError, ValueError, NotImplementedError, RuntimeError, EOFError, OverflowError, MemoryError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
)  # fmt: skip


class TooLarge(UploadError):
    """A whole set or archive is more than we take, not one file of it."""


def is_zip(path: str | Path) -> bool:
    """Whether a file begins as a zip does, whatever it is called."""
    try:
        with open(path, "rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False


@contextmanager
def open_zip(path: str | Path, most: int) -> Iterator[zipfile.ZipFile]:
    """The archive; UploadError when it is damaged, TooLarge when it lists more than about `most` members.

    The list of members is measured before it is read: one of a million entries costs a gigabyte.
    """
    with _as_sentence():
        archive = zipfile.ZipFile(_Cautious(io.FileIO(path)))
    with archive:
        files = sum(not info.is_dir() for info in archive.infolist())
        if files > 2 * most:  # twice: hidden files and the like are not counted by whoever made it
            raise TooLarge(f"This zip file holds {files:,} files; the limit is {most:,}. Please send fewer.")
        yield archive


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """The content of one member, at most `most` bytes; UploadError says why it is not taken."""
    content = io.BytesIO()
    copy_member(archive, member, content, most)
    return content.getvalue()


def copy_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: BinaryIO, most: int) -> None:
    """Write the content of one member into a file of ours; UploadError as in `read_member`."""
    if member.flag_bits & 1:
        raise UploadError("It is protected by a password; please save the zip file without one.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UploadError("It is packed in an unusual way; please save the zip file again with the usual one (deflate).")
    written, allowed = 0, min(most, max(SMALL, RATIO * member.compress_size))
    with _as_sentence(), archive.open(member) as content:
        while chunk := content.read(CHUNK):
            written += len(chunk)
            if written > most:
                raise UploadError(f"It is too large; the limit is {most // 2**20} MB.")
            if written > allowed:
                raise UploadError(f"It becomes more than {RATIO} times as large when unpacked, as no picture does.")
            target.write(chunk)


class _Cautious(io.BufferedReader):
    """A file that is read in small parts only: whoever asks for more follows a number that lies, or a list that is too long."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(AT_ONCE + 1 if size is None or size < 0 else min(size, AT_ONCE + 1))
        if len(data) > AT_ONCE:
            raise TooLarge("This zip file lists too many files. Please send fewer.")
        return data


@contextmanager
def _as_sentence() -> Iterator[None]:
    try:
        yield
    except UploadError:
        raise
    except _FAULTS as error:
        raise UploadError(DAMAGED) from error
