"""Runs `app.py` as a program, and refuses and records every connection that would leave this machine.

`python -m tests.offline_app RECORD [options of app.py]` writes one line per refused address into the file RECORD.
"""

from __future__ import annotations

import errno
import runpy
import sys

HERE = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "", None)


def refuse_other_machines(record: str) -> None:
    """Make every look-up of another host and every connection to one fail as without a network."""

    def hook(event: str, arguments: tuple) -> None:
        if event in ("socket.getaddrinfo", "socket.gethostbyname"):
            host = arguments[0]
        elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
            host = arguments[1][0]
        else:
            return
        host = host.decode() if isinstance(host, bytes) else host
        if host not in HERE:
            with open(record, "a", encoding="utf-8") as file:
                print(host, file=file)
            raise OSError(errno.ENETUNREACH, f"this test has no network: {host}")

    sys.addaudithook(hook)


if __name__ == "__main__":
    _, record, *options = sys.argv
    refuse_other_machines(record)
    sys.argv = ["app.py", *options]
    runpy.run_path("app.py", run_name="__main__")
