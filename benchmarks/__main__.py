"""`python -m benchmarks`: a Markdown table of ratios, all from one run on this machine."""

from __future__ import annotations

import argparse
import platform

import torch

from benchmarks import cases
from benchmarks.attacks import ATTACKS
from benchmarks.cases import Case
from benchmarks.class_maps import CLASS_MAPS
from benchmarks.feature_pictures import FEATURE_PICTURES
from benchmarks.maps import MAPS
from benchmarks.measure import costs
from benchmarks.pixel_maps import PIXEL_MAPS

CASES = cases.CASES | ATTACKS | CLASS_MAPS | PIXEL_MAPS | FEATURE_PICTURES | MAPS

HEAD = """| Technique | Against | Time, ours / theirs | Peak memory, ours / theirs | Allowed |
|---|---|---|---|---|"""


def rows(case: Case, repetitions: int, device: str) -> list[str]:
    """One Markdown row for everything the technique is compared with."""
    measured = costs({"": case.ours, **case.others}, repetitions, device)
    ours = measured.pop("")
    lines = []
    for name, theirs in measured.items():
        time, bar = ours.seconds / theirs.seconds, case.bars.get(name)
        verdict = "" if bar is None else f"≤ {bar:g}: {'kept' if time <= bar else '**missed**'}"
        times = f"**{time:.2f}** ({milliseconds(ours.seconds)} / {milliseconds(theirs.seconds)})"
        memory = f"{ours.bytes / max(1, theirs.bytes):.2f} ({megabytes(ours.bytes)} / {megabytes(theirs.bytes)})"
        lines.append(f"| {case.title} | {name} | {times} | {memory} | {verdict} |")
    return lines + [f"| {case.title} | {name} | not installed here | | |" for name in case.missing]


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def megabytes(count: int) -> str:
    return f"{count / 1e6:.3g} MB"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What Loupe's techniques cost beside other ways to do the same.")
    parser.add_argument("cases", nargs="*", help=f"only these: {', '.join(CASES)}")
    parser.add_argument("--repetitions", type=int, default=5, help="calls of each contestant, of which the median counts")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"there is no case {', '.join(unknown)}; expected {', '.join(CASES)}")
    processor = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, {processor}; medians of {arguments.repetitions}\n")
    print(HEAD, flush=True)
    for name in arguments.cases or CASES:
        print("\n".join(rows(CASES[name](arguments.device), arguments.repetitions, arguments.device)), flush=True)


if __name__ == "__main__":
    main()
