"""Time and peak memory of several ways to do one thing, measured side by side in one process.

On a CPU it is the process's own time on the processor that counts, whatever else the machine does: on an idle machine with one thread
that is the time to wait for.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch


class Cost(NamedTuple):
    """Median seconds of one call, and the most bytes that tensors took at one time during a call."""

    seconds: float
    bytes: int


def costs(contestants: Mapping[str, Callable[[], object]], repetitions: int, device: str) -> dict[str, Cost]:
    """The cost of each contestant. After one call each to warm up, in which memory is measured, they take turns, so that
    whatever else the machine does meets all of them alike."""
    peaks = {name: peak_bytes(call, device) for name, call in contestants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, call in contestants.items():
            seconds[name].append(duration(call, device))
    return {name: Cost(statistics.median(seconds[name]), peaks[name]) for name in contestants}


def duration(call: Callable[[], object], device: str) -> float:
    """Seconds of one call: on the processor, or with a GPU by the clock, its work included."""
    if device == "cpu":
        start = time.process_time()
        call()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_bytes(call: Callable[[], object], device: str) -> int:
    """The most memory that tensors made during the call took at one time, by torch's own record.

    Memory of the process would say less: what an allocator keeps for later is counted there, and what was there
    before is not. Scratch space inside a convolution is not counted here.
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
