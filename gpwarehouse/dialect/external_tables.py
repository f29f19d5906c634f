"""External tables as values: ``Table(…, greenplum_external=ExternalTable(…))``; ``eval(repr(x)) == x``.

Source of the rules: Greenplum Database reference, CREATE EXTERNAL TABLE (6 and 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from gpwarehouse.dialect.errors import OptionError

__all__ = ["CsvFormat", "CustomFormat", "ExternalTable", "RejectLimit", "TextFormat"]

WEB_PROTOCOLS = ("http://", "https://")
READ_ONLY_PROTOCOLS = ("file://", *WEB_PROTOCOLS)
NEWLINES = ("LF", "CR", "CRLF")


def _short_repr(value: Any) -> str:
    """The repr of a dataclass without the fields that have their default."""
    said = [f"{f.name}={getattr(value, f.name)!r}" for f in fields(value) if getattr(value, f.name) != f.default]
    return f"{type(value).__name__}({', '.join(said)})"


def _check_text(value: Any) -> None:
    where = type(value).__name__
    if value.newline is not None and value.newline not in NEWLINES:
        raise OptionError(f"{where} newline={value.newline!r}: allowed are {', '.join(NEWLINES)}, or None to find out")
    if not value.delimiter:
        raise OptionError(f"{where} delimiter={value.delimiter!r}: give one character (TEXT also takes 'OFF')")


@dataclass(frozen=True, kw_only=True, repr=False)
class TextFormat:
    """``FORMAT 'TEXT'``.

    :param delimiter: one character, or ``"OFF"`` for a table of one column.
    :param null: text that stands for NULL.
    :param escape: one character, or ``"OFF"``.
    :param newline: ``"LF"``, ``"CR"`` or ``"CRLF"``; ``None`` lets the server find out.
    :param header: the first line of each file is none of the data's.
    :param fill_missing_fields: short lines end in NULLs.
    """

    delimiter: str = "\t"
    null: str = "\\N"
    escape: str = "\\"
    newline: str | None = None
    header: bool = False
    fill_missing_fields: bool = False

    def __post_init__(self) -> None:
        _check_text(self)

    __repr__ = _short_repr


@dataclass(frozen=True, kw_only=True, repr=False)
class CsvFormat:
    """``FORMAT 'CSV'``.

    :param force_not_null: columns in which the text of ``null`` is a text (reading).
    :param force_quote: columns that are quoted always (writing).
    """

    delimiter: str = ","
    null: str = ""
    quote: str = '"'
    escape: str = '"'
    newline: str | None = None
    header: bool = False
    fill_missing_fields: bool = False
    force_not_null: tuple[str, ...] = ()
    force_quote: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_text(self)
        object.__setattr__(self, "force_not_null", tuple(self.force_not_null))
        object.__setattr__(self, "force_quote", tuple(self.force_quote))

    __repr__ = _short_repr


@dataclass(frozen=True, init=False)
class CustomFormat:
    """``FORMAT 'CUSTOM' (formatter=…, option='value', …)``: ``fixedwidth_in``, ``pxfwritable_import``, …"""

    formatter: str
    options: tuple[tuple[str, str], ...]

    def __init__(self, formatter: str, options: Mapping[str, str] | None = None) -> None:
        if not formatter or not formatter.isidentifier():
            raise OptionError(f"CustomFormat formatter={formatter!r}: give the name of a formatter function")
        object.__setattr__(self, "formatter", formatter)
        object.__setattr__(self, "options", tuple((options or {}).items()))

    def __repr__(self) -> str:
        options = f", {dict(self.options)!r}" if self.options else ""
        return f"CustomFormat({self.formatter!r}{options})"


Format = TextFormat | CsvFormat | CustomFormat


@dataclass(frozen=True)
class RejectLimit:
    """``SEGMENT REJECT LIMIT``: a segment fails when this many of its rows cannot be read.

    :param count: rows, 2 or more; or percent, 1 to 100.
    """

    count: int
    unit: Literal["rows", "percent"] = "rows"

    def __post_init__(self) -> None:
        low, high = {"rows": (2, 2**31 - 1), "percent": (1, 100)}.get(self.unit, (1, 0))
        if not low <= self.count <= high:
            raise OptionError(
                f"RejectLimit({self.count!r}, {self.unit!r}): give 2 or more 'rows', or 1 to 100 'percent'"
            )


@dataclass(frozen=True, kw_only=True, repr=False)
class ExternalTable:
    """What makes a table external.

    :param location: one or more URLs: ``gpfdist://``, ``gpfdists://``, ``file://``, ``s3://``, ``pxf://``,
        ``http://``, or of a protocol of your own.
    :param command: in place of ``location``, a shell command whose output is read (or that reads what is written).
    :param on: where the command, or a scan, runs: ``"all"`` segments, ``"coordinator"``, once per ``"host"``, a number
        of segments (``"2"``), or one (``"segment 1"``). A command that is written to runs on all.
    :param format: :class:`TextFormat`, :class:`CsvFormat` or :class:`CustomFormat`.
    :param writable: rows are written out, by INSERT; ``greenplum_distributed_by=`` says which segment writes which.
    :param log_errors: keep the rows that cannot be read (``gp_read_error_log``), ``"persistently"`` beyond the table.
    :param reject_limit: how many may fail; without it the first one does.
    :param encoding: of the files, ``"UTF8"``, …; ``None`` takes the database's.
    :param options: of the protocol, ``OPTIONS (…)``.
    :raises OptionError: naming the option and what is allowed.
    """

    location: tuple[str, ...] = ()
    command: str | None = None
    on: str = "all"
    format: Format = TextFormat()
    writable: bool = False
    log_errors: bool | Literal["persistently"] = False
    reject_limit: RejectLimit | None = None
    encoding: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        said: Any = self.location
        location = (said,) if isinstance(said, str) else tuple(said)
        object.__setattr__(self, "location", location)
        object.__setattr__(self, "options", tuple(tuple(item) for item in dict(self.options).items()))
        if bool(location) == bool(self.command):
            raise OptionError("ExternalTable: give either location=(…) or command=…, and not both")
        bad = [url for url in location if "://" not in url or "'" in url or "|" in url]
        if bad:
            raise OptionError(f"ExternalTable location={bad!r}: give URLs with a protocol, without ' and |")
        words = self.on.split()
        numbered = words[-1:] and words[-1].isdigit() and words[:-1] in ([], ["segment"])
        if self.on not in ("all", "coordinator", "host") and not numbered:
            raise OptionError(
                f"ExternalTable on={self.on!r}: allowed are 'all', 'coordinator', 'host', a number, 'segment <number>'"
            )
        if not isinstance(self.format, TextFormat | CsvFormat | CustomFormat):
            raise OptionError(
                f"ExternalTable format={self.format!r}: give TextFormat(…), CsvFormat(…) or CustomFormat(…)"
            )
        if self.log_errors not in (False, True, "persistently"):
            raise OptionError(f"ExternalTable log_errors={self.log_errors!r}: allowed are False, True, 'persistently'")
        if self.log_errors and self.reject_limit is None:
            raise OptionError(
                "ExternalTable log_errors needs reject_limit=RejectLimit(…): nothing else lets a row fail"
            )
        if self.log_errors and self.on == "coordinator":
            raise OptionError(
                "ExternalTable log_errors is refused with on='coordinator'; use on='segment 0', or drop it"
            )
        self._check_writable()

    def _check_writable(self) -> None:
        form = self.format
        reading = {
            "log_errors": self.log_errors,
            "reject_limit": self.reject_limit,
            "format's newline": getattr(form, "newline", None),
            "format's fill_missing_fields": getattr(form, "fill_missing_fields", False),
            "format's force_not_null": getattr(form, "force_not_null", ()),
            "format's header": getattr(form, "header", False),
            f"location {self.location}": any(url.startswith(READ_ONLY_PROTOCOLS) for url in self.location),
        }
        if self.writable and self.command is not None and self.on != "all":
            raise OptionError(
                f"ExternalTable on={self.on!r}: a command that is written to runs on all segments; leave on= out"
            )
        if self.writable:
            wrong = [name for name, value in reading.items() if value]
            if wrong:
                raise OptionError(
                    f"ExternalTable writable=True: {', '.join(wrong)} can only be read with; leave it out"
                )
        elif getattr(form, "force_quote", ()):
            raise OptionError("ExternalTable format's force_quote is for writing; leave it out or say writable=True")

    @property
    def web(self) -> bool:
        """Whether it is an EXTERNAL WEB TABLE: a command, or files that may change between two scans."""
        return self.command is not None or any(url.startswith(WEB_PROTOCOLS) for url in self.location)

    __repr__ = _short_repr
