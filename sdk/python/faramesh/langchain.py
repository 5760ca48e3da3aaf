"""Tools of LangChain and LangGraph that ask before they run. Needs the extra `langchain`.

A governed tool is the tool that it was made from, of a class that differs in one step: between the parsing of the
model's arguments and the tool's own code stands the question. So the policy decides the values that the tool acts on
(after defaults and conversions of its schema, without arguments that the framework injects), and schemas, names,
injected state and streaming are untouched.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Optional, Union, overload

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from faramesh.canonical import InvalidArguments, canonical_text
from faramesh.client import Client, default_client
from faramesh.errors import ToolDeniedException
from faramesh.governed import act, act_async

__all__ = ["GovernedToolSet"]

Refusals = Literal["raise", "message"]


class GovernedToolSet(Sequence[BaseTool]):
    """Tools, each governed: give it wherever a list of tools is taken (`ToolNode`, `create_agent`, `bind_tools`).

    `names` maps a tool's name to the name that the policy knows, such as `{"refund_order": "orders/refund"}`; a tool
    that it leaves out keeps its own. Plain functions become tools by their docstring.

    `refusals` says what a refused call does. `"raise"`: ToolDeniedException or ToolDeferred leaves the tool, and
    LangGraph's `ToolNode` passes it on. `"message"`: the model is told the refusal, as a ToolMessage with the status
    `error`, and the agent goes on. The tool does not run in either case.
    """

    def __init__(
        self,
        tools: Iterable[Union[BaseTool, Callable[..., Any]]],
        agent_id: Optional[str] = None,
        *,
        names: Optional[Mapping[str, str]] = None,
        refusals: Refusals = "raise",
        client: Optional[Client] = None,
    ) -> None:
        if refusals not in ("raise", "message"):
            raise ValueError(f"refusals is `raise` or `message`, not `{refusals}`")
        if agent_id is not None and client is not None:
            raise ValueError("give agent_id or a client of that agent, not both")
        if agent_id is not None:
            client = Client(agent_id=agent_id)
        plain = [tool if isinstance(tool, BaseTool) else StructuredTool.from_function(tool) for tool in tools]
        names = dict(names or {})
        _check_names(plain, names)
        self._tools = [_govern(tool, names.get(tool.name, tool.name), client, refusals) for tool in plain]

    @overload
    def __getitem__(self, index: int) -> BaseTool: ...
    @overload
    def __getitem__(self, index: slice) -> list[BaseTool]: ...
    def __getitem__(self, index: Union[int, slice]) -> Union[BaseTool, list[BaseTool]]:
        return self._tools[index]

    def __len__(self) -> int:
        return len(self._tools)

    def __iter__(self) -> Iterator[BaseTool]:
        return iter(self._tools)


def _check_names(tools: list[BaseTool], names: Mapping[str, str]) -> None:
    own = [tool.name for tool in tools]
    if len(set(own)) != len(own):
        raise ValueError("two tools have one name")
    unknown = sorted(set(names) - set(own))
    if unknown:
        raise ValueError(f"names: no tool is called {', '.join(unknown)}")
    if any(getattr(type(tool), "faramesh_tool", None) is not None for tool in tools):
        raise ValueError("a tool is governed already")


class _Refused(ToolException):
    """A refusal on its way through LangChain to the model."""


#: The tool and canonical arguments whose permit the running code acts under: an `_arun` that ends in the same tool's
#: `_run` is one call and one question.
_under: contextvars.ContextVar[Optional[tuple[int, str]]] = contextvars.ContextVar("faramesh_under", default=None)


def _govern(tool: BaseTool, name: str, client: Optional[Client], refusals: Refusals) -> BaseTool:
    plain = type(tool)

    def refuse(refused: ToolDeniedException) -> Exception:
        return _Refused(str(refused)) if refusals == "message" else refused

    @functools.wraps(plain._run)
    def _run(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        arguments = _arguments(self, args, kwargs)
        if _under.get() == _key(self, arguments):
            return plain._run(self, *args, **kwargs)
        asked = client or default_client()
        try:
            permit = asked.govern(name, arguments)
        except ToolDeniedException as refused:
            raise refuse(refused) from refused.__cause__
        token = _under.set(_key(self, arguments))
        try:
            return act(asked, permit, lambda: plain._run(self, *args, **kwargs))
        finally:
            _under.reset(token)

    @functools.wraps(plain._arun)
    async def _arun(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        arguments = _arguments(self, args, kwargs)
        asked = client or default_client()
        try:
            permit = await asked.govern_async(name, arguments)
        except ToolDeniedException as refused:
            raise refuse(refused) from refused.__cause__
        token = _under.set(_key(self, arguments))
        try:
            return await act_async(asked, permit, lambda: plain._arun(self, *args, **kwargs))
        finally:
            _under.reset(token)

    members = {"__module__": plain.__module__, "__doc__": plain.__doc__, "_run": _run}
    if plain._arun is not BaseTool._arun:  # the default `_arun` ends in `_run`, which asks
        members["_arun"] = _arun
    governed = tool.model_copy()
    kind = type(plain.__name__, (plain,), members)
    type.__setattr__(kind, "faramesh_tool", name)  # not a member: pydantic would take it for a field
    object.__setattr__(governed, "__class__", kind)
    if refusals == "message":
        governed.handle_tool_error = _handler(tool.handle_tool_error)
    return governed


def _handler(own: Any) -> Callable[[ToolException], Any]:
    """Tells the model a refusal; treats the tool's own errors as the tool did."""

    def handle(error: ToolException) -> Any:
        if isinstance(error, _Refused):
            return str(error)
        if not own:
            raise error
        if own is True:
            return str(error.args[0]) if error.args else "Tool execution error"
        return own if isinstance(own, str) else own(error)

    return handle


def _arguments(tool: BaseTool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What the policy sees: the tool's own arguments, by name."""
    frame = {"config", "run_manager", "callbacks"}
    seen = tool._filter_injected_args({key: value for key, value in kwargs.items() if key not in frame})
    if args:
        names = [name for name in tool.args if name not in seen]
        if len(names) < len(args):
            raise ToolDeniedException(
                "the tool was given more positional arguments than it has names for",
                code="CALL_INVALID",
                tool=tool.name,
            )
        seen = {**dict(zip(names, args)), **seen}
    return {key: _plain(value) for key, value in seen.items()}


def _plain(value: Any) -> Any:
    """Models of a tool's schema as the mappings that they stand for."""
    if hasattr(value, "model_dump"):
        return {key: _plain(item) for key, item in value.model_dump().items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _key(tool: BaseTool, arguments: dict[str, Any]) -> tuple[int, str]:
    try:
        return (id(tool), canonical_text(arguments))
    except InvalidArguments:
        return (0, "")
