"""Results as files: an answer begins when it is whole, so it has the right status, a length, an ETag, and ranges."""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import FileResponse

from gpwarehouse.service.problems import Problem

__all__ = ["FORMS", "MEDIA_TYPES", "FileAnswer", "Spool", "Spooled", "choose_form", "wanted_form"]

FORMS: dict[str, tuple[str, ...]] = {
    "arrow": ("application/vnd.apache.arrow.file", "application/vnd.apache.arrow"),
    "parquet": ("application/vnd.apache.parquet", "application/x-parquet"),
    "csv": ("text/csv",),
}
"""Forms of a file, each with its media types; the first one is answered."""
MEDIA_TYPES = {"arrow": FORMS["arrow"][0], "parquet": FORMS["parquet"][0], "csv": "text/csv; charset=utf-8"}
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")


@dataclass(frozen=True)
class Spooled:
    """A whole result.

    :ivar form: a key of :data:`FORMS`.
    :ivar etag: a digest of the content, in quotes.
    """

    path: Path
    form: str
    rows: int
    bytes: int
    etag: str

    @classmethod
    def of(cls, path: Path, form: str, rows: int) -> Spooled:
        """Describe a file. It is read once."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").hexdigest()[:32]
        return cls(path, form, rows, path.stat().st_size, f'"{digest}"')

    def delete(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


class Spool:
    """A folder of files that are answers, and one of jobs' results.

    :param folder: the state folder. Answers that an earlier process left are deleted.
    """

    def __init__(self, folder: Path) -> None:
        self._answers = folder / "answers"
        self.results = folder / "results"
        self.uploads = folder / "uploads"
        for each in (self._answers, self.results, self.uploads):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._answers.iterdir():
            left.unlink(missing_ok=True)

    def new_answer(self, owner: str, form: str) -> Path:
        """A name for the file of an answer.

        :param owner: id of the caller.
        """
        return self._answers / f"{_mark(owner)}-{secrets.token_hex(16)}.{form}"

    def bytes_of_answers(self, owner: str) -> int:
        """Bytes of the answers to a caller that are being written or sent. A draft's name has the file's name in it."""
        found = 0
        for file in self._answers.glob(f"*{_mark(owner)}-*"):
            with suppress(FileNotFoundError):
                found += file.stat().st_size
        return found

    def new_upload(self, name: str) -> Path:
        """A file in a folder of its own, which keeps the name that its sender gave it."""
        folder = self.uploads / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder / name

    def delete_upload(self, file: Path) -> None:
        """Delete an upload with its folder."""
        shutil.rmtree(file.parent, ignore_errors=True)

    def tidy(self, results: set[str]) -> None:
        """Delete what an earlier process left: all uploads, and files of results other than these."""
        for folder in self.uploads.iterdir():
            shutil.rmtree(folder, ignore_errors=True)
        for file in self.results.iterdir():
            if file.name not in results:
                file.unlink(missing_ok=True)


def _mark(owner: str) -> str:
    return hashlib.sha256(owner.encode()).hexdigest()[:16]


def choose_form(accept: str | None) -> str | None:
    """The form that an Accept header prefers (RFC 9110, section 12.5.1); Arrow if it has no wish; None if none fits."""
    best: tuple[float, int, str] | None = None
    for place, part in enumerate((accept or "*/*").split(",")):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        quality = _quality(parameters)
        for form, names in FORMS.items():
            fits = name in names or name == "*/*" or (name.endswith("/*") and names[0].startswith(name[:-1]))
            if fits and quality > 0 and (best is None or (quality, -place) > best[:2]):
                best = (quality, -place, form)
    return None if best is None else best[2]


def _quality(parameters: list[str]) -> float:
    for each in parameters:
        name, _, value = each.partition("=")
        if name.strip() == "q":
            return float(value) if re.fullmatch(r"[01](\.\d{0,3})?", value.strip()) else 0.0
    return 1.0


def wanted_form(request: Request) -> str:
    """The form of a request's answer.

    :raises Problem: 406, no form fits the header Accept.
    """
    form = choose_form(request.headers.get("accept"))
    if form is None:
        offered = ", ".join(names[0] for names in FORMS.values())
        raise Problem(406, "not-acceptable", f"the answer is a file; ask for one of {offered} in the header Accept")
    return form


class FileAnswer(FileResponse):
    """A spooled result as a response.

    :param name: the file's name for a browser, without the ending.
    :param keep: whether the file stays; otherwise it is deleted when it was sent, or the client has left.
    """

    chunk_size = 512 * 1024
    """Each piece is read in another thread, which costs more than to read 64 kB, Starlette's own size."""

    def __init__(self, spooled: Spooled, name: str, headers: dict[str, str], *, keep: bool) -> None:
        headers = {"ETag": spooled.etag, "X-Rows": str(spooled.rows), **headers}
        super().__init__(
            spooled.path, headers=headers, media_type=MEDIA_TYPES[spooled.form], filename=f"{name}.{spooled.form}"
        )
        self._spooled, self._keep = spooled, keep

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the file, the part that was asked for, or 304."""
        try:
            request = Request(scope)
            if request.method == "GET" and self._spooled.etag in request.headers.get("if-none-match", ""):
                await Response(status_code=304, headers={"ETag": self._spooled.etag})(scope, receive, send)
                return
            asked = {"headers": self._without_wrong_range(request), "method": scope["state"]["method"]}
            await super().__call__({**scope, **asked}, receive, send)
        finally:
            if not self._keep:
                self._spooled.delete()

    def _without_wrong_range(self, request: Request) -> list[tuple[bytes, bytes]]:
        """The request's headers. A range that is malformed or has several parts is ignored (RFC 9110, section 14.2)."""
        given = request.headers.get("range")
        found = _RANGE.fullmatch(given.strip()) if given else None
        right = found and not (found[1] and found[2] and int(found[2]) < int(found[1]))
        return [(name, value) for name, value in request.scope["headers"] if name != b"range" or right]


def check_range(request: Request, size: int) -> None:
    """Refuse a range behind a file's end.

    :raises Problem: 416.
    """
    found = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if found and ((found[1] and int(found[1]) >= size) or (found[3] and (int(found[3]) == 0 or not size))):
        raise Problem(416, "range", f"the file has {size} bytes", {"Content-Range": f"bytes */{size}"})
