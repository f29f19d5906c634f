"""Files that callers send: received into the spool, whole or not at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from gpwarehouse.service.bodies import media_type_of, stream_body, too_large
from gpwarehouse.service.problems import Problem, is_full, no_space
from gpwarehouse.service.spool import FORMS, Spool

__all__ = ["UPLOAD_TYPES", "Upload", "check_body", "check_filename", "receive", "refuse_cut_table"]

UPLOAD_TYPES = (
    "application/octet-stream",
    *FORMS["arrow"],
    *FORMS["parquet"],
    "text/csv",
    "text/tab-separated-values",
    *(f"application/{kind}" for kind in ("gzip", "x-gzip", "zip", "x-bzip2", "x-xz", "zstd", "x-tar")),
)
"""Media types of a file's raw bytes."""
_NAME = re.compile(r"[^./\\\x00-\x1f\x7f\ud800-\udfff\ufffd][^/\\\x00-\x1f\x7f\ud800-\udfff\ufffd]*")
_LONGEST_NAME = 200
_WRITE_BYTES = 1 << 20
_ARROW_KINDS = (".arrow", ".ipc", ".feather", ".arrows")
_ARROW_MAGIC = b"ARROW1"


@dataclass(frozen=True)
class Upload:
    """A whole file.

    :ivar sha256: of its bytes, hex.
    """

    path: Path
    bytes: int
    sha256: str


def check_filename(name: str) -> None:
    """Refuse a name that is none of a file, or that would lead into another folder.

    :raises Problem: 422.
    """
    if not _NAME.fullmatch(name) or len(name.encode()) > _LONGEST_NAME:
        raise Problem(
            422, "bad-filename", f"filename: give a file's name without a folder, with 1 to {_LONGEST_NAME} bytes of UTF-8, "
            "that does not begin with a dot",
        )  # fmt: skip


def check_body(request: Request, most: int) -> None:
    """Refuse a body that is not a file's raw bytes, before it is received.

    :raises Problem: 413, it is announced with more than ``most`` bytes; 415, it has another media type or is encoded.
    """
    kind = media_type_of(request)
    if kind and kind not in UPLOAD_TYPES:
        told = "the body is the file itself, not JSON and not a form: send its bytes with Content-Type: application/octet-stream"
        raise Problem(415, "unsupported-media-type", told)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        told = "send the file as it is, without the header Content-Encoding; compressed files are recognised"
        raise Problem(415, "unsupported-media-type", told)
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise too_large(most)


@asynccontextmanager
async def receive(request: Request, spool: Spool, name: str, most: int) -> AsyncIterator[Upload]:
    """Receive a body into a file. If the block raises an error, the file is deleted.

    :raises ClientGone: the client left before the body's end; there is no file.
    :raises Problem: 413, the body has more than ``most`` bytes; 422, it is empty; 503, the disk is full.
    """
    path = await run_in_threadpool(spool.new_upload, name)
    try:
        yield await _write(request, path, most)
    except BaseException as error:
        spool.delete_upload(path)
        if isinstance(error, OSError) and is_full(error):
            raise no_space() from None
        raise


async def _write(request: Request, path: Path, most: int) -> Upload:
    digest, size = hashlib.sha256(), 0
    pieces = bytearray()
    with path.open("xb") as file:

        def flush() -> None:
            digest.update(pieces)
            file.write(pieces)
            pieces.clear()

        async for piece in stream_body(request):
            size += len(piece)
            if size > most:
                raise too_large(most)
            pieces += piece
            if len(pieces) >= _WRITE_BYTES:
                await run_in_threadpool(flush)
        await run_in_threadpool(flush)
    if not size:
        raise Problem(422, "bad-file", "the body is empty; send the bytes of the file")
    return Upload(path, size, digest.hexdigest())


def refuse_cut_table(path: Path) -> None:
    """Refuse an Arrow stream: if it was cut between two batches, it reads as if it were whole.

    :raises Problem: 422, the file is not in Arrow's file format, or has lost its end.
    """
    if path.suffix.lower() not in _ARROW_KINDS:
        return
    with path.open("rb") as file:
        begins = file.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC
        file.seek(max(0, path.stat().st_size - len(_ARROW_MAGIC)))
        ends = file.read() == _ARROW_MAGIC
    if not (begins and ends):
        raise Problem(
            422, "bad-file", "the body is no whole file of Arrow's file format (pyarrow.ipc.new_file, write_feather); a stream "
            "is refused, because a cut one reads as whole",
        )  # fmt: skip
