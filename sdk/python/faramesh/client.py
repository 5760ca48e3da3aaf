"""Asks the daemon. Fails closed: whatever is not a well-formed permit is raised as a refusal.

Invariants: every call has a deadline; a call is sent once and never retried, since a second question is a second
decision; only `_permit` makes a `Permit`, from a reply whose effect is PERMIT and that carries a receipt.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

import grpc

from faramesh._wire import agent_pb2 as wire
from faramesh.canonical import InvalidArguments, canonical_text
from faramesh.errors import Resolution, Rule, ToolDeferred, ToolDeniedException

__all__ = ["Client", "Permit", "default_client"]

#: For a decision, in seconds. A durable decision takes milliseconds; a daemon that needs longer is not ready.
DECISION_DEADLINE_SECONDS = 5.0
#: For the report of an outcome, in seconds: the tool's caller waits for it.
OUTCOME_DEADLINE_SECONDS = 2.0
#: A reply is a message, a record and a path of at most 64 hashes.
REPLY_BYTES_MAX = 1 << 20
#: The wire's limit for an outcome's detail.
DETAIL_BYTES_MAX = 256
#: sockaddr_un holds 108 bytes with the final zero.
SOCKET_PATH_BYTES_MAX = 107

_log = logging.getLogger("faramesh")


@dataclass(frozen=True)
class Permit:
    """The daemon's answer that a call may act now, once."""

    tool: str
    #: The canonical arguments that were decided, and nothing else.
    arguments: str
    receipt: wire.Receipt
    #: In shadow mode: what enforcing would have answered (`permit`, `defer`, `deny`), else None.
    would: Optional[str] = None


class Client:
    """One daemon, asked on behalf of one agent. Safe to share between threads and event loops.

    `socket` and `agent_id` default to FARAMESH_SOCKET and FARAMESH_AGENT_ID, which the launcher sets. The agent id is
    only ever compared with what the kernel says of this process.
    """

    def __init__(
        self,
        socket: Optional[str] = None,
        agent_id: Optional[str] = None,
        *,
        deadline_seconds: float = DECISION_DEADLINE_SECONDS,
    ) -> None:
        self.socket = socket if socket is not None else os.environ.get("FARAMESH_SOCKET", "")
        self.agent_id = agent_id if agent_id is not None else os.environ.get("FARAMESH_AGENT_ID", "")
        self.deadline_seconds = deadline_seconds
        self._lock = threading.Lock()
        self._channel: Optional[grpc.Channel] = None
        self._channel_pid = 0

    def govern(self, tool: str, arguments: Mapping[str, Any]) -> Permit:
        """Asks for one tool call; returns only when it may act.

        Raises ToolDeferred or ToolDeniedException.
        """
        text = _canonical(tool, arguments)
        return self._judge(tool, text, self._call("Govern", tool, text))

    async def govern_async(self, tool: str, arguments: Mapping[str, Any]) -> Permit:
        """As `govern`, without blocking the event loop. Cancelling it cancels the question."""
        text = _canonical(tool, arguments)
        return self._judge(tool, text, await self._call_async("Govern", tool, text))

    def can(self, tool: str, arguments: Mapping[str, Any]) -> None:
        """Asks what `govern` would answer now. Returns where it would permit, else raises as `govern` does.

        The question permits nothing: there is no `Permit`, and its receipt is refused by tool servers.
        """
        text = _canonical(tool, arguments)
        self._judge(tool, text, self._call("Can", tool, text))

    def report_success(self, permit: Permit, result: Any = None) -> None:
        """Says that the permitted call succeeded, with a digest of its result. Never raises."""
        self._report(permit, wire.OUTCOME_STATUS_SUCCEEDED, _digest(result), "")

    def report_failure(self, permit: Permit, error: BaseException) -> None:
        """Says that the permitted call raised `error`. Its type is told, its text is not: it may hold a secret.

        An interruption that is no `Exception` leaves the outcome unknown. Never raises.
        """
        self._report(permit, _failure_status(error), b"", type(error).__qualname__)

    async def report_success_async(self, permit: Permit, result: Any = None) -> None:
        """As `report_success`, without blocking the event loop."""
        await self._report_async(permit, wire.OUTCOME_STATUS_SUCCEEDED, _digest(result), "")

    async def report_failure_async(self, permit: Permit, error: BaseException) -> None:
        """As `report_failure`, without blocking the event loop."""
        await self._report_async(permit, _failure_status(error), b"", type(error).__qualname__)

    def close(self) -> None:
        """Closes the connection. The next call opens another."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- asking ------------------------------------------------------------------------------------------------------

    def _call(self, method: str, tool: str, text: str) -> wire.GovernReply:
        request = self._request(tool, text)
        try:
            reply: wire.GovernReply = self._method(method, wire.GovernReply)(request, timeout=self.deadline_seconds)
            return reply
        except grpc.RpcError as cause:
            raise self._unanswered(tool, cause) from cause
        except ValueError as cause:  # the channel was closed by another thread
            raise _denied(tool, "INTERNAL", f"the call could not be sent: {cause}") from cause

    async def _call_async(self, method: str, tool: str, text: str) -> wire.GovernReply:
        request = self._request(tool, text)
        try:
            call = self._method(method, wire.GovernReply).future(request, timeout=self.deadline_seconds)
            reply: wire.GovernReply = await _completed(call)
            return reply
        except grpc.RpcError as cause:
            raise self._unanswered(tool, cause) from cause
        except grpc.FutureCancelledError as cause:
            raise _denied(tool, "INTERNAL", "the question was cancelled") from cause
        except ValueError as cause:
            raise _denied(tool, "INTERNAL", f"the call could not be sent: {cause}") from cause

    def _request(self, tool: str, text: str) -> wire.GovernRequest:
        if not self.socket:
            raise _denied(
                tool,
                "DAEMON_NOT_READY",
                "FARAMESH_SOCKET is not set: start the agent with `.faramesh/bin/agent -- …`",
            )
        if not os.path.isabs(self.socket) or len(os.fsencode(self.socket)) > SOCKET_PATH_BYTES_MAX:
            raise _denied(tool, "DAEMON_NOT_READY", f"`{self.socket}` is not an absolute path of a Unix socket")
        return wire.GovernRequest(agent=self.agent_id, tool=tool, arguments=text.encode("utf-8"))

    def _method(self, name: str, reply: Any) -> Any:
        return self._open().unary_unary(
            f"/faramesh.v1.Agent/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )

    def _open(self) -> grpc.Channel:
        """The connection of this process: one that was opened before a fork is not used after it."""
        with self._lock:
            if self._channel is None or self._channel_pid != os.getpid():
                self._channel = grpc.insecure_channel(f"unix://{self.socket}", options=_CHANNEL_OPTIONS)
                self._channel_pid = os.getpid()
            return self._channel

    def _unanswered(self, tool: str, cause: grpc.RpcError) -> ToolDeniedException:
        """A transport error as a refusal: the daemon says no in a reply, never in a status."""
        status = cause.code()
        code = _CODE_OF_STATUS.get(status, "INTERNAL")
        if status == grpc.StatusCode.UNAVAILABLE:
            message = f"the daemon does not answer on `{self.socket}`: is it READY? (`faramesh status`)"
        elif status == grpc.StatusCode.DEADLINE_EXCEEDED:
            message = f"no answer within {self.deadline_seconds:g} s"
        else:
            message = f"no answer that can be trusted: {status.name}: {cause.details()}"
        return _denied(tool, code, message)

    # -- judging -----------------------------------------------------------------------------------------------------

    def _judge(self, tool: str, text: str, reply: wire.GovernReply) -> Permit:
        if reply.effect == wire.EFFECT_PERMIT:
            return _permit(tool, text, reply)
        if reply.effect == wire.EFFECT_DEFER:
            raise _refusal(ToolDeferred, tool, reply, code="POLICY_DEFER")
        if reply.effect == wire.EFFECT_DENY:
            raise _refusal(ToolDeniedException, tool, reply, code="POLICY_DENY")
        raise _denied(tool, "INTERNAL", f"the daemon answered with the unknown effect {int(reply.effect)}")

    # -- reporting ---------------------------------------------------------------------------------------------------

    def _report(self, permit: Permit, status: Any, digest: bytes, detail: str) -> None:
        try:
            method = self._method("ReportOutcome", wire.OutcomeReply)
            _log_refused_report(
                permit,
                method(_outcome(permit, status, digest, detail), timeout=OUTCOME_DEADLINE_SECONDS),
            )
        except Exception as cause:  # the act is done: what is lost is a record about it
            _log.warning("outcome of %s at leaf %d not recorded: %s", permit.tool, permit.receipt.leaf_index, _brief(cause))

    async def _report_async(self, permit: Permit, status: Any, digest: bytes, detail: str) -> None:
        try:
            method = self._method("ReportOutcome", wire.OutcomeReply)
            call = method.future(_outcome(permit, status, digest, detail), timeout=OUTCOME_DEADLINE_SECONDS)
            _log_refused_report(permit, await _completed(call))
        except Exception as cause:
            _log.warning("outcome of %s at leaf %d not recorded: %s", permit.tool, permit.receipt.leaf_index, _brief(cause))


_default: Optional[Client] = None
_default_lock = threading.Lock()


def default_client() -> Client:
    """The client of this process, made from the environment at its first use."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Client()
        return _default


_CHANNEL_OPTIONS = (
    # A retried Govern would be a second decision and consume a second permit.
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", REPLY_BYTES_MAX),
    # A Unix socket has no proxy, whatever the environment says.
    ("grpc.enable_http_proxy", 0),
    ("grpc.default_authority", "localhost"),
    # A daemon that restarts is back within a second; until then calls are refused at once, not queued.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Two clients of one socket in a process (tests, forks) do not share a connection's fate.
    ("grpc.use_local_subchannel_pool", 1),
)

_CODE_OF_STATUS = {
    grpc.StatusCode.UNAVAILABLE: "DAEMON_NOT_READY",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DAEMON_NOT_READY",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "OVERLOADED",
    grpc.StatusCode.INVALID_ARGUMENT: "CALL_INVALID",
    grpc.StatusCode.PERMISSION_DENIED: "IDENTITY_UNVERIFIED",
    grpc.StatusCode.UNAUTHENTICATED: "IDENTITY_UNVERIFIED",
}

_EFFECT_NAMES = {
    wire.EFFECT_PERMIT: "permit",
    wire.EFFECT_DEFER: "defer",
    wire.EFFECT_DENY: "deny",
}


def _canonical(tool: str, arguments: Mapping[str, Any]) -> str:
    try:
        return canonical_text(arguments)
    except InvalidArguments as cause:
        raise _denied(tool, "CALL_INVALID", str(cause)) from cause


def _permit(tool: str, text: str, reply: wire.GovernReply) -> Permit:
    """The only maker of a `Permit`."""
    if not reply.HasField("receipt") or not reply.receipt.record:
        raise _denied(tool, "INTERNAL", "the daemon's permit carries no receipt")
    size_bytes = reply.ByteSize()
    known = wire.GovernReply()
    known.CopyFrom(reply)
    known.DiscardUnknownFields()
    if known.ByteSize() != size_bytes:
        # A field that this SDK does not know may limit the permit.
        raise _denied(tool, "INTERNAL", "the daemon's permit says more than this SDK understands: update faramesh-sdk")
    would = None
    if reply.would != wire.EFFECT_UNSPECIFIED:
        would = _EFFECT_NAMES.get(reply.would, "unknown")
    return Permit(tool=tool, arguments=text, receipt=reply.receipt, would=would)


def _refusal(
    kind: type[ToolDeniedException], tool: str, reply: wire.GovernReply, *, code: str
) -> ToolDeniedException:
    return kind(
        reply.message,
        code=reply.code or code,
        tool=tool,
        resolution=_resolution(reply.resolution),
        missing=tuple(reply.missing),
        rule=Rule(reply.rule.number, reply.rule.text) if reply.HasField("rule") else None,
        receipt=reply.receipt if reply.HasField("receipt") else None,
    )


def _denied(tool: str, code: str, message: str) -> ToolDeniedException:
    return ToolDeniedException(message, code=code, tool=tool)


def _resolution(resolution: wire.Resolution) -> Resolution:
    kind = resolution.WhichOneof("kind")
    if kind == "rule_block":
        return Resolution("rule_block", rule_id=resolution.rule_block)
    if kind == "manual_audit":
        return Resolution("manual_audit")
    if kind == "retry_after_seconds":
        return Resolution("retry_after", retry_after_seconds=resolution.retry_after_seconds)
    return Resolution("none")


def _outcome(permit: Permit, status: Any, digest: bytes, detail: str) -> wire.OutcomeRequest:
    # Cut at a character, since the field is UTF-8.
    short = detail.encode("utf-8", "replace")[:DETAIL_BYTES_MAX].decode("utf-8", "ignore")
    return wire.OutcomeRequest(
        leaf_index=permit.receipt.leaf_index, status=status, result_digest=digest, detail=short
    )


def _failure_status(error: BaseException) -> Any:
    """An interruption (a cancelled task, Ctrl-C) may have come before or after the act."""
    ended = isinstance(error, Exception) and not isinstance(error, asyncio.CancelledError)
    return wire.OUTCOME_STATUS_FAILED if ended else wire.OUTCOME_STATUS_UNKNOWN


def _digest(result: Any) -> bytes:
    """SHA-256 of a result: of bytes and text as they are, else of the canonical text, empty where there is none."""
    if isinstance(result, (bytes, bytearray)):
        return hashlib.sha256(result).digest()
    if isinstance(result, str):
        return hashlib.sha256(result.encode("utf-8", "surrogatepass")).digest()
    try:
        # `{"":VALUE}` without what surrounds the value.
        return hashlib.sha256(canonical_text({"": result})[4:-1].encode("utf-8")).digest()
    except InvalidArguments:
        return b""


def _log_refused_report(permit: Permit, reply: wire.OutcomeReply) -> None:
    if reply.code:
        _log.warning(
            "outcome of %s at leaf %d refused: %s %s", permit.tool, permit.receipt.leaf_index, reply.code, reply.message
        )


def _brief(cause: Exception) -> str:
    if isinstance(cause, grpc.RpcError):
        return str(cause.code().name)
    return f"{type(cause).__name__}: {cause}"


async def _completed(call: Any) -> Any:
    """The result of a gRPC future, awaited; cancelling the wait cancels the call."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def finish() -> None:
        if not done.done():
            done.set_result(None)

    def wake(_: object) -> None:
        try:
            loop.call_soon_threadsafe(finish)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass

    call.add_done_callback(wake)
    try:
        await done
    except asyncio.CancelledError:
        call.cancel()
        raise
    return call.result()
