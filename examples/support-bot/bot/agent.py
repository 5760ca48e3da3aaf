"""A support agent on LangGraph, governed by Faramesh. Its model is a script, so it needs no network and no key.

    .faramesh/bin/agent -- venv/bin/python bot/agent.py

It lies in a directory of its own, because the agent may read what is in the stack, entry by entry, and not list the
stack itself: Python finds modules by listing.

With `--attacks FILE` it then turns on its keepers, as an agent does that was taken over: see attacks.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from faramesh import GovernedToolSet
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

import attacks
import tools

REQUEST = "My mug arrived broken. Refund it, and the espresso machine too, and then delete my account."

#: What the model decides to do, one step after the other. A real one would decide; the policy does not care who did.
SCRIPT: list[tuple[str, dict[str, Any]]] = [
    ("look_up_customer", {"email": "ada@example.com"}),
    ("refund_order", {"order": "A-1001", "amount": 80}),
    ("refund_order", {"order": "A-1002", "amount": 250}),
    ("send_email", {"to": "ada@example.com", "subject": "Your mug", "text": "We refunded $80."}),
    ("send_email", {"to": "ada@elsewhere.test", "subject": "Our customers", "text": "Here is the list."}),
    ("delete_account", {"email": "ada@example.com"}),
]


class ScriptedModel(BaseChatModel):
    """A chat model that follows SCRIPT: as many steps in as the conversation has answers of its own."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, _: Any, **__: Any) -> "ScriptedModel":
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        step = sum(isinstance(message, AIMessage) for message in messages)
        if step < len(SCRIPT):
            name, arguments = SCRIPT[step]
            call = {"name": name, "args": arguments, "id": f"call-{step}", "type": "tool_call"}
            message = AIMessage("", tool_calls=[call])
        else:
            message = AIMessage("The mug is refunded. The espresso machine waits for a colleague of mine.")
        return ChatResult(generations=[ChatGeneration(message=message)])


def converse() -> list[BaseMessage]:
    """The conversation: model, tools, model, tools, … until the model calls no tool."""
    governed = GovernedToolSet(tools.TOOLS, names=tools.NAMES, refusals="message")
    model = ScriptedModel().bind_tools(list(governed))
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode(list(governed)))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return list(graph.compile().invoke({"messages": [HumanMessage(REQUEST)]}, {"recursion_limit": 50})["messages"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attacks", metavar="FILE", help="JSON: what to attack after the conversation")
    parser.add_argument("--report", metavar="FILE", help="write what happened, one JSON object a line")
    parser.add_argument("--desk", metavar="SOCKET", help="where the refund desk listens")
    options = parser.parse_args()
    if options.desk:
        tools.desk_socket = options.desk
    events: list[dict[str, Any]] = []
    print(f"customer: {REQUEST}")
    calls: dict[str, tuple[str, dict[str, Any]]] = {}
    for message in converse():
        if isinstance(message, AIMessage):
            calls |= {call["id"]: (call["name"], call["args"]) for call in message.tool_calls}
            if message.content:
                print(f"agent:    {message.content}")
        elif isinstance(message, ToolMessage):
            events.append(told(*calls[message.tool_call_id], message))
    if options.attacks:
        with open(options.attacks, encoding="utf-8") as file:
            events += attacks.run(json.load(file))
    if options.report:
        with open(options.report, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)
    return 0


def told(name: str, arguments: dict[str, Any], message: ToolMessage) -> dict[str, Any]:
    """Prints what became of one tool call."""
    text = str(message.content)
    outcome = "PERMIT" if message.status == "success" else "DEFER" if "POLICY_DEFER" in text else "DENY"
    shown = ", ".join(f"{key}={value}" for key, value in arguments.items() if key not in ("subject", "text"))
    print(f"{outcome:6}  {tools.NAMES[name]}({shown})\n        {text}")
    sys.stdout.flush()
    return {"kind": "call", "tool": tools.NAMES[name], "arguments": arguments, "outcome": outcome, "text": text}


if __name__ == "__main__":
    sys.exit(main())
