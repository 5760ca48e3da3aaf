"""The middleware: behind it, the application runs for verified calls and sees nothing else."""

from __future__ import annotations

import asyncio
import io
import json
import urllib.parse
from typing import Any

import pytest
import world
from faramesh import AsgiReceipts, ReplayMemory, WsgiReceipts

TOOLS = {("POST", "/refunds"): "orders/refund", ("POST", "/orders"): "orders/read"}
ARGUMENTS = {"amount": 80, "order": "A-1"}
BODY = json.dumps(ARGUMENTS).encode()


class Site:
    """An application behind the middleware, asked through either interface."""

    def __init__(self, interface: str, log: world.Log, **options: Any) -> None:
        self.served: list[Any] = []
        self.interface = interface
        options = {"tools": TOOLS, "origin": log.origin, "seen": ReplayMemory(started_wall_ms=0), **options}
        self._wsgi = WsgiReceipts(self._wsgi_app, **options)
        self._asgi = AsgiReceipts(self._asgi_app, **options)

    def ask(
        self,
        receipt: Any = None,
        body: bytes = BODY,
        method: str = "POST",
        path: str = "/refunds",
        query: str = "",
        length: str | None = None,
    ) -> tuple[int, dict[str, Any]]:
        header = world.header(receipt) if receipt is not None else None
        if self.interface == "wsgi":
            return self._ask_wsgi(header, body, method, path, query, length)
        return asyncio.run(self._ask_asgi(header, body, method, path, query))

    def _ask_wsgi(
        self, header: str | None, body: bytes, method: str, path: str, query: str, length: str | None
    ) -> tuple[int, dict[str, Any]]:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(body)) if length is None else length,
            "wsgi.input": io.BytesIO(body),
        }
        if header is not None:
            environ["HTTP_FARAMESH_RECEIPT"] = header
        answers: list[str] = []
        data = b"".join(self._wsgi(environ, lambda status, headers: answers.append(status)))
        return int(answers[0].split()[0]), json.loads(data)

    async def _ask_asgi(
        self, header: str | None, body: bytes, method: str, path: str, query: str
    ) -> tuple[int, dict[str, Any]]:
        headers = [] if header is None else [(b"faramesh-receipt", header.encode())]
        scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": headers}
        events = [
            {"type": "http.request", "body": body[:9], "more_body": True},
            {"type": "http.request", "body": body[9:], "more_body": False},
            {"type": "http.disconnect"},
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            return events.pop(0)

        async def send(event: Any) -> None:
            sent.append(event)

        await self._asgi(scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    def _wsgi_app(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.served.append((environ["faramesh.call"], environ["wsgi.input"].read()))
        start_response("200 OK", [])
        return [b"{}"]

    async def _asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        event = await receive()
        assert event["more_body"] is False
        self.served.append((scope["faramesh.call"], event["body"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


@pytest.fixture(params=["wsgi", "asgi"])
def site(request: pytest.FixtureRequest, log: world.Log) -> Site:
    return Site(request.param, log)


def test_a_call_with_its_receipt_is_served_with_what_was_verified(site: Site, log: world.Log) -> None:
    assert site.ask(log.receipt("orders/refund", ARGUMENTS)) == (200, {})
    ((call, body),) = site.served
    assert call.arguments == ARGUMENTS and call.tool == "orders/refund" and body == BODY


def test_a_call_without_a_receipt_is_refused(site: Site) -> None:
    status, answer = site.ask()
    assert status == 403 and answer["code"] == "RECEIPT_REFUSED" and "no receipt" in answer["message"]
    assert site.served == []


def test_a_replayed_receipt_is_refused(site: Site, log: world.Log) -> None:
    receipt = log.receipt("orders/refund", ARGUMENTS)
    site.ask(receipt)
    assert site.ask(receipt)[0] == 403
    assert len(site.served) == 1


def test_a_receipt_for_the_tool_of_another_path_is_refused(site: Site, log: world.Log) -> None:
    assert site.ask(log.receipt("orders/read", ARGUMENTS))[0] == 403
    assert site.ask(log.receipt("orders/refund", ARGUMENTS), path="/orders")[0] == 403
    assert site.served == []


def test_a_body_other_than_the_one_decided_is_refused(site: Site, log: world.Log) -> None:
    assert site.ask(log.receipt("orders/refund", ARGUMENTS), body=b'{"amount":8000,"order":"A-1"}')[0] == 403
    assert site.served == []


def test_a_query_string_is_refused_since_no_receipt_covers_it(site: Site, log: world.Log) -> None:
    query = urllib.parse.urlencode({"amount": 8000})
    assert site.ask(log.receipt("orders/refund", ARGUMENTS), query=query)[0] == 403
    assert site.served == []


@pytest.mark.parametrize(("method", "path"), [("GET", "/refunds"), ("POST", "/refunds/"), ("POST", "/"), ("PUT", "/refunds")])
def test_a_request_that_stands_for_no_tool_is_refused(site: Site, log: world.Log, method: str, path: str) -> None:
    assert site.ask(log.receipt("orders/refund", ARGUMENTS), method=method, path=path)[0] == 403
    assert site.served == []


def test_a_body_that_is_too_large_is_refused(site: Site, log: world.Log) -> None:
    assert site.ask(log.receipt("orders/refund", ARGUMENTS), body=b" " * ((1 << 20) + 1))[0] == 413
    assert site.served == []


def test_a_development_receipt_is_refused_by_default(log: world.Log) -> None:
    for interface in ("wsgi", "asgi"):
        receipt = log.receipt("orders/refund", ARGUMENTS, mode="development", attested=False)
        assert Site(interface, log).ask(receipt)[0] == 403
        assert Site(interface, log, allow_development=True).ask(receipt)[0] == 200


@pytest.mark.parametrize(("length", "status"), [("", 411), ("-1", 411), ("x", 411), ("99", 403), ("9" * 30, 413)])
def test_a_length_that_does_not_hold_is_refused(log: world.Log, length: str, status: int) -> None:
    site = Site("wsgi", log)
    assert site.ask(log.receipt("orders/refund", ARGUMENTS), length=length)[0] == status
    assert site.served == []


def test_websockets_are_closed_and_lifespan_passes(log: world.Log) -> None:
    seen: list[str] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(event: Any) -> None:
        sent.append(event)

    gate = AsgiReceipts(app, tools=TOOLS, origin=log.origin)
    asyncio.run(gate({"type": "websocket"}, receive, send))
    asyncio.run(gate({"type": "lifespan"}, receive, send))
    assert seen == ["lifespan"] and sent == [{"type": "websocket.close", "code": 1008}]


def test_a_client_that_goes_away_mid_body_is_not_served(log: world.Log) -> None:
    site = Site("asgi", log)
    scope = {"type": "http", "method": "POST", "path": "/refunds", "query_string": b"", "headers": []}
    events = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(event: Any) -> None:
        sent.append(event)

    asyncio.run(site._asgi(scope, receive, send))
    assert sent[0]["status"] == 403 and site.served == []
