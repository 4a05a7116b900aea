"""How events are queued. Everything that runs a model waits in one line; what fetches or reads a model has a line of its
own, so that a long download holds nobody up, and so has what reads a set of pictures; what only answers from memory does
not wait.

An event that may come again before it is answered says how in its `trigger_mode`: "always_last" where its inputs say all,
"multiple" where it brings data of its own, which Gradio would send a second time instead of the latest.

An event with many outputs names one small component as `show_progress_on`: at every message of any event, Gradio's
page copies the state of each component that some event shows progress on, and of all that lies inside of it.
"""

_SILENT = {"api_visibility": "private", "show_progress": "hidden"}
COMPUTE = {"concurrency_id": "compute", "concurrency_limit": 1, **_SILENT}
LOADING = {"concurrency_id": "loading", "concurrency_limit": 4, **_SILENT}
LIGHT = {"concurrency_id": "light", "concurrency_limit": 8, **_SILENT}
READING = {"concurrency_id": "reading", "concurrency_limit": 2, **_SILENT}
