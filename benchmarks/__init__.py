"""What Loupe's techniques cost, beside the bare passes of the same network and beside other libraries: `python -m benchmarks`."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler, which measures memory, reports its start and end otherwise
