"""How events are queued. Everything that runs a model waits in one line; what fetches or reads a model has a line of its
own, so that a long download holds nobody up, and so has what reads a set of pictures; what only answers from memory does
not wait.

An event that may come again before it is answered says how in its `trigger_mode`: "always_last" where its inputs say all,
"multiple" where it brings data of its own, which Gradio would send a second time instead of the latest.

Each message of an event costs the page time, and a press on Stop waits for it: for each value that changes, and for each component that some
event has shown progress on, Gradio's page walks through its tree of components from the top until it comes to that one. Hence:

- an event with many outputs names one small component near the top of the page as `show_progress_on`;
- what follows many events (another picture, a finished run) follows one component that all of these write into, with `told`;
- what all techniques have in common (Stop, Download, moves through a browser) shares one event, and parts of a panel that are chosen in the
  page are put in place by the page's own script.
"""

from __future__ import annotations

import secrets
from html import escape

_SILENT = {"api_visibility": "private", "show_progress": "hidden"}
COMPUTE = {"concurrency_id": "compute", "concurrency_limit": 1, **_SILENT}
LOADING = {"concurrency_id": "loading", "concurrency_limit": 4, **_SILENT}
LIGHT = {"concurrency_id": "light", "concurrency_limit": 8, **_SILENT}
READING = {"concurrency_id": "reading", "concurrency_limit": 2, **_SILENT}


def told(**what: str) -> str:
    """What the page is told, in an element that is never the same twice."""
    said = "".join(f" data-{name}='{escape(text)}'" for name, text in what.items())
    return f"<i hidden data-turn='{secrets.token_hex(4)}'{said}></i>"
