"""Reads a checkpoint of `torch.save` in a process of its own and writes its tensors as safetensors.

Run as `python -I child.py REQUEST`, a JSON object: `source` and `target` are paths, `part` the keys that lead to the weights,
`folders` where to import from, `room` the bytes of memory it may take on top of torch itself, `seconds` of computing and
`largest` bytes to write. It is stopped by the system where it takes more. Nothing of this project is imported here.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys

NOT_STARTED = 3  # torch could not be imported: the machine is short of something
DISK_FULL = 4


def main(request: dict) -> int:
    """Convert; the exit status is 0, NOT_STARTED or DISK_FULL, and any other when the file could not be read."""
    sys.path[:] = request["folders"]
    limit("CORE", 0)
    limit("CPU", request["seconds"])
    limit("FSIZE", request["largest"])
    limit("NOFILE", 256)
    try:
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import save_file
    except (ImportError, MemoryError, OSError):
        return NOT_STARTED
    torch.set_num_threads(1)
    if in_use := memory_in_use():
        limit("AS", in_use + request["room"])  # torch alone takes gigabytes of addresses, so only now
    with torch.serialization.safe_globals([argparse.Namespace]):
        found = torch.load(request["source"], map_location="cpu", weights_only=True, mmap=False)
    for key in request["part"]:
        found = found[key]
    try:
        save_file(apart({name: value for name, value in dict.items(found) if isinstance(value, torch.Tensor)}), request["target"])
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error) or "Disk quota" in str(error):
            return DISK_FULL
        raise
    return 0


def apart(tensors: dict) -> dict:
    """The tensors, each in memory of its own and in order: safetensors knows neither shared memory nor strides."""
    import torch

    seen, separate = set(), {}
    for name, tensor in tensors.items():
        place, tensor = tensor.untyped_storage().data_ptr(), tensor.detach()
        separate[name] = tensor.clone(memory_format=torch.contiguous_format) if place in seen else tensor.contiguous()
        seen.add(place)
    return separate


def limit(resource: str, value: int) -> None:
    """Limit this process, where the system knows such limits; never above what it is allowed already."""
    try:
        import resource as limits

        kind = getattr(limits, f"RLIMIT_{resource}")
        _, allowed = limits.getrlimit(kind)
        value = value if allowed == limits.RLIM_INFINITY else min(value, allowed)
        limits.setrlimit(kind, (value, value))
    except (ImportError, AttributeError, ValueError, OSError):
        pass  # Windows has none, macOS not all of them


def memory_in_use() -> int:
    """Bytes of addresses that this process uses, or 0 where that cannot be asked."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
