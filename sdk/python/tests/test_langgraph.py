"""GovernedToolSet with the real LangChain tools and the real LangGraph."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
import world
from faramesh import GovernedToolSet, ToolDeferred, ToolDeniedException, current_receipt
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, ToolException, tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode
from pydantic import BaseModel

ran: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@tool
def refund_order(order: str, amount: int, currency: str = "USD") -> str:
    """Refunds an order."""
    ran.append((order, amount, currency, current_receipt().leaf_index))
    return f"refunded {amount} {currency}"


def through_graph(tools: GovernedToolSet, *calls: dict[str, Any], state: dict[str, Any] | None = None) -> list[Any]:
    """The ToolMessages of a real graph whose model calls these tools."""

    def model(_: MessagesState) -> dict[str, Any]:
        tool_calls = [{"id": f"c{n}", "type": "tool_call", **call} for n, call in enumerate(calls)]
        return {"messages": [AIMessage("", tool_calls=tool_calls)]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", model)
    graph.add_node("tools", ToolNode(list(tools)))
    graph.add_edge(START, "model")
    graph.add_edge("model", "tools")
    graph.add_edge("tools", END)
    done = graph.compile().invoke({"messages": [HumanMessage("hello")], **(state or {})})
    return [message for message in done["messages"] if isinstance(message, ToolMessage)]


class Line(BaseModel):
    """Part of a schema; at module level, where a tool's annotations are looked up."""

    sku: str
    count: int


REFUND = {"name": "refund_order", "args": {"order": "A-1", "amount": 80}}


def test_a_permitted_tool_runs_in_a_graph_under_the_policys_name(daemon: world.FakeDaemon) -> None:
    tools = GovernedToolSet([refund_order], names={"refund_order": "orders/refund"}, client=daemon.client())
    (message,) = through_graph(tools, REFUND)
    assert (message.content, message.status) == ("refunded 80 USD", "success")
    assert daemon.asked == [("orders/refund", {"order": "A-1", "amount": 80, "currency": "USD"})]
    assert ran == [("A-1", 80, "USD", 7)]
    assert len(daemon.outcomes) == 1


def test_a_refused_tool_raises_through_the_graph(daemon: world.FakeDaemon) -> None:
    daemon.answer = lambda _: world.deny()
    with pytest.raises(ToolDeniedException):
        through_graph(GovernedToolSet([refund_order], client=daemon.client()), REFUND)
    daemon.answer = lambda _: world.defer()
    with pytest.raises(ToolDeferred):
        through_graph(GovernedToolSet([refund_order], client=daemon.client()), REFUND)
    assert ran == []


def test_a_refusal_as_a_message_lets_the_agent_go_on(daemon: world.FakeDaemon) -> None:
    daemon.answer = lambda request: world.deny(message="too much") if b"5000" in request.arguments else world.permit()
    tools = GovernedToolSet([refund_order], refusals="message", client=daemon.client())
    refused, permitted = through_graph(
        tools, {"name": "refund_order", "args": {"order": "A-1", "amount": 5000}}, REFUND
    )
    assert refused.status == "error" and "POLICY_DENY; too much" in refused.content
    assert permitted.status == "success"
    assert [entry[1] for entry in ran] == [80]


def test_a_daemon_that_is_gone_refuses_every_tool(daemon: world.FakeDaemon) -> None:
    tools = GovernedToolSet([refund_order], refusals="message", client=daemon.client())
    daemon.stop()
    (message,) = through_graph(tools, REFUND)
    assert message.status == "error" and "DAEMON_NOT_READY" in message.content
    assert ran == []


def test_the_policy_sees_what_the_tool_acts_on_after_conversion(daemon: world.FakeDaemon) -> None:
    tools = GovernedToolSet([refund_order], client=daemon.client())
    through_graph(tools, {"name": "refund_order", "args": {"order": "A-1", "amount": "80", "extra": "hidden"}})
    assert daemon.asked == [("refund_order", {"order": "A-1", "amount": 80, "currency": "USD"})]


def test_injected_arguments_reach_the_tool_and_not_the_policy(daemon: world.FakeDaemon) -> None:
    @tool
    def note(
        text: str,
        call_id: Annotated[str, InjectedToolCallId],
        state: Annotated[dict[str, Any], InjectedState],
    ) -> str:
        """Notes."""
        ran.append((call_id, len(state["messages"])))
        return text

    through_graph(GovernedToolSet([note], client=daemon.client()), {"name": "note", "args": {"text": "x"}})
    assert daemon.asked == [("note", {"text": "x"})]
    assert ran == [("c0", 2)]


def test_models_in_a_schema_are_seen_as_mappings(daemon: world.FakeDaemon) -> None:
    @tool
    def order(lines: list[Line]) -> str:
        """Orders."""
        return str(len(lines))

    through_graph(
        GovernedToolSet([order], client=daemon.client()),
        {"name": "order", "args": {"lines": [{"sku": "s", "count": 2}]}},
    )
    assert daemon.asked == [("order", {"lines": [{"sku": "s", "count": 2}]})]


def test_an_async_tool_is_asked_for_once(daemon: world.FakeDaemon) -> None:
    async def act(n: int) -> str:
        """Acts."""
        return str(current_receipt().leaf_index + n)

    asynchronous = StructuredTool.from_function(coroutine=act, name="act", description="Acts.")
    (governed,) = GovernedToolSet([asynchronous], client=daemon.client())
    assert asyncio.run(governed.ainvoke({"n": 1})) == "8"
    assert daemon.asked == [("act", {"n": 1})]


@pytest.mark.parametrize("invoke", [lambda t, a: t.invoke(a), lambda t, a: asyncio.run(t.ainvoke(a))])
def test_a_tool_class_of_any_kind_is_asked_for_once(daemon: world.FakeDaemon, invoke: Any) -> None:
    class Plain(BaseTool):
        name: str = "plain"
        description: str = "Plain."

        def _run(self, n: int, run_manager: Any = None) -> int:
            ran.append(run_manager is not None)
            return n + 1

    class Both(Plain):
        name: str = "both"

        async def _arun(self, n: int, run_manager: Any = None) -> int:
            return self._run(n=n, run_manager=run_manager)

    for governed in GovernedToolSet([Plain(), Both(), refund_order], client=daemon.client()):
        arguments = {"order": "A-1", "amount": 1} if governed.name == "refund_order" else {"n": 1}
        daemon.asked.clear()
        invoke(governed, arguments)
        assert len(daemon.asked) == 1, governed.name
    assert ran[:2] == [True, True]


def test_a_tools_own_errors_are_treated_as_it_treats_them(daemon: world.FakeDaemon) -> None:
    def fail() -> str:
        """Fails."""
        raise ToolException("own error")

    for own, expected in [(True, "own error"), ("fixed", "fixed"), (lambda e: f"<{e}>", "<own error>")]:
        plain = StructuredTool.from_function(fail, handle_tool_error=own)
        (governed,) = GovernedToolSet([plain], refusals="message", client=daemon.client())
        assert governed.invoke({}) == expected
    (governed,) = GovernedToolSet([StructuredTool.from_function(fail)], refusals="message", client=daemon.client())
    with pytest.raises(ToolException, match="own error"):
        governed.invoke({})


def test_the_tool_that_was_wrapped_is_unchanged_and_its_face_is_kept(daemon: world.FakeDaemon) -> None:
    (governed,) = GovernedToolSet([refund_order], client=daemon.client())
    assert type(refund_order) is StructuredTool and type(governed) is not StructuredTool
    assert (governed.name, governed.description, governed.args) == (
        refund_order.name,
        refund_order.description,
        refund_order.args,
    )
    assert isinstance(governed, StructuredTool)


def test_a_mapping_that_names_no_tool_is_an_error(daemon: world.FakeDaemon) -> None:
    with pytest.raises(ValueError, match="refund_ordr"):
        GovernedToolSet([refund_order], names={"refund_ordr": "orders/refund"})
    with pytest.raises(ValueError, match="one name"):
        GovernedToolSet([refund_order, refund_order])
    with pytest.raises(ValueError, match="already"):
        GovernedToolSet(GovernedToolSet([refund_order]))
