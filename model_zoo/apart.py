"""Work that the main process of a ZeroGPU Space must leave to another one.

There the GPU is seen only by processes forked from the main one. The first gradient a process takes makes torch
count the GPUs, on the CPU too: it finds none, and every process forked afterwards inherits that answer.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def apart(function: Callable[[], Answer]) -> Answer:
    """What `function` returns; on ZeroGPU from a forked process, when called in the main one. It must not raise there."""
    if not os.environ.get("SPACES_ZERO_GPU") or multiprocessing.parent_process():
        return function()
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)

    def work() -> None:
        # in a thread of its own: the threads that share the work of the forking one do not exist in the new process
        thread = threading.Thread(target=lambda: sender.send(function()))
        thread.start()
        thread.join()

    process = fork.Process(target=work)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()
