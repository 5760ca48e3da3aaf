"""The refund desk: a service of its own, under a user of its own, that pays only on a receipt.

It knows nothing about agents or policies. It has pinned the public key of the stack's log, and the SDK's middleware
lets a request through when the journal shows that this very refund was permitted, a moment ago, and not used yet.

    python refund_desk.py --socket /run/…/refund-desk.sock --origin /etc/faramesh/…/log.pub --ledger …/ledger.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from faramesh import Origin, WsgiReceipts

#: Seconds that a client may take for its request.
CLIENT_TIMEOUT = 10


class Desk:
    """The application behind the middleware: it only ever sees verified calls."""

    def __init__(self, ledger: str) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        call = environ["faramesh.call"]
        entry = {
            "order": str(call.arguments["order"]),
            "amount": str(call.arguments["amount"]),
            "agent": call.agent,
            "record": call.seq,
        }
        with self._lock, open(self._ledger, "a", encoding="utf-8") as ledger:
            ledger.write(json.dumps(entry) + "\n")
            ledger.flush()
            os.fsync(ledger.fileno())
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(entry).encode()]


class UnixServer(socketserver.ThreadingMixIn, WSGIServer):
    """wsgiref on a Unix socket. Anybody may connect: what counts is the receipt."""

    address_family = socket.AF_UNIX
    daemon_threads = True

    def server_bind(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.server_address)
        socketserver.TCPServer.server_bind(self)
        os.chmod(self.server_address, 0o666)
        self.server_name, self.server_port = "refund-desk", 0
        self.setup_environ()


class Handler(WSGIRequestHandler):
    """A peer on a Unix socket has no address."""

    timeout = CLIENT_TIMEOUT

    def address_string(self) -> str:
        return "local"

    def get_environ(self) -> dict[str, Any]:
        self.client_address = ("local", 0)
        return super().get_environ()

    def log_message(self, format: str, *args: Any) -> None:
        sys.stderr.write(f"refund desk: {format % args}\n".encode("ascii", "backslashreplace").decode())


def main() -> None:
    parser = argparse.ArgumentParser(description="pays refunds on verified receipts")
    parser.add_argument("--socket", required=True)
    parser.add_argument("--origin", required=True, help="the stack's log.pub")
    parser.add_argument("--ledger", required=True)
    parser.add_argument("--allow-development", action="store_true", help="take receipts of a development set-up")
    options = parser.parse_args()
    os.umask(0o077)
    app = WsgiReceipts(
        Desk(options.ledger),
        tools={("POST", "/refunds"): "orders/refund"},
        origin=Origin.read(options.origin),
        allow_development=options.allow_development,
    )
    server = UnixServer(options.socket, Handler)
    server.set_app(app)
    server.serve_forever()


if __name__ == "__main__":
    main()
