"""A world in three lines: a daemon that answers as told, and a log that signs what it is given."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from faramesh import Client, canonical_text
from faramesh._wire import agent_pb2 as wire
from faramesh.notes import Origin

STACK = "support-bot"


class FakeDaemon:
    """Serves faramesh.v1.Agent on a Unix socket. `answer` makes a reply (a message or raw bytes) of a request."""

    def __init__(self, socket: pathlib.Path) -> None:
        self.socket = str(socket)
        self.answer: Callable[[wire.GovernRequest], Any] = lambda _: permit()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.requests: list[wire.GovernRequest] = []
        self.outcomes: list[wire.OutcomeRequest] = []
        self.outcome_reply: Callable[[], wire.OutcomeReply] = wire.OutcomeReply
        # Few threads, and only ours: the tests' tear-down must not wait for a handler that hangs on purpose.
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
        self._server.add_generic_rpc_handlers((self._handlers(),))
        self._server.add_insecure_port(f"unix://{self.socket}")

    def start(self) -> "FakeDaemon":
        self._server.start()
        return self

    def stop(self) -> None:
        self._server.stop(None).wait()

    def client(self, **options: Any) -> Client:
        return Client(self.socket, "bot", **options)

    def _handlers(self) -> grpc.GenericRpcHandler:
        def govern(request: wire.GovernRequest, context: grpc.ServicerContext) -> Any:
            self.requests.append(request)
            self.asked.append((request.tool, json.loads(request.arguments)))
            answer = self.answer(request)
            if isinstance(answer, grpc.StatusCode):
                context.abort(answer, "as told")
            return answer

        def outcome(request: wire.OutcomeRequest, _: grpc.ServicerContext) -> Any:
            self.outcomes.append(request)
            return self.outcome_reply()

        def method(function: Any, request: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                function,
                request_deserializer=request.FromString,
                response_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
            )

        return grpc.method_handlers_generic_handler(
            "faramesh.v1.Agent",
            {
                "Govern": method(govern, wire.GovernRequest),
                "Can": method(govern, wire.GovernRequest),
                "ReportOutcome": method(outcome, wire.OutcomeRequest),
            },
        )


@contextlib.contextmanager
def fake_daemon() -> Iterator[FakeDaemon]:
    # Not pytest's own folder: a socket's path holds 107 bytes.
    with tempfile.TemporaryDirectory(prefix="fm-") as folder:
        daemon = FakeDaemon(pathlib.Path(folder) / "agent.sock").start()
        try:
            yield daemon
        finally:
            daemon.stop()


def permit(**fields: Any) -> wire.GovernReply:
    receipt = wire.Receipt(record=b"{}", leaf_index=7, checkpoint="note")
    return wire.GovernReply(effect=wire.EFFECT_PERMIT, **{"receipt": receipt, **fields})


def deny(**fields: Any) -> wire.GovernReply:
    fields = {"code": "POLICY_DENY", "message": "refused by policy", **fields}
    return wire.GovernReply(effect=wire.EFFECT_DENY, **fields)


def defer(**fields: Any) -> wire.GovernReply:
    resolution = wire.Resolution(manual_audit=True)
    fields = {"code": "POLICY_DEFER", "message": "a person decides", "resolution": resolution, **fields}
    return wire.GovernReply(effect=wire.EFFECT_DEFER, **fields)


class Log:
    """A journal's tree under a key of its own, grown one record at a time."""

    def __init__(self, stack: str = STACK, seed: bytes = b"\x01" * 32) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes_raw()
        self.name = f"faramesh/{stack}/{hashlib.sha256(public).hexdigest()[:8]}"
        self._hash = hashlib.sha256(self.name.encode() + b"\n\x01" + public).digest()[:4]
        key = base64.b64encode(b"\x01" + public).decode()
        self.vkey = f"{self.name}+{self._hash.hex()}+{key}"
        self.origin = Origin.parse(self.vkey)
        self.leaves: list[bytes] = []
        self._salts = itertools.count(1)

    def fill(self, count: int) -> None:
        """Leaves of no interest."""
        self.leaves += [b"filler %d" % n for n in range(count)]

    def receipt(self, tool: str, arguments: dict[str, Any], after: int = 0, **fields: Any) -> wire.Receipt:
        """A permit's receipt; `fields` replace the record's, `after` leaves follow before the checkpoint."""
        salt = next(self._salts).to_bytes(16, "big")
        seq = len(self.leaves)
        record = {
            "v": 1,
            "seq": seq,
            "prev": "00" * 32,
            "stack": STACK,
            "mode": "enforced",
            "wall_ms": time.time_ns() // 1_000_000,
            "boot_ms": 1,
            "kind": "decision",
            "session": "s-1",
            "agent": "bot",
            "attested": True,
            "uid": 1000,
            "door": "govern",
            "effect": "permit",
            "code": None,
            "tool": tool,
            "policy": "sha256:" + "00" * 32,
            "detail": "00" * 32,
            "would": None,
            "args": hashlib.sha256(salt + canonical_text(arguments).encode()).hexdigest(),
            **fields,
        }
        data = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
        self.leaves.append(data)
        self.fill(after)
        return wire.Receipt(
            record=data,
            leaf_index=seq,
            path=_path(seq, self.leaves),
            checkpoint=self.checkpoint(),
            args_salt=salt,
        )

    def checkpoint(self, name: str | None = None, size: int | None = None) -> str:
        root = base64.b64encode(_root(self.leaves)).decode()
        return self.sign(f"{name or self.name}\n{len(self.leaves) if size is None else size}\n{root}\n")

    def sign(self, text: str) -> str:
        signature = base64.b64encode(self._hash + self._key.sign(text.encode())).decode()
        return f"{text}\n\u2014 {self.name} {signature}\n"


def _root(leaves: list[bytes]) -> bytes:
    """RFC 6962's definition, read aloud."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = _split(len(leaves))
    return hashlib.sha256(b"\x01" + _root(leaves[:split]) + _root(leaves[split:])).digest()


def _path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*_path(index, leaves[:split]), _root(leaves[split:])]
    return [*_path(index - split, leaves[split:]), _root(leaves[:split])]


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def header(receipt: wire.Receipt) -> str:
    return base64.b64encode(receipt.SerializeToString()).decode()


