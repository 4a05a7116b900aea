"""How events are queued. Everything that runs a model waits in one line; what fetches or reads a model has a line of its
own, so that a long download holds nobody up, and so has what reads a set of pictures; what only answers from memory does
not wait.

An event that may come again before it is answered says how in its `trigger_mode`: "always_last" where its inputs say all,
"multiple" where it brings data of its own, which Gradio would send a second time instead of the latest.

An event with many outputs names one small component as `show_progress_on`: at every message of any event, Gradio's
page copies the state of each component that some event shows progress on, and of all that lies inside of it. It does so
the more slowly the more events there are. So what follows many events (another picture, a finished run) follows one
component that all of these write into, with `told`; and the buttons that all techniques have in common share one event.
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
