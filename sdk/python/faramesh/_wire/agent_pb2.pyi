from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Effect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EFFECT_UNSPECIFIED: _ClassVar[Effect]
    EFFECT_PERMIT: _ClassVar[Effect]
    EFFECT_DEFER: _ClassVar[Effect]
    EFFECT_DENY: _ClassVar[Effect]

class OutcomeStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_STATUS_UNSPECIFIED: _ClassVar[OutcomeStatus]
    OUTCOME_STATUS_SUCCEEDED: _ClassVar[OutcomeStatus]
    OUTCOME_STATUS_FAILED: _ClassVar[OutcomeStatus]
    OUTCOME_STATUS_UNKNOWN: _ClassVar[OutcomeStatus]
EFFECT_UNSPECIFIED: Effect
EFFECT_PERMIT: Effect
EFFECT_DEFER: Effect
EFFECT_DENY: Effect
OUTCOME_STATUS_UNSPECIFIED: OutcomeStatus
OUTCOME_STATUS_SUCCEEDED: OutcomeStatus
OUTCOME_STATUS_FAILED: OutcomeStatus
OUTCOME_STATUS_UNKNOWN: OutcomeStatus

class GovernRequest(_message.Message):
    __slots__ = ("agent", "tool", "arguments")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    agent: str
    tool: str
    arguments: bytes
    def __init__(self, agent: _Optional[str] = ..., tool: _Optional[str] = ..., arguments: _Optional[bytes] = ...) -> None: ...

class GovernReply(_message.Message):
    __slots__ = ("effect", "code", "message", "resolution", "receipt", "missing", "rule", "would")
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    WOULD_FIELD_NUMBER: _ClassVar[int]
    effect: Effect
    code: str
    message: str
    resolution: Resolution
    receipt: Receipt
    missing: _containers.RepeatedScalarFieldContainer[str]
    rule: RuleRef
    would: Effect
    def __init__(self, effect: _Optional[_Union[Effect, str]] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., resolution: _Optional[_Union[Resolution, _Mapping]] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ..., missing: _Optional[_Iterable[str]] = ..., rule: _Optional[_Union[RuleRef, _Mapping]] = ..., would: _Optional[_Union[Effect, str]] = ...) -> None: ...

class RuleRef(_message.Message):
    __slots__ = ("number", "text")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    number: int
    text: str
    def __init__(self, number: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class Resolution(_message.Message):
    __slots__ = ("rule_block", "manual_audit", "retry_after_seconds")
    RULE_BLOCK_FIELD_NUMBER: _ClassVar[int]
    MANUAL_AUDIT_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    rule_block: str
    manual_audit: bool
    retry_after_seconds: int
    def __init__(self, rule_block: _Optional[str] = ..., manual_audit: _Optional[bool] = ..., retry_after_seconds: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("record", "leaf_index", "path", "checkpoint", "args_salt")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    LEAF_INDEX_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    ARGS_SALT_FIELD_NUMBER: _ClassVar[int]
    record: bytes
    leaf_index: int
    path: _containers.RepeatedScalarFieldContainer[bytes]
    checkpoint: str
    args_salt: bytes
    def __init__(self, record: _Optional[bytes] = ..., leaf_index: _Optional[int] = ..., path: _Optional[_Iterable[bytes]] = ..., checkpoint: _Optional[str] = ..., args_salt: _Optional[bytes] = ...) -> None: ...

class OutcomeRequest(_message.Message):
    __slots__ = ("leaf_index", "status", "result_digest", "detail")
    LEAF_INDEX_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    leaf_index: int
    status: OutcomeStatus
    result_digest: bytes
    detail: str
    def __init__(self, leaf_index: _Optional[int] = ..., status: _Optional[_Union[OutcomeStatus, str]] = ..., result_digest: _Optional[bytes] = ..., detail: _Optional[str] = ...) -> None: ...

class OutcomeReply(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
