"""How events are queued. Everything that runs a model waits in one line; what only answers from memory does not."""

_SILENT = {"api_visibility": "private", "show_progress": "hidden"}
COMPUTE = {"concurrency_id": "compute", "concurrency_limit": 1, **_SILENT}
LIGHT = {"concurrency_id": "light", "concurrency_limit": 8, **_SILENT}
