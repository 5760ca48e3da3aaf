"""Receipts: how a tool server knows that this very call was permitted, without trusting the agent that brings it.

The server pins one thing, the public key of the stack's log (`log.pub`). A receipt is accepted once, for one tool, for
the arguments that really arrived, within a minute of its decision. Needs the extra `receipts`.

Demands, in the order in which they are checked: the receipt is well formed; the checkpoint is signed by the pinned
origin; the record is a leaf of its tree; the record is a decision at a door that acts, with the effect `permit`, of
that stack, in the enforced set-up, with a caller that the kernel vouched for; tool, arguments and time agree; it was
not seen before. A permit of shadow mode is a permit: the policy says that the call proceeds. A probe (`Can`, `DryRun`)
is not, although its effect may be `permit`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Optional, Protocol, Union

from google.protobuf.message import DecodeError

from faramesh._wire.agent_pb2 import Receipt
from faramesh.canonical import InvalidArguments, Json, canonical_text, parse
from faramesh.notes import Checkpoint, NotVerified, Origin, leaf_hash, verify_inclusion

__all__ = [
    "NotVerified",
    "Origin",
    "ReplayMemory",
    "Seen",
    "VerifiedCall",
    "verify_receipt",
]

#: How far the record's time may be from the server's, either way.
AGE_MS_MAX = 60_000
#: How long a receipt is remembered: well beyond the time in which it could be accepted.
REMEMBERED_MS = 600_000
#: Receipts remembered at once, some 20 MB; 160 a second for ten minutes.
REMEMBERED_MAX = 100_000
#: A receipt in its header: a record, a path of at most 63 hashes and a note.
RECEIPT_BYTES_MAX = 32 << 10
#: Doors whose permit is leave to act. A probe's is not.
ACTING_DOORS = frozenset({"govern"})
#: The record layout that this module reads: docs/journal-format.md.
RECORD_VERSION = 1
_SALT_BYTES = 16


@dataclass(frozen=True)
class VerifiedCall:
    """A permitted call, as the journal has it and as it arrived."""

    stack: str
    agent: str
    session: Optional[str]
    tool: str
    #: As they arrived, numbers exact (`int`, `Decimal`). Act on these and on nothing else of the request.
    arguments: Mapping[str, Json]
    #: The record's number: what `faramesh audit show` takes.
    seq: int
    leaf: bytes
    decided_wall_ms: int
    #: False in a development set-up, where any process of the user can be any agent.
    enforced: bool


class Seen(Protocol):
    """Remembers receipts. One per service, shared by all of its workers: two memories accept a receipt twice."""

    def claim(self, origin: str, leaf: bytes, decided_wall_ms: int, now_wall_ms: int) -> None:
        """Takes a receipt, atomically and before anything acts on it.

        Raises NotVerified where it was taken before, cannot be remembered, or is too old for this memory to know.
        """


class ReplayMemory:
    """`Seen` within one process. It is bounded, and refuses when it is full.

    Below its `floor` it remembers nothing and so refuses everything: receipts from before it was made (a restart
    forgets), and from before the oldest that it has dropped. So no step of any clock makes a receipt good again.
    """

    def __init__(self, *, capacity: int = REMEMBERED_MAX, started_wall_ms: Optional[int] = None) -> None:
        self._capacity = capacity
        self._floor = _wall_ms() if started_wall_ms is None else started_wall_ms
        self._seen: dict[tuple[str, bytes], int] = {}
        self._lock = threading.Lock()

    def claim(self, origin: str, leaf: bytes, decided_wall_ms: int, now_wall_ms: int) -> None:
        """See `Seen`."""
        with self._lock:
            if (origin, leaf) in self._seen:
                raise NotVerified("the receipt was used before")
            if decided_wall_ms < self._floor:
                raise NotVerified("the receipt is from before this server's memory begins: ask again")
            if len(self._seen) >= self._capacity:
                self._forget(now_wall_ms - REMEMBERED_MS)
            if len(self._seen) >= self._capacity:
                raise NotVerified("this server has too many receipts to remember: ask again later")
            self._seen[(origin, leaf)] = decided_wall_ms

    def _forget(self, before_wall_ms: int) -> None:
        self._seen = {key: time_ms for key, time_ms in self._seen.items() if time_ms >= before_wall_ms}
        self._floor = max(self._floor, before_wall_ms)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def verify_receipt(
    receipt: Union[str, bytes, Receipt],
    *,
    origin: Origin,
    tool: str,
    arguments: bytes,
    seen: Seen,
    allow_development: bool = False,
    now_wall_ms: Callable[[], int] = _wall_ms,
) -> VerifiedCall:
    """Accepts one call on its receipt (base64 as in the header, protobuf bytes, or a message), once.

    `tool` is the server's own name for what it is about to do, `arguments` the JSON object that it really received.
    `seen` is the service's one memory; `allow_development` also takes receipts of a development set-up.

    Raises NotVerified. Nothing has been accepted then, and the receipt is not used up.
    """
    parsed = _parse_receipt(receipt)
    checkpoint = Checkpoint.verify(parsed.checkpoint, origin)
    leaf = leaf_hash(parsed.record)
    verify_inclusion(leaf, parsed.leaf_index, list(parsed.path), checkpoint)
    record = _parse_record(parsed.record)
    _check_verdict(record, parsed.leaf_index, origin, allow_development)
    if record.get("tool") != tool:
        raise NotVerified("the receipt is for another tool")
    received = _check_arguments(record, parsed.args_salt, arguments)
    decided, now = record.get("wall_ms"), now_wall_ms()
    if type(decided) is not int or abs(now - decided) > AGE_MS_MAX:
        raise NotVerified("the decision is not of the last minute: ask again")
    seen.claim(origin.name, leaf, decided, now)
    return _verified(record, received, leaf)


def _parse_receipt(receipt: Union[str, bytes, Receipt]) -> Receipt:
    if isinstance(receipt, Receipt):
        return receipt
    if len(receipt) > RECEIPT_BYTES_MAX * 4 // 3:
        raise NotVerified("the receipt is too large")
    try:
        data = base64.b64decode(receipt, validate=True) if isinstance(receipt, str) else receipt
        parsed = Receipt()
        parsed.ParseFromString(data)
        return parsed
    except (binascii.Error, ValueError, DecodeError) as cause:
        raise NotVerified("the receipt is malformed") from cause


def _parse_record(data: bytes) -> dict[str, Any]:
    """The signed record. It is ours, but read as strictly as anything else."""
    try:
        record = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float
        )
    except (ValueError, RecursionError) as cause:
        raise NotVerified("the record is malformed") from cause
    if not isinstance(record, dict):
        raise NotVerified("the record is malformed")
    return record


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key comes twice")
    return value


def _no_float(literal: str) -> Any:
    raise ValueError(f"`{literal}` is no number of a record")


def _check_verdict(record: dict[str, Any], index: int, origin: Origin, allow_development: bool) -> None:
    if record.get("v") != RECORD_VERSION or type(record.get("v")) is not int:
        raise NotVerified("the record has a layout that this server does not know")
    if record.get("kind") != "decision":
        raise NotVerified("the record is no decision")
    if type(record.get("seq")) is not int or record["seq"] != index:
        raise NotVerified("the record is not at its place in the tree")
    if record.get("stack") != _stack_of(origin):
        raise NotVerified("the record is of another stack")
    if record.get("effect") != "permit":
        raise NotVerified("the decision is no permit")
    if record.get("door") not in ACTING_DOORS:
        raise NotVerified("the permit answers a question and allows no act")
    if not allow_development:
        if record.get("mode") != "enforced":
            raise NotVerified("the decision is of a development set-up")
        if record.get("attested") is not True:
            raise NotVerified("the caller of the decision is not attested")
    elif record.get("mode") not in ("enforced", "development"):
        raise NotVerified("the record's mode is unknown")


def _stack_of(origin: Origin) -> str:
    """`faramesh/<stack>/<8 hex>`; another name has no stack and matches no record."""
    parts = origin.name.split("/")
    return parts[1] if len(parts) == 3 and parts[0] == "faramesh" else ""


def _check_arguments(record: dict[str, Any], salt: bytes, arguments: bytes) -> Mapping[str, Json]:
    if len(salt) != _SALT_BYTES:
        raise NotVerified("the receipt's salt is malformed")
    try:
        received = parse(arguments)
        text = canonical_text(received)
    except InvalidArguments as cause:
        raise NotVerified(str(cause)) from cause
    if record.get("args") != hashlib.sha256(salt + text.encode("utf-8")).hexdigest():
        raise NotVerified("the receipt is for other arguments")
    return received


def _verified(record: dict[str, Any], received: Mapping[str, Json], leaf: bytes) -> VerifiedCall:
    session = record.get("session")
    return VerifiedCall(
        stack=str(record["stack"]),
        agent=str(record.get("agent", "")),
        session=session if isinstance(session, str) else None,
        tool=str(record["tool"]),
        arguments=received,
        seq=int(record["seq"]),
        leaf=leaf,
        decided_wall_ms=int(record["wall_ms"]),
        enforced=record["mode"] == "enforced",
    )
