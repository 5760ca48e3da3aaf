"""Faramesh for Python: ask before a tool call acts, and verify receipts where it arrives.

In reading order: `errors` (how a call is refused), `canonical` (arguments as one text), `client` (asks the daemon),
`governed` (a function that asks before it runs), `langchain` (tools that do), and for tool servers `notes`, `receipts`
and `middleware`. The last three need the extra `receipts`, `langchain` its own; importing `faramesh` needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faramesh.canonical import InvalidArguments, canonical_text
from faramesh.client import Client, Permit, default_client
from faramesh.errors import Resolution, Rule, ToolDeferred, ToolDeniedException
from faramesh.governed import RECEIPT_HEADER, current_arguments, current_receipt, governed, receipt_header

if TYPE_CHECKING:
    from faramesh.langchain import GovernedToolSet
    from faramesh.middleware import AsgiReceipts, WsgiReceipts
    from faramesh.receipts import NotVerified, Origin, ReplayMemory, VerifiedCall, verify_receipt

__all__ = [
    "RECEIPT_HEADER",
    "AsgiReceipts",
    "Client",
    "GovernedToolSet",
    "InvalidArguments",
    "NotVerified",
    "Origin",
    "Permit",
    "ReplayMemory",
    "Resolution",
    "Rule",
    "ToolDeferred",
    "ToolDeniedException",
    "VerifiedCall",
    "WsgiReceipts",
    "canonical_text",
    "current_arguments",
    "current_receipt",
    "default_client",
    "governed",
    "receipt_header",
    "verify_receipt",
]

#: Names that live behind an optional dependency, loaded at their first use.
_LATER = {
    "GovernedToolSet": "faramesh.langchain",
    "AsgiReceipts": "faramesh.middleware",
    "WsgiReceipts": "faramesh.middleware",
    "NotVerified": "faramesh.receipts",
    "Origin": "faramesh.receipts",
    "ReplayMemory": "faramesh.receipts",
    "VerifiedCall": "faramesh.receipts",
    "verify_receipt": "faramesh.receipts",
}


def __getattr__(name: str) -> Any:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module `faramesh` has no attribute `{name}`")
    import importlib

    return getattr(importlib.import_module(module), name)
