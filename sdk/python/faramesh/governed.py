"""`@governed`: a function that asks before it runs.

Invariants: the body runs only after a `Permit`, with the very arguments that were decided; its receipt is known to it
and to nothing after it; its outcome is reported once.
"""

from __future__ import annotations

import base64
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Optional, TypeVar

from faramesh._wire.agent_pb2 import Receipt
from faramesh.client import Client, Permit, default_client

__all__ = ["RECEIPT_HEADER", "current_arguments", "current_receipt", "governed", "receipt_header"]

#: The HTTP header that carries a receipt to a tool server.
RECEIPT_HEADER = "Faramesh-Receipt"

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")

_current: contextvars.ContextVar[Optional[Permit]] = contextvars.ContextVar("faramesh_permit", default=None)


def governed(
    tool: str, *, omit: tuple[str, ...] = (), client: Optional[Client] = None
) -> Callable[[_F], _F]:
    """Has Faramesh decide every call of the decorated function, plain or `async`.

    The policy sees the function's parameters by name, defaults included. `omit` names parameters that it cannot see,
    such as `self` or an open connection: nothing that the act depends on should be among them.

    The decorated function raises ToolDeferred or ToolDeniedException instead of running; arguments that have no exact
    JSON form (NaN, keys that are no strings, objects) are refused with the code CALL_INVALID.
    """

    def decorate(function: _F) -> _F:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"@governed({tool!r}): a generator acts after its call has returned: wrap what it does")
        signature = inspect.signature(function)
        unknown = [name for name in omit if name not in signature.parameters]
        if unknown:
            raise TypeError(f"@governed({tool!r}): no parameter is called {', '.join(unknown)}")

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            asked = client or default_client()
            permit = asked.govern(tool, _arguments(signature, omit, args, kwargs))
            return act(asked, permit, lambda: function(*args, **kwargs))

        @functools.wraps(function)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            asked = client or default_client()
            permit = await asked.govern_async(tool, _arguments(signature, omit, args, kwargs))
            return await act_async(asked, permit, lambda: function(*args, **kwargs))

        wrapped: Any = run_async if inspect.iscoroutinefunction(function) else run
        return wrapped  # type: ignore[no-any-return]

    return decorate


def current_receipt() -> Receipt:
    """The receipt of the permitted call that runs now.

    Known in the governed function and what it calls in the same thread or task, not in threads that it starts.

    Raises LookupError outside of one.
    """
    return _current_permit().receipt


def current_arguments() -> str:
    """The canonical JSON text of the arguments that were permitted to the call that runs now.

    Send it as the body to a tool server that verifies receipts: it is what the receipt commits to. See
    `current_receipt` for where it is known.
    """
    return _current_permit().arguments


def receipt_header() -> dict[str, str]:
    """The header by which a tool server can verify the permit of the call that runs now: see `current_receipt`."""
    return {RECEIPT_HEADER: base64.b64encode(current_receipt().SerializeToString()).decode("ascii")}


def _current_permit() -> Permit:
    permit = _current.get()
    if permit is None:
        raise LookupError("no governed call runs here, so there is no receipt")
    return permit


def act(client: Client, permit: Permit, body: Callable[[], _T]) -> _T:
    """Runs a permitted call with its receipt current, and reports once what became of it."""
    token = _current.set(permit)
    try:
        result = body()
    except BaseException as error:
        client.report_failure(permit, error)
        raise
    finally:
        _current.reset(token)
    client.report_success(permit, result)
    return result


async def act_async(client: Client, permit: Permit, body: Callable[[], Awaitable[_T]]) -> _T:
    """As `act`, for a body that is awaited."""
    token = _current.set(permit)
    try:
        result = await body()
    except BaseException as error:
        await client.report_failure_async(permit, error)
        raise
    finally:
        _current.reset(token)
    await client.report_success_async(permit, result)
    return result


def _arguments(
    signature: inspect.Signature, omit: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """What the policy sees: each parameter by its name, `**kwargs` beside them, `*args` as a list."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    seen: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        if name in omit:
            continue
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            _add_keywords(seen, value, bound.arguments)
        else:
            seen[name] = value
    return seen


def _add_keywords(seen: dict[str, Any], keywords: dict[str, Any], named: dict[str, Any]) -> None:
    for name, value in keywords.items():
        # Python allows a keyword that is spelled like `*args` or a positional-only parameter; the policy would see one.
        if name in named:
            raise TypeError(f"the keyword `{name}` hides a parameter of that name")
        seen[name] = value
