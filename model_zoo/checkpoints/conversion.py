"""From a file that nobody vouches for to a safetensors file of plain, finite weights.

A safetensors file is copied once its header has been checked. A checkpoint of `torch.save` is checked without torch
(`precheck.py`) and then read by torch in a process of its own (`child.py`), with limits on memory, time and what it may
write; this process reads only the safetensors file that comes out. The other process contains crashes and memory; it is
not a sandbox: what keeps code out is that torch reads with `weights_only=True`, after the check.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_zoo.checkpoints import child
from model_zoo.checkpoints.precheck import Checked, precheck
from model_zoo.checkpoints.recognise import recognise
from model_zoo.checkpoints.sentences import BUSY, DAMAGED, DISK_FULL, NOT_FINITE, NOT_PLAIN, refusal, shown
from model_zoo.checkpoints.tensors import read_header
from model_zoo.deferred import torch
from model_zoo.downloads import Watcher

SECONDS = 45  # for the other process; it takes two to import torch
ROOM = 512 * 10**6  # bytes that reading takes on top of the file and its weights
SPARE_DISK = 10**8  # bytes that stay free
DISK_ERRORS = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows knows no quota
PIECE = 2**22  # numbers looked at together
KEPT_VARIABLES = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # without them, some systems cannot start Python or load torch
_one_at_a_time = threading.Lock()  # two of them could need more memory than there is


@dataclass(frozen=True)
class Stored:
    """Weights of a visitor as a safetensors file of ours.

    `shapes` and `dtypes` (as in safetensors: "F32", "BF16", "I64") are by the names in the file, prefixes and all. `part`
    is where in the checkpoint they were ("state_dict_ema"; "" when it held nothing else), `parts` are the other sets of
    weights in it, and `notes` say so to the visitor.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    part: str = ""
    notes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


def store(path: Path, name: str, folder: Path, limit: int, run: Watcher) -> Stored:
    """Recognise, check and convert a visitor's file to `folder`/weights.safetensors; their file stays as it is.

    `name` is what the visitor called it, `limit` how many bytes its tensors may have. Raises UploadError with a sentence for
    a file that is anything but plain, finite weights, and whatever `run.check` raises; then `folder` is left as it was.
    """
    target, partial = folder / "weights.safetensors", folder / "weights.partial"
    run.report(0.0, f"Checking {shown(name)}")
    kind = recognise(path)
    try:
        checked = None
        if kind == "safetensors":
            read_header(path, limit)
            _need_disk(folder, path.stat().st_size)
            shutil.copyfile(path, partial)
        else:
            checked = precheck(path, limit, run.check)
            _need_disk(folder, checked.bytes)
            run.report(0.2, f"Reading {shown(name)}")
            _convert(path, partial, checked, run)
        header = read_header(partial, limit)
        if checked and (header.shapes, header.dtypes) != (checked.shapes, checked.dtypes):
            raise refusal(NOT_PLAIN)
        check_numbers(partial, run)
        os.replace(partial, target)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise refusal(DISK_FULL) from error
        raise
    finally:
        partial.unlink(missing_ok=True)
    return Stored(target, header.shapes, header.dtypes, *_told(checked))


def _told(checked: Checked | None) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Part, notes and other parts of a checkpoint."""
    if checked is None:
        return "", (), ()
    part, notes = shown(".".join(checked.part)), []
    others = tuple(map(shown, checked.others))
    if part:
        notes.append(f"The weights under “{part}” are used" + (f"; the file holds others, too: {', '.join(others[:5])}." if others else "."))
    if checked.left_out:
        notes.append(f"{checked.left_out} entries beside the weights are no tensors and were left out.")
    return part, tuple(notes), others


def check_numbers(path: Path, run: Watcher) -> None:
    """Raises UploadError for a number that is not finite or a variance below zero, looking at one tensor at a time."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            for number, name in enumerate(names):
                run.check()
                run.report(0.6 + 0.4 * number / len(names), "Looking at the numbers")
                what = _fault(file.get_tensor(name), name)
                if what:
                    raise refusal(NOT_FINITE, what=what, name=shown(name))
    except (SafetensorError, RuntimeError, ValueError):
        raise refusal(DAMAGED, what="its tensors cannot be read") from None


def _fault(tensor: torch.Tensor, name: str) -> str | None:
    """What is wrong with the numbers of a tensor: "NaN", "infinity", "negative variance", or None."""
    if not tensor.is_floating_point():
        return None
    for piece in tensor.flatten().split(PIECE):
        if not piece.isfinite().all():
            return "NaN" if piece.isnan().any() else "infinity"
        if name.rpartition(".")[2] == "running_var" and (piece < 0).any():
            return "negative variance"
    return None


def _convert(source: Path, target: Path, checked: Checked, run: Watcher) -> None:
    """Have torch read the file in another process; UploadError when that fails, and it is ended when `run` is stopped."""
    request = {
        "source": str(source.resolve()),
        "target": str(target.resolve()),
        "part": checked.part,
        "folders": [folder for folder in sys.path if os.path.isabs(folder)],
        "room": ROOM + source.stat().st_size + checked.bytes,
        "seconds": SECONDS,
        "largest": checked.bytes + 10**7,
    }
    environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    command = [sys.executable, "-I", child.__file__, json.dumps(request)]
    while not _one_at_a_time.acquire(timeout=0.1):
        run.check()
    try:
        process = subprocess.Popen(
            command,
            cwd=target.parent,
            env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        status = _await(process, run)
    except OSError:  # no process, no memory for one
        raise refusal(BUSY) from None
    finally:
        _one_at_a_time.release()
    if status == child.DISK_FULL:
        raise refusal(DISK_FULL)
    if status in (None, child.NOT_STARTED):
        raise refusal(BUSY)
    if status:
        raise refusal(NOT_PLAIN)


def _await(process: subprocess.Popen, run: Watcher) -> int | None:
    """The exit status, or None when the process was ended because it took too long. It never outlives this call."""
    deadline = time.monotonic() + SECONDS
    try:
        while time.monotonic() < deadline:
            try:
                return process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                run.check()
        return None
    finally:
        process.kill()
        process.wait()


def _need_disk(folder: Path, count: int) -> None:
    if shutil.disk_usage(folder).free < count + SPARE_DISK:
        raise refusal(DISK_FULL)
