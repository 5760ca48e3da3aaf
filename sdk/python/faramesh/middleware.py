"""WSGI and ASGI middleware: the application behind it runs only for calls whose receipt holds.

What the receipt covers is the tool and the arguments. So a request is a method and path that stand for exactly one
tool, a JSON object as its body, and nothing else that could steer the act: no query string, no other path. The
application finds the verified call in `environ["faramesh.call"]` (WSGI) or `scope["faramesh.call"]` (ASGI) and acts on
that; headers are as the agent wrote them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Optional

from faramesh.canonical import ARGUMENTS_BYTES_MAX
from faramesh.governed import RECEIPT_HEADER
from faramesh.receipts import NotVerified, Origin, ReplayMemory, Seen, VerifiedCall, verify_receipt

__all__ = ["CALL_KEY", "AsgiReceipts", "WsgiReceipts"]

#: Where the application finds the VerifiedCall.
CALL_KEY = "faramesh.call"


class Refusal(Exception):
    """An HTTP answer instead of the application's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = json.dumps({"code": "RECEIPT_REFUSED", "message": message}).encode("utf-8")


class _Gate:
    """What both interfaces ask of a request."""

    def __init__(
        self,
        tools: Mapping[tuple[str, str], str],
        origin: Origin,
        seen: Optional[Seen],
        allow_development: bool,
    ) -> None:
        self._tools = dict(tools)
        self._origin = origin
        self._seen = seen if seen is not None else ReplayMemory()
        self._allow_development = allow_development

    def tool(self, method: str, path: str, query: str) -> str:
        """The tool that a request asks for, before its body is read."""
        tool = self._tools.get((method, path))
        if tool is None:
            raise Refusal(403, f"no tool is called by {method} on this path")
        if query:
            raise Refusal(403, "a query string is covered by no receipt")
        return tool

    def verify(self, tool: str, receipt: Optional[str], body: bytes) -> VerifiedCall:
        if not receipt:
            raise Refusal(403, f"no receipt: ask Faramesh, and send the header {RECEIPT_HEADER}")
        try:
            return verify_receipt(
                receipt,
                origin=self._origin,
                tool=tool,
                arguments=body,
                seen=self._seen,
                allow_development=self._allow_development,
            )
        except NotVerified as cause:
            raise Refusal(403, str(cause)) from cause


class WsgiReceipts:
    """WSGI middleware.

    `tools` maps a method and a path to the tool that the application performs there, such as
    `{("POST", "/refunds"): "orders/refund"}`; every other request is refused. Without `seen`, receipts are remembered
    in this process, which must then be the only one that serves.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        *,
        tools: Mapping[tuple[str, str], str],
        origin: Origin,
        seen: Optional[Seen] = None,
        allow_development: bool = False,
    ) -> None:
        self._app = app
        self._gate = _Gate(tools, origin, seen, allow_development)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
            tool = self._gate.tool(environ["REQUEST_METHOD"], path, environ.get("QUERY_STRING", ""))
            body = _read_wsgi(environ)
            call = self._gate.verify(tool, environ.get(_WSGI_HEADER), body)
        except Refusal as refusal:
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(refusal.body)))]
            start_response(f"{refusal.status} {_REASONS[refusal.status]}", headers)
            return [refusal.body]
        environ[CALL_KEY] = call
        environ["wsgi.input"] = io.BytesIO(body)
        return self._app(environ, start_response)


_WSGI_HEADER = "HTTP_" + RECEIPT_HEADER.upper().replace("-", "_")
_REASONS = {403: "Forbidden", 411: "Length Required", 413: "Content Too Large"}


def _read_wsgi(environ: dict[str, Any]) -> bytes:
    length = environ.get("CONTENT_LENGTH") or ""
    # A body of unknown length has no end that every WSGI server would agree on.
    if not (length.isascii() and length.isdigit()) or environ.get("HTTP_TRANSFER_ENCODING"):
        raise Refusal(411, "the request needs a Content-Length")
    if len(length) > 10 or int(length) > ARGUMENTS_BYTES_MAX:
        raise Refusal(413, f"the request is larger than {ARGUMENTS_BYTES_MAX} bytes")
    body = environ["wsgi.input"].read(int(length))
    if len(body) != int(length):
        raise Refusal(403, "the request ended early")
    return bytes(body)


_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class AsgiReceipts:
    """ASGI middleware; parameters as of `WsgiReceipts`. Connections other than HTTP requests are refused."""

    def __init__(
        self,
        app: Callable[[_Scope, _Receive, _Send], Awaitable[None]],
        *,
        tools: Mapping[tuple[str, str], str],
        origin: Origin,
        seen: Optional[Seen] = None,
        allow_development: bool = False,
    ) -> None:
        self._app = app
        self._gate = _Gate(tools, origin, seen, allow_development)

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        try:
            query = scope.get("query_string", b"").decode("latin-1")
            tool = self._gate.tool(scope["method"], scope["path"], query)
            body = await _read_asgi(receive)
            call = self._gate.verify(tool, _asgi_header(scope), body)
        except Refusal as refusal:
            await _refuse_asgi(refusal, send)
            return
        given = False

        async def receive_again() -> MutableMapping[str, Any]:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app({**scope, CALL_KEY: call}, receive_again, send)


async def _read_asgi(receive: _Receive) -> bytes:
    parts: list[bytes] = []
    size_bytes = 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise Refusal(403, "the request ended early")
        parts.append(event.get("body", b""))
        size_bytes += len(parts[-1])
        if size_bytes > ARGUMENTS_BYTES_MAX:
            raise Refusal(413, f"the request is larger than {ARGUMENTS_BYTES_MAX} bytes")
        if not event.get("more_body", False):
            return b"".join(parts)


def _asgi_header(scope: _Scope) -> Optional[str]:
    wanted = RECEIPT_HEADER.lower().encode("ascii")
    found = [value for name, value in scope.get("headers", []) if name.lower() == wanted]
    if len(found) > 1:
        raise Refusal(403, f"the header {RECEIPT_HEADER} comes twice")
    return found[0].decode("latin-1") if found else None


async def _refuse_asgi(refusal: Refusal, send: _Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(refusal.body)).encode("ascii")),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": refusal.body})
