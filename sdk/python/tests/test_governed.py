"""`@governed`: the body runs after a permit, with what was decided, and not otherwise."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import pytest
import world
from faramesh import Client, ToolDeniedException, current_arguments, current_receipt, governed, receipt_header
from faramesh._wire import agent_pb2 as wire


def test_the_body_runs_with_the_arguments_that_were_decided(daemon: world.FakeDaemon) -> None:
    @governed("orders/refund", client=daemon.client())
    def refund(order: str, amount: Decimal = Decimal("1.10"), *notes: str, **more: int) -> str:
        return f"{order} {amount}"

    assert refund("A-1", Decimal("20"), "x", urgent=1) == "A-1 20"
    assert refund("A-2") == "A-2 1.10"
    assert daemon.asked == [
        ("orders/refund", {"order": "A-1", "amount": 20, "notes": ["x"], "urgent": 1}),
        ("orders/refund", {"order": "A-2", "amount": 1.1, "notes": []}),
    ]


@pytest.mark.parametrize("answer", [world.deny(), world.defer(), wire.GovernReply(), b"\xff"])
def test_the_body_does_not_run_without_a_permit(daemon: world.FakeDaemon, answer: object) -> None:
    daemon.answer = lambda _: answer
    ran: list[str] = []

    @governed("t", client=daemon.client())
    def act() -> None:
        ran.append("sync")

    @governed("t", client=daemon.client())
    async def act_async() -> None:
        ran.append("async")

    with pytest.raises(ToolDeniedException):
        act()
    with pytest.raises(ToolDeniedException):
        asyncio.run(act_async())
    assert ran == [] and daemon.outcomes == []


def test_the_body_does_not_run_without_a_daemon() -> None:
    ran: list[int] = []

    @governed("t", client=Client("/nonexistent/agent.sock", "bot"))
    def act() -> None:
        ran.append(1)

    with pytest.raises(ToolDeniedException) as caught:
        act()
    assert caught.value.code == "DAEMON_NOT_READY" and ran == []


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), Decimal("NaN"), {1: "x"}, {("a",): 1}, object(), b"bytes", {"set"}, "\ud800"],
)
def test_arguments_without_an_exact_form_are_refused_before_anything_is_asked(
    daemon: world.FakeDaemon, value: Any
) -> None:
    @governed("t", client=daemon.client())
    def act(value: Any) -> None:
        raise AssertionError("ran")

    with pytest.raises(ToolDeniedException) as caught:
        act(value)
    assert caught.value.code == "CALL_INVALID" and daemon.requests == []


def test_an_omitted_parameter_reaches_the_body_and_not_the_policy(daemon: world.FakeDaemon) -> None:
    class Desk:
        @governed("t", omit=("self",), client=daemon.client())
        def act(self, order: str) -> Any:
            return (self, order)

    desk = Desk()
    assert desk.act("A-1") == (desk, "A-1")
    assert daemon.asked == [("t", {"order": "A-1"})]


def test_a_misspelt_omission_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="sefl"):
        governed("t", omit=("sefl",))(lambda self: None)


def test_a_keyword_cannot_hide_a_parameter_from_the_policy(daemon: world.FakeDaemon) -> None:
    @governed("t", client=daemon.client())
    def act(amount: int, /, **more: int) -> None:
        raise AssertionError("ran")

    with pytest.raises(TypeError, match="amount"):
        act(5000, **{"amount": 1})
    assert daemon.requests == []


def test_generators_are_refused_since_they_act_after_the_call() -> None:
    def act() -> Iterator[int]:
        yield 1

    async def act_async() -> AsyncIterator[int]:
        yield 1

    for function in (act, act_async):
        with pytest.raises(TypeError, match="generator"):
            governed("t")(function)


def test_the_receipt_is_current_in_the_body_and_nowhere_else(daemon: world.FakeDaemon) -> None:
    @governed("t", client=daemon.client())
    def act() -> wire.Receipt:
        assert receipt_header() == {
            "Faramesh-Receipt": base64.b64encode(current_receipt().SerializeToString()).decode()
        }
        assert current_arguments() == "{}"
        return current_receipt()

    with pytest.raises(LookupError):
        current_receipt()
    assert act().leaf_index == 7
    with pytest.raises(LookupError):
        receipt_header()


def test_tasks_that_run_at_once_have_each_their_own_receipt(daemon: world.FakeDaemon) -> None:
    daemon.answer = lambda request: world.permit(
        receipt=wire.Receipt(record=b"{}", leaf_index=int(request.arguments[5:-1]))
    )
    both = asyncio.Barrier(2) if hasattr(asyncio, "Barrier") else None

    @governed("t", client=daemon.client())
    async def act(n: int) -> int:
        if both is not None:
            await both.wait()
        return current_receipt().leaf_index

    async def run() -> list[int]:
        return list(await asyncio.gather(act(3), act(4)))

    assert asyncio.run(run()) == [3, 4]


def test_success_is_reported_with_the_digest_of_the_result(daemon: world.FakeDaemon) -> None:
    results: list[Any] = ["text", b"bytes", {"b": 1, "a": Decimal("1.50")}, None, object()]

    @governed("t", client=daemon.client())
    def act(n: int) -> Any:
        return results[n]

    for n in range(len(results)):
        act(n)
    told = [b"text", b"bytes", b'{"a":1.5,"b":1}', b"null"]
    assert [o.result_digest for o in daemon.outcomes] == [*(hashlib.sha256(t).digest() for t in told), b""]
    assert {(o.leaf_index, o.status) for o in daemon.outcomes} == {(7, wire.OUTCOME_STATUS_SUCCEEDED)}


def test_failure_is_reported_by_its_type_and_without_its_text(daemon: world.FakeDaemon) -> None:
    @governed("t", client=daemon.client())
    def act(error: str) -> None:
        raise {"value": ValueError("password=hunter2"), "stop": KeyboardInterrupt()}[error]

    @governed("t", client=daemon.client())
    async def act_async() -> None:
        raise ValueError("password=hunter2")

    with pytest.raises(ValueError, match="hunter2"):
        act("value")
    with pytest.raises(ValueError, match="hunter2"):
        asyncio.run(act_async())
    with pytest.raises(KeyboardInterrupt):
        act("stop")
    assert [(o.status, o.detail) for o in daemon.outcomes] == [
        (wire.OUTCOME_STATUS_FAILED, "ValueError"),
        (wire.OUTCOME_STATUS_FAILED, "ValueError"),
        (wire.OUTCOME_STATUS_UNKNOWN, "KeyboardInterrupt"),
    ]


def test_a_cancelled_body_leaves_an_unknown_outcome(daemon: world.FakeDaemon) -> None:
    async def run() -> None:
        started = asyncio.Event()

        @governed("t", client=daemon.client())
        async def act() -> None:
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(act())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert [o.status for o in daemon.outcomes] == [wire.OUTCOME_STATUS_UNKNOWN]


def test_an_outcome_that_cannot_be_recorded_does_not_undo_the_act(
    daemon: world.FakeDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    daemon.outcome_reply = lambda: wire.OutcomeReply(code="JOURNAL_UNAVAILABLE", message="disk full")

    @governed("t", client=daemon.client())
    def act(stop: bool) -> str:
        if stop:
            daemon.stop()
        return "done"

    with caplog.at_level(logging.WARNING, "faramesh"):
        assert act(False) == "done"
        assert act(True) == "done"
    assert "JOURNAL_UNAVAILABLE" in caplog.text and "not recorded" in caplog.text
