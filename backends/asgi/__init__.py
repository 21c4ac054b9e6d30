"""ASGI over XMPP: Starlette, FastAPI, Django or any ASGI application as a component.

python -m backends.asgi package.module:app --jid svc.example.org/web-1 --server HOST:PORT
"""

from backends.asgi.server import AsgiServer

__all__ = ["AsgiServer"]
