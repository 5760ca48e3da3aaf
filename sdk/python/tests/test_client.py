"""The client against a daemon that misbehaves: nothing but a well-formed permit is one."""

from __future__ import annotations

import asyncio
import os
import pathlib
import socket
import tempfile
import threading
from decimal import Decimal

import grpc
import pytest
import world
from faramesh import Client, ToolDeferred, ToolDeniedException
from faramesh._wire import agent_pb2 as wire


def refused(client: Client) -> ToolDeniedException:
    with pytest.raises(ToolDeniedException) as caught:
        client.govern("orders/refund", {"amount": 80})
    with pytest.raises(ToolDeniedException) as caught_async:
        asyncio.run(client.govern_async("orders/refund", {"amount": 80}))
    assert type(caught.value) is type(caught_async.value)
    assert caught.value.code == caught_async.value.code
    return caught.value


def test_a_permit_carries_what_was_decided(daemon: world.FakeDaemon) -> None:
    permit = daemon.client().govern("orders/refund", {"order": "A-1", "amount": Decimal("80.50")})
    assert permit.arguments == '{"amount":80.5,"order":"A-1"}'
    assert permit.receipt.leaf_index == 7
    assert daemon.requests[0].agent == "bot"
    assert daemon.requests[0].arguments == permit.arguments.encode()


def test_a_denial_tells_code_reason_resolution_missing_and_rule(daemon: world.FakeDaemon) -> None:
    daemon.answer = lambda _: world.deny(
        code="INDETERMINATE",
        missing=["args.amount"],
        resolution=wire.Resolution(rule_block="r7"),
        rule=wire.RuleRef(number=7, text="deny orders/refund"),
        receipt=wire.Receipt(leaf_index=3),
    )
    denial = refused(daemon.client())
    assert type(denial) is ToolDeniedException
    assert (denial.code, denial.missing, denial.approval_id) == ("INDETERMINATE", ("args.amount",), None)
    assert (denial.resolution.kind, denial.resolution.rule_id) == ("rule_block", "r7")
    assert denial.rule is not None and denial.rule.number == 7
    assert denial.receipt is not None and denial.receipt.leaf_index == 3
    assert str(denial) == (
        "orders/refund: INDETERMINATE; refused by policy; missing or of the wrong type: args.amount; "
        "rule 7"
    )


def test_a_deferral_is_a_refusal_too(daemon: world.FakeDaemon) -> None:
    daemon.answer = lambda _: world.defer()
    deferral = refused(daemon.client())
    assert type(deferral) is ToolDeferred
    assert (deferral.code, deferral.resolution.kind) == ("POLICY_DEFER", "manual_audit")


def test_a_retry_hint_is_kept(daemon: world.FakeDaemon) -> None:
    daemon.answer = lambda _: world.deny(code="OVERLOADED", resolution=wire.Resolution(retry_after_seconds=9))
    assert refused(daemon.client()).resolution.retry_after_seconds == 9


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(wire.GovernReply(receipt=wire.Receipt(record=b"{}")), id="unspecified effect"),
        pytest.param(wire.GovernReply(effect=4, receipt=wire.Receipt(record=b"{}")), id="unknown effect"),
        pytest.param(wire.GovernReply(), id="empty reply"),
        pytest.param(wire.GovernReply(effect=wire.EFFECT_PERMIT), id="permit without a receipt"),
        pytest.param(world.permit(receipt=wire.Receipt()), id="permit with an empty receipt"),
        pytest.param(world.permit().SerializeToString() + b"\xfa\x01\x03abc", id="permit with an unknown field"),
        pytest.param(world.permit().SerializeToString()[:-3], id="half a permit"),
        pytest.param(b"\xff\xff\xff", id="no protobuf"),
        pytest.param(b"\x08\x01" + b"\x1a\x02\xff\xfe", id="text that is not UTF-8"),
        pytest.param(grpc.StatusCode.INTERNAL, id="a transport error"),
        pytest.param(grpc.StatusCode.UNIMPLEMENTED, id="another protocol"),
    ],
)
def test_what_is_not_a_well_formed_permit_is_refused(daemon: world.FakeDaemon, reply: object) -> None:
    daemon.answer = lambda _: reply
    assert refused(daemon.client()).code == "INTERNAL"


def test_a_reply_that_is_too_large_is_refused(daemon: world.FakeDaemon) -> None:
    daemon.answer = lambda _: world.permit(message="x" * (2 << 20))
    assert refused(daemon.client()).code == "OVERLOADED"


def test_a_daemon_that_is_gone_refuses_every_call(daemon: world.FakeDaemon) -> None:
    client = daemon.client()
    client.govern("orders/refund", {})
    daemon.stop()
    assert refused(client).code == "DAEMON_NOT_READY"


def test_a_socket_that_does_not_exist_is_a_refusal() -> None:
    denial = refused(Client("/nonexistent/agent.sock", "bot"))
    assert denial.code == "DAEMON_NOT_READY"
    assert "faramesh status" in denial.message


@pytest.mark.parametrize("path", ["", "relative.sock", "/" + "x" * 107])
def test_a_socket_path_that_cannot_be_one_is_a_refusal(path: str) -> None:
    assert refused(Client(path, "bot")).code == "DAEMON_NOT_READY"


def test_a_daemon_that_does_not_answer_is_a_refusal(daemon: world.FakeDaemon) -> None:
    release = threading.Event()
    daemon.answer = lambda _: release.wait(30) and world.permit()
    try:
        assert refused(daemon.client(deadline_seconds=0.2)).code == "DAEMON_NOT_READY"
    finally:
        release.set()


def test_a_peer_that_takes_the_question_and_hangs_up_is_a_refusal() -> None:
    with tempfile.TemporaryDirectory(prefix="fm-") as folder:
        path = os.path.join(folder, "agent.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()

            def hang_up() -> None:
                while True:
                    try:
                        peer, _ = listener.accept()
                    except OSError:
                        return
                    peer.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00")  # half of HTTP/2's first frames
                    peer.close()

            thread = threading.Thread(target=hang_up)
            thread.start()
            try:
                assert refused(Client(path, "bot", deadline_seconds=2)).code == "DAEMON_NOT_READY"
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()


def test_a_call_is_asked_once_even_where_the_transport_fails(daemon: world.FakeDaemon) -> None:
    daemon.answer = lambda _: grpc.StatusCode.UNAVAILABLE
    with pytest.raises(ToolDeniedException):
        daemon.client().govern("orders/refund", {})
    assert len(daemon.requests) == 1


def test_a_daemon_that_comes_back_is_asked_again() -> None:
    with world.fake_daemon() as first:
        client = first.client()
        client.govern("t", {})
        first.stop()
        with pytest.raises(ToolDeniedException):
            client.govern("t", {})
        second = world.FakeDaemon(pathlib.Path(first.socket)).start()
        try:
            grpc.channel_ready_future(client._open()).result(timeout=30)
            client.govern("t", {})
        finally:
            second.stop()


def test_a_cancelled_question_is_cancelled_at_the_daemon(daemon: world.FakeDaemon) -> None:
    release = threading.Event()
    arrived = threading.Event()

    def answer(_: object) -> object:
        arrived.set()
        release.wait(30)
        return world.permit()

    daemon.answer = answer

    async def ask_and_give_up() -> None:
        task = asyncio.create_task(daemon.client().govern_async("t", {}))
        await asyncio.to_thread(arrived.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    try:
        asyncio.run(ask_and_give_up())
    finally:
        release.set()


def test_shadow_mode_permits_and_says_what_enforcing_would_answer(daemon: world.FakeDaemon) -> None:
    daemon.answer = lambda _: world.permit(would=wire.EFFECT_DENY)
    assert daemon.client().govern("t", {}).would == "deny"


def test_can_answers_without_a_permit(daemon: world.FakeDaemon) -> None:
    assert daemon.client().can("t", {}) is None
    daemon.answer = lambda _: world.deny()
    with pytest.raises(ToolDeniedException):
        daemon.client().can("t", {})


def test_the_environment_names_socket_and_agent(daemon: world.FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARAMESH_SOCKET", daemon.socket)
    monkeypatch.setenv("FARAMESH_AGENT_ID", "from-environment")
    Client().govern("t", {})
    assert daemon.requests[0].agent == "from-environment"


def test_a_proxy_of_the_environment_is_not_used(daemon: world.FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    daemon.client().govern("t", {})


def test_a_channel_from_before_a_fork_is_not_used_after_it(daemon: world.FakeDaemon) -> None:
    client = daemon.client()
    client.govern("t", {})
    before = client._channel
    client._channel_pid -= 1  # as a child sees it
    client.govern("t", {})
    assert client._channel is not before and client._channel_pid == os.getpid()
    before.close()
