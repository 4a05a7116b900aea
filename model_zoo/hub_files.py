"""Files of the Hugging Face hub, in the hub's own cache.

What has arrived of a large file before Stop or a broken connection is kept beside the others as `<digest>.incomplete`,
and the next try asks for the rest: huggingface_hub 2 goes on within one call only, and throws the beginning away when
the call ends. A file is checked against its digest when it arrives, and again whenever it is loaded.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from model_zoo import downloads
from model_zoo.downloads import ABSENT, PIECE, TooLarge, Transfer, WrongChecksum, check_space, sha256

_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class HubWeights:
    """The first of `files` that a repository of the Hugging Face hub has, in the hub's own cache.

    `revision` is a branch or a commit. A file of more than `limit` bytes is refused before it is downloaded;
    `absent` says what it means when the repository has none of the files.
    """

    name: str
    size: int
    repository: str
    files: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")
    revision: str = "main"
    limit: int | None = None
    absent: str = ABSENT

    def cached(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = (try_to_load_from_cache(self.repository, file, revision=self.revision) for file in self.files)
        return next((Path(path) for path in found if isinstance(path, str)), None)

    def intact(self, path: Path) -> bool:
        """Whether the file is what its name says: in the hub's cache a large file is called by its SHA-256."""
        digest = path.resolve().name
        return not _SHA256.fullmatch(digest) or sha256(path) == digest

    def download(self, transfer: Transfer) -> Path:
        from huggingface_hub import constants, hf_hub_download

        # plain HTTP in small pieces: the hub's other ways answer neither to Stop nor to the bar in time
        constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE = True, PIECE
        file, metadata = self._ask()
        transfer.total = metadata.size or transfer.total
        transfer.limit = self.limit
        if self.limit is not None and transfer.total > self.limit:
            raise TooLarge
        if _SHA256.fullmatch(metadata.etag or ""):
            self._fetch_blob(file, metadata, transfer)
        # finds the file there and enters it under its name and revision; a small file is fetched by it
        return Path(hf_hub_download(self.repository, file, revision=self.revision, tqdm_class=_bar(transfer), etag_timeout=downloads.ANSWER_SECONDS))

    def _fetch_blob(self, file: str, metadata, transfer: Transfer) -> None:
        """Put a file that is known by its SHA-256 where huggingface_hub looks for it, going on with what is there of it.

        Keeps the beginning when the connection breaks or the visitor stops, and nothing that is wrong.
        """
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.file_download import http_get, repo_folder_name
        from huggingface_hub.utils import WeakFileLock, build_hf_headers

        folder = repo_folder_name(repo_id=self.repository, repo_type="model")
        blob = Path(constants.HF_HUB_CACHE) / folder / "blobs" / metadata.etag
        lock = Path(constants.HF_HUB_CACHE) / ".locks" / folder / f"{metadata.etag}.lock"
        partial = blob.with_name(f"{blob.name}.incomplete")
        blob.parent.mkdir(parents=True, exist_ok=True)
        lock.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if blob.is_file() and sha256(blob) == metadata.etag:
                return
            with _nothing_wrong_kept(partial), partial.open("ab") as stream:
                if stream.tell() > transfer.total:
                    stream.truncate(0)
                transfer.add(stream.tell())
                check_space(blob.parent, transfer.total - transfer.done)
                url = hf_hub_url(self.repository, file, revision=metadata.commit_hash)
                headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
                bar = _bar(transfer)
                http_get(url, stream, resume_size=stream.tell(), headers=headers, expected_size=metadata.size, tqdm_class=bar)
                stream.flush()
                if sha256(partial) != metadata.etag:
                    raise WrongChecksum
            partial.replace(blob)

    def _ask(self):
        """Name and description of the first file that exists, without the hub's retries: when the network is
        down they take half a minute."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError

        def metadata(file: str):
            return get_hf_file_metadata(hf_hub_url(self.repository, file, revision=self.revision), timeout=downloads.ANSWER_SECONDS)

        *preferred, last = self.files
        for file in preferred:
            with suppress(EntryNotFoundError):
                return file, metadata(file)
        return last, metadata(last)


@contextmanager
def _nothing_wrong_kept(partial: Path) -> Iterator[None]:
    """Remove the file when the block fails, except when it holds the beginning of the right one."""
    try:
        yield
    except (WrongChecksum, TooLarge):
        partial.unlink(missing_ok=True)
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            partial.unlink(missing_ok=True)  # others need the room
        raise


def _bar(transfer: Transfer) -> type:
    """A progress bar for huggingface_hub that draws nothing and tells the transfer."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            transfer.add(int(n or 0))

    return Bar
