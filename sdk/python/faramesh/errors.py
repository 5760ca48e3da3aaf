"""How a call is refused. Nothing here can be mistaken for a permit: every refusal is an exception.

Invariant: a caller that catches `ToolDeniedException` has caught every way in which a tool call does not happen,
deferrals and failures of the daemon included.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from faramesh._wire.agent_pb2 import Receipt

__all__ = ["Resolution", "Rule", "ToolDeferred", "ToolDeniedException"]


@dataclass(frozen=True)
class Resolution:
    """What the asker can do about a refusal.

    `kind` is `rule_block`, `manual_audit`, `retry_after` or, where the daemon named none, `none`.
    """

    kind: str
    #: With `rule_block`: the rule, or empty where the policy does not reveal it.
    rule_id: str = ""
    #: With `retry_after`: ask again after so many seconds.
    retry_after_seconds: int = 0


@dataclass(frozen=True)
class Rule:
    """The rule that decided, known only where the policy reveals it."""

    #: 1-based, in the agent's list of rules.
    number: int
    text: str


class ToolDeniedException(Exception):  # the published name
    """The tool call was refused and did not happen.

    `code` is one of docs/codes.md. `DAEMON_NOT_READY` and `INTERNAL` are also given by the SDK itself when no answer
    that can be trusted came back; `receipt` is None then.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        tool: str = "",
        resolution: Optional[Resolution] = None,
        missing: tuple[str, ...] = (),
        rule: Optional[Rule] = None,
        receipt: Optional["Receipt"] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.tool = tool
        #: The approval to wait for. Always None until approvals exist; kept because clients read it.
        self.approval_id: Optional[str] = None
        self.resolution = resolution if resolution is not None else Resolution("none")
        #: Names of the call's own `args.*` that were missing or of the wrong type.
        self.missing = missing
        self.rule = rule
        self.receipt = receipt

    def __str__(self) -> str:
        """One line for a person or a model: tool, code, reason, and what to do next."""
        parts = [f"{self.tool or 'tool call'}: {self.code}"]
        if self.message:
            parts.append(self.message)
        if self.missing:
            parts.append("missing or of the wrong type: " + ", ".join(self.missing))
        if self.rule is not None:
            parts.append(f"rule {self.rule.number}")
        if self.resolution.kind == "retry_after":
            parts.append(f"ask again in {self.resolution.retry_after_seconds} s")
        elif self.resolution.kind == "manual_audit":
            parts.append("a person has to look at it")
        return "; ".join(parts)


class ToolDeferred(ToolDeniedException):
    """The tool call waits for a person. It did not happen; for now nothing but a person's own act resolves it.

    A subclass of the denial, so that code which knows only `ToolDeniedException` never runs on.
    """
