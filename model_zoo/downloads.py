"""Weights from the network: found in the caches of huggingface_hub (`hub_files.py`) and torch.hub, or fetched into them.

A download runs in a thread of its own while the caller reports its progress in bytes and listens for Stop, so
that neither a slow host nor one that never answers holds anybody up.
"""

from __future__ import annotations

import concurrent.futures
import errno
import hashlib
import http.client
import re
import shutil
import threading
import time
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model_zoo.deferred import torch
from model_zoo.errors import ModelLoadError

ANSWER_SECONDS = 10  # how long a host may take to answer
SILENT_SECONDS = 15  # how long a download may go without a byte
PIECE = 2**18  # bytes; small enough for a smooth bar on a slow line
ABSENT = "its host does not have the file. Choose another model"
_LOG_IN = "If it is there, accept its terms and log in with `hf auth login`"


class Watcher(Protocol):
    """Whoever follows a load; `techniques.base.Run` is one."""

    def check(self) -> None: ...

    def report(self, fraction: float, text: str) -> None: ...


class Alone:
    """Watches a load that nobody follows or stops."""

    def check(self) -> None:
        pass

    def report(self, fraction: float, text: str) -> None:
        pass


class Weights(Protocol):
    """A file of weights: its name for the visitor, its size in bytes (about; 0: unknown), what it means that its host
    does not have it, where it is, whether it is still what its author published, and how it gets there."""

    name: str
    size: int
    absent: str

    def cached(self) -> Path | None: ...

    def intact(self, path: Path) -> bool: ...

    def download(self, transfer: Transfer) -> Path: ...


class Stopped(Exception):
    """Ends the thread of a download that nobody waits for any more."""


class WrongChecksum(OSError):
    """What arrived is not what its author published."""


class TooLarge(OSError):
    """The file is larger than the network that it is for could ever need."""


class Transfer:
    """What the thread of a download and its caller tell each other."""

    def __init__(self, total: int):
        self.total = total
        self.limit: int | None = None
        self.done = 0
        self.last_byte = time.monotonic()
        self.stopped = False

    def add(self, count: int) -> None:
        if self.stopped:
            raise Stopped
        self.done += count
        if self.limit is not None and self.done > self.limit:
            raise TooLarge
        self.last_byte = time.monotonic()


@dataclass(frozen=True)
class UrlWeights:
    """One file at a web address, in the cache of torch.hub; its name ends in the first digits of its SHA-256."""

    name: str
    size: int
    url: str
    absent: str = ABSENT

    @property
    def path(self) -> Path:
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rpartition("/")[2]

    def cached(self) -> Path | None:
        return self.path if self.path.is_file() else None

    def intact(self, path: Path) -> bool:
        """Always: a file there may be the user's own, and some published ones do not fit the digits in their names."""
        return path.is_file()

    def download(self, transfer: Transfer) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.partial")
        request = urllib.request.Request(self.url, headers={"User-Agent": "torch.hub"})
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response, partial.open("wb") as file:
                transfer.total = int(response.headers.get("Content-Length") or 0)
                check_space(partial.parent, transfer.total)
                while piece := response.read(PIECE):
                    file.write(piece)
                    transfer.add(len(piece))
            if transfer.done < transfer.total:
                raise http.client.IncompleteRead(b"", transfer.total - transfer.done)
            named = re.search(r"-([0-9a-f]{8,64})\.", self.path.name)
            if named and not sha256(partial).startswith(named.group(1)):
                raise WrongChecksum
            return partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)


def fetch(weights: Weights, run: Watcher) -> Path:
    """The file of these weights on this machine, downloaded where there is none.

    A file of the hub's cache that is no longer what its author published is downloaded anew, once. Any other file
    that is there already is used as it is: it belongs to the user, and is neither removed nor replaced. Raises
    ModelLoadError with a sentence when the file cannot be had, and whatever `run.check` raises.
    """
    from huggingface_hub.errors import HTTPError  # of the HTTP library that the hub uses

    path = weights.cached()
    if path:
        run.report(0.0, f"Checking {weights.name}")
    damaged = path is not None and not weights.intact(path)
    if path and not damaged:
        return path
    try:
        return _download(weights, run)
    except (OSError, HTTPError, http.client.HTTPException) as error:
        size = f" of about {_megabytes(weights.size)} MB" if weights.size else ""
        need = f"The file of {weights.name} on this machine is damaged. It" if damaged else weights.name
        raise ModelLoadError(
            f"{need} needs a download{size}, and {_reason(error, weights)}. The bundled models work without a network; the current model stays."
        ) from error


def _download(weights: Weights, run: Watcher) -> Path:
    """Download in a thread; report and listen here."""
    transfer = Transfer(weights.size)
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


def check_space(folder: Path, needed: int) -> None:
    """Raise what a full disk raises, before anything is written, when there is no room for so many bytes."""
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, "No space left on device")


def sha256(path: Path) -> str:
    """Digest of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def _reason(error: Exception, weights: Weights) -> str:
    """Why a download failed, and what to do about it."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    status = getattr(getattr(error, "response", None), "status_code", None) or getattr(error, "code", None)
    if getattr(error, "errno", None) == errno.ENOSPC:
        return "the disk is full. Free some space and try again"
    if isinstance(error, PermissionError):
        return "the cache folder may not be written to. Set HF_HOME and TORCH_HOME to a folder of your own"
    if isinstance(error, WrongChecksum):
        return "what arrived is not what its author published (wrong checksum). Try again"
    if isinstance(error, TooLarge):
        return "its file is larger than such a network can be. Choose another model"
    if status == 429:
        return "its host has had too many requests from here (error 429). Try again in a few minutes"
    gone = isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError)
    if gone or status in (401, 403):
        return f"its host asks for permission: the model is {'gone or private' if gone else 'private or gated'}. {_LOG_IN}"
    if status == 404:
        return weights.absent
    if status:
        return f"its host answers with error {status}. Try again later"
    if isinstance(error, http.client.IncompleteRead) or "Consistency check" in str(error):
        return "the download broke off. Try again"
    if isinstance(error, TimeoutError):
        return "its host has stopped sending. Try again later"
    return "this machine cannot reach its host. Check the network"
