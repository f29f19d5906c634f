"""The warehouse over HTTP: an ASGI application whose endpoints call the doors of :class:`gpwarehouse.Warehouse`.

It needs the extra ``service``: ``pip install 'gpwarehouse[service]'``.
"""

from gpwarehouse.errors import MissingExtraError

try:
    import fastapi  # noqa: F401
    import jwt  # noqa: F401
except ImportError:
    raise MissingExtraError("the service needs FastAPI and PyJWT: pip install 'gpwarehouse[service]'") from None

from gpwarehouse.service.app import create_app

__all__ = ["create_app"]
