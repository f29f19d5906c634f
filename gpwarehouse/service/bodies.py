"""JSON bodies, taken strictly: media type, size, depth, encoding; and routes that take them so."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, get_args, get_origin

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic_core import from_json

from gpwarehouse.service.access import caller_of
from gpwarehouse.service.problems import ClientGone, Problem

__all__ = ["StrictRoute", "media_type_of", "read_body"]


class StrictRoute(APIRoute):
    """A route that refuses a body that is no JSON (415), is too large (413), or cannot be parsed (422).

    FastAPI alone answers 422 for another media type and 400 for broken JSON, and reads a body of any size and depth.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Make the handler."""
        handle = super().get_route_handler()
        takes_json = self.body_field is not None
        known = dict(_parameters_of(self.dependant))

        async def strict(request: Request) -> Response:
            if strange := sorted(set(request.query_params) - known.keys()):
                name = strange[0].encode("utf-8", "replace").decode()
                allowed = ", ".join(sorted(known)) or "none"
                raise Problem(422, "bad-request", f"there is no parameter {name!r} here; there are: {allowed}")
            for name in set(request.query_params):
                if (
                    not known[name] and len(request.query_params.getlist(name)) > 1
                ):  # otherwise the last one would count
                    raise Problem(422, "bad-request", f"the parameter {name!r} is given more than once; give it once")
            if takes_json:
                await caller_of(request)  # nobody else's body is read
                request._body = await _read_json(request)
                request._json = _parse(request._body)
            return await handle(request)

        return strict


def _parameters_of(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Names of the query parameters of a route and of what it depends on, each with whether it may be given again."""
    for field in dependant.query_params:
        annotation = field.field_info.annotation
        yield field.alias, any(get_origin(each) is list for each in (annotation, *get_args(annotation)))
    for each in dependant.dependencies:
        yield from _parameters_of(each)


async def _read_json(request: Request) -> bytes:
    body = await read_body(request, request.app.state.service.settings.service_max_body)
    if body and media_type_of(request) != "application/json":
        raise Problem(415, "unsupported-media-type", "send JSON with the header Content-Type: application/json")
    return body


def _parse(body: bytes) -> Any:
    """Parse JSON. The parser refuses lone surrogates, wrong UTF-8, NaN, and more depth than a request needs."""
    try:
        return from_json(body, allow_inf_nan=False) if body else None
    except ValueError as error:
        text = str(error).encode("utf-8", "replace").decode()
        raise Problem(422, "bad-request", f"the body is not JSON: {text}") from None


def media_type_of(request: Request) -> str:
    """The media type of a request's body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, most: int) -> bytes:
    """Read a body into memory.

    :raises Problem: 413, it has more than ``most`` bytes.
    """
    pieces, size = [], 0
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise too_large(most)
    async for piece in stream_body(request):
        size += len(piece)
        if size > most:
            raise too_large(most)
        pieces.append(piece)
    return b"".join(pieces)


async def stream_body(request: Request) -> Any:
    """Yield a body's pieces.

    :raises ClientGone: the client left before the end.
    """
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


def too_large(most: int) -> Problem:
    """The problem for a body with more than ``most`` bytes."""
    return Problem(
        413, "too-large", f"the body has more than {most} bytes, which is the limit", {"Connection": "close"}
    )
