"""Weights from the network: found in the caches of huggingface_hub and torch.hub, or fetched into them.

A download runs in a thread of its own while the caller reports its progress in bytes and listens for Stop, so
that neither a slow host nor one that never answers holds anybody up.
"""

from __future__ import annotations

import concurrent.futures
import errno
import hashlib
import http.client
import re
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model_zoo.deferred import torch
from model_zoo.errors import ModelLoadError

ANSWER_SECONDS = 10  # how long a host may take to answer
SILENT_SECONDS = 30  # how long a download may go without a byte
PIECE = 2**18  # bytes; small enough for a smooth bar on a slow line


class Watcher(Protocol):
    """Whoever follows a load; `techniques.base.Run` is one."""

    def check(self) -> None: ...

    def report(self, fraction: float, text: str) -> None: ...


class Weights(Protocol):
    """A file of weights: its name for the visitor, its size in bytes (about), where it is and how it gets there."""

    name: str
    size: Callable[[], int]

    def cached(self) -> Path | None: ...

    def download(self, transfer: Transfer) -> Path: ...


class Stopped(Exception):
    """Ends the thread of a download that nobody waits for any more."""


class WrongChecksum(OSError):
    """What arrived is not what its author published."""


class Transfer:
    """What the thread of a download and its caller tell each other."""

    def __init__(self, total: int):
        self.total = total
        self.done = 0
        self.last_byte = time.monotonic()
        self.stopped = False

    def add(self, count: int) -> None:
        if self.stopped:
            raise Stopped
        self.done += count
        self.last_byte = time.monotonic()


@dataclass(frozen=True)
class HubWeights:
    """The first of `files` that a repository of the Hugging Face hub has, in the hub's own cache."""

    name: str
    size: Callable[[], int]
    repository: str
    files: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")

    def cached(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = (try_to_load_from_cache(self.repository, file) for file in self.files)
        return next((Path(path) for path in found if isinstance(path, str)), None)

    def download(self, transfer: Transfer) -> Path:
        from huggingface_hub import constants, hf_hub_download

        # plain HTTP in small pieces: the hub's other ways answer neither to Stop nor to the bar in time
        constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE = True, PIECE
        file, metadata = self._ask()
        transfer.total = metadata.size or transfer.total
        path = Path(hf_hub_download(self.repository, file, tqdm_class=_bar(transfer), etag_timeout=ANSWER_SECONDS))
        # the hub's entity tag of a large file is its SHA-256, which huggingface_hub does not check over plain HTTP
        if transfer.done and len(metadata.etag or "") == 64 and _sha256(path) != metadata.etag:
            path.resolve().unlink()  # written by this very download, and nothing else is ever removed
            path.unlink(missing_ok=True)
            raise WrongChecksum
        return path

    def _ask(self):
        """Name and description of the first file that exists, without the hub's retries: when the network is
        down they take half a minute."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError

        def metadata(file: str):
            return get_hf_file_metadata(hf_hub_url(self.repository, file), timeout=ANSWER_SECONDS)

        *preferred, last = self.files
        for file in preferred:
            with suppress(EntryNotFoundError):
                return file, metadata(file)
        return last, metadata(last)


@dataclass(frozen=True)
class UrlWeights:
    """One file at a web address, in the cache of torch.hub; its name ends in the first digits of its SHA-256."""

    name: str
    size: Callable[[], int]
    url: str

    @property
    def path(self) -> Path:
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rpartition("/")[2]

    def cached(self) -> Path | None:
        return self.path if self.path.is_file() else None

    def download(self, transfer: Transfer) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.partial")
        request = urllib.request.Request(self.url, headers={"User-Agent": "torch.hub"})
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response, partial.open("wb") as file:
                transfer.total = int(response.headers.get("Content-Length") or 0)
                while piece := response.read(PIECE):
                    file.write(piece)
                    transfer.add(len(piece))
            if transfer.done < transfer.total:
                raise http.client.IncompleteRead(b"", transfer.total - transfer.done)
            named = re.search(r"-([0-9a-f]{8,64})\.", self.path.name)
            if named and not _sha256(partial).startswith(named.group(1)):
                raise WrongChecksum
            return partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)


def fetch(weights: Weights, run: Watcher) -> Path:
    """The file of these weights on this machine, downloaded where there is none.

    A file that is there already is used as it is: it belongs to the user, and is neither removed nor replaced.
    Raises ModelLoadError with a sentence when the file cannot be had, and whatever `run.check` raises.
    """
    from huggingface_hub.errors import HTTPError  # of the HTTP library that the hub uses

    path = weights.cached()
    if path:
        return path
    try:
        return _download(weights, run)
    except (OSError, HTTPError, http.client.HTTPException) as error:
        raise ModelLoadError(
            f"{weights.name} needs a download of about {_megabytes(weights.size())} MB, and {_reason(error)}. "
            "The bundled models work without a network; the current model stays."
        ) from error


def _download(weights: Weights, run: Watcher) -> Path:
    """Download in a thread; report and listen here."""
    transfer = Transfer(weights.size())
    outcome: concurrent.futures.Future[Path] = concurrent.futures.Future()

    def work() -> None:
        try:
            outcome.set_result(weights.download(transfer))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, name=f"download {weights.name}", daemon=True).start()
    try:
        while not concurrent.futures.wait([outcome], timeout=0.1).done:
            run.check()
            fraction = min(1.0, transfer.done / max(1, transfer.total))
            run.report(fraction, f"Downloading {weights.name}: {_megabytes(transfer.done)} of {_megabytes(transfer.total)} MB")
            if time.monotonic() - transfer.last_byte > SILENT_SECONDS:
                raise TimeoutError
    finally:
        transfer.stopped = True
    return outcome.result()


def _megabytes(count: int) -> str:
    """A count of bytes in megabytes (10^6): "0.6", "7", "102"."""
    return f"{count / 1e6:.0f}" if count >= 1e6 or not count else f"{count / 1e6:.1f}"


def _bar(transfer: Transfer) -> type:
    """A progress bar for huggingface_hub that draws nothing and tells the transfer."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            transfer.add(int(n or 0))

    return Bar


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    """Why a download failed, and what to do about it."""
    status = getattr(getattr(error, "response", None), "status_code", None) or getattr(error, "code", None)
    if getattr(error, "errno", None) == errno.ENOSPC:
        return "the disk is full. Free some space and try again"
    if isinstance(error, PermissionError):
        return "the cache folder may not be written to. Set HF_HOME and TORCH_HOME to a folder of your own"
    if isinstance(error, WrongChecksum):
        return "what arrived is not what its author published (wrong checksum). Try again"
    if status in (401, 403):
        return "its host asks for permission: the model is private, gated or gone. Accept its terms and log in with `hf auth login`"
    if status == 404:
        return "its host does not have the file. Choose another model"
    if status:
        return f"its host answers with error {status}. Try again later"
    if isinstance(error, http.client.IncompleteRead) or "Consistency check" in str(error):
        return "the download broke off. Try again"
    if isinstance(error, TimeoutError):
        return "its host has stopped sending. Try again later"
    return "this machine cannot reach its host. Check the network"
