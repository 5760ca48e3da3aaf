"""Receipts: each demand has a test that breaks it and nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
import world
from faramesh import NotVerified, Origin, ReplayMemory, VerifiedCall, verify_receipt
from faramesh._wire.agent_pb2 import Receipt
from faramesh.notes import Checkpoint, leaf_hash, verify_inclusion

TOOL = "orders/refund"
ARGUMENTS = {"order": "A-1", "amount": 80}
BODY = b'{ "amount": 8.0e1, "order": "\\u0041-1" }'


def verify(log: world.Log, receipt: Any, **changes: Any) -> VerifiedCall:
    options: dict[str, Any] = {"origin": log.origin, "tool": TOOL, "arguments": BODY, "seen": memory()}
    return verify_receipt(receipt, **{**options, **changes})


def memory(**options: Any) -> ReplayMemory:
    return ReplayMemory(**{"started_wall_ms": 0, **options})


def refusal(log: world.Log, receipt: Any, **changes: Any) -> str:
    with pytest.raises(NotVerified) as caught:
        verify(log, receipt, **changes)
    return str(caught.value)


def test_a_receipt_holds_for_the_call_that_it_was_given_for(log: world.Log) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS, after=3)
    call = verify(log, receipt)
    assert (call.stack, call.agent, call.tool, call.seq, call.enforced) == ("support-bot", "bot", TOOL, 5, True)
    assert call.arguments == {"amount": 80, "order": "A-1"} and type(call.arguments["amount"]) is int
    assert call.leaf == leaf_hash(receipt.record)


def test_a_receipt_is_taken_as_header_as_bytes_and_as_message(log: world.Log) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS)
    for form in (receipt, receipt.SerializeToString(), world.header(receipt)):
        assert verify(log, form).seq == 5


def test_every_leaf_of_every_small_tree_verifies_and_no_other_place_does() -> None:
    for size in range(1, 34):
        leaves = [b"%d" % n for n in range(size)]
        checkpoint = Checkpoint(size, world._root(leaves))
        for index, leaf in enumerate(leaves):
            path = world._path(index, leaves)
            verify_inclusion(leaf_hash(leaf), index, path, checkpoint)
            for wrong_index in {(index + 1) % size, size, size + 7} - {index}:
                with pytest.raises(NotVerified):
                    verify_inclusion(leaf_hash(leaf), wrong_index, path, checkpoint)
            for wrong_path in (path[:-1], [*path, b"\x00" * 32], [p[::-1] for p in path]):
                if wrong_path != path:
                    with pytest.raises(NotVerified):
                        verify_inclusion(leaf_hash(leaf), index, wrong_path, checkpoint)


@pytest.mark.parametrize("receipt", ["", "no base64!", "\u00e9", "AAAA", b"\xff\xff", "A" * 100_000, Receipt()])
def test_a_malformed_receipt_is_refused(log: world.Log, receipt: Any) -> None:
    refusal(log, receipt)


# -- the note


def test_a_forged_signature_is_refused(log: world.Log) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS)
    text, _, signature = receipt.checkpoint.rpartition(" ")
    raw = bytearray(base64.b64decode(signature))
    raw[40] ^= 1
    receipt.checkpoint = f"{text} {base64.b64encode(raw).decode()}\n"
    assert "not valid" in refusal(log, receipt)


def test_a_log_of_another_key_is_refused(log: world.Log) -> None:
    other = world.Log(seed=b"\x02" * 32)
    assert "not signed by the pinned origin" in refusal(log, other.receipt(TOOL, ARGUMENTS))


def test_another_key_under_the_origins_name_and_hash_is_refused(log: world.Log) -> None:
    other = world.Log(seed=b"\x02" * 32)
    other.name, other._hash = log.name, log._hash
    assert "not valid" in refusal(log, other.receipt(TOOL, ARGUMENTS))


def test_a_checkpoint_of_another_origin_is_refused_although_the_key_is_right(log: world.Log) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS)
    receipt.checkpoint = log.checkpoint(name="faramesh/other/00000000")
    assert "another origin" in refusal(log, receipt)


def test_a_note_of_the_same_key_that_is_no_checkpoint_is_refused(log: world.Log) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS)
    receipt.checkpoint = log.sign("faramesh artifact v1\nsupport-bot\nsha256:00\n")
    refusal(log, receipt)


@pytest.mark.parametrize("size", ["006", "-6", "6 ", "", "1" * 30, "\u0666"])
def test_a_size_that_is_no_plain_number_is_refused(log: world.Log, size: Any) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS)
    receipt.checkpoint = log.checkpoint(size=size)
    assert "not a number" in refusal(log, receipt)


def test_a_note_without_its_own_signature_line_is_refused(log: world.Log) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS)
    receipt.checkpoint = receipt.checkpoint.partition("\n\n")[0] + "\n\n"
    refusal(log, receipt)


def test_a_witness_beside_the_origin_does_no_harm_and_does_not_suffice(log: world.Log) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS)
    witness = _witness_line()
    receipt.checkpoint += witness
    assert verify(log, receipt).seq == 5
    receipt.checkpoint = receipt.checkpoint.partition("\n\n")[0] + "\n\n" + witness
    assert "not signed" in refusal(log, receipt)


def _witness_line() -> str:
    return "\u2014 witness.example " + base64.b64encode(bytes(68)).decode() + "\n"


# -- the tree


def test_a_forged_record_is_refused(log: world.Log) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS)
    receipt.record = receipt.record.replace(b'"agent":"bot"', b'"agent":"cat"')
    assert "does not lead" in refusal(log, receipt)


def test_a_forged_path_is_refused(log: world.Log) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS, after=3)
    receipt.path[0] = bytes(32)
    assert "does not lead" in refusal(log, receipt)


def test_a_path_that_is_too_short_or_too_long_is_refused(log: world.Log) -> None:
    for change in (lambda path: path.pop(), lambda path: path.append(bytes(32))):
        receipt = log.receipt(TOOL, ARGUMENTS)
        change(receipt.path)
        assert "path is too" in refusal(log, receipt)


def test_a_node_of_the_tree_is_no_leaf(log: world.Log) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS, after=2)
    path = list(receipt.path)
    receipt.record = b"\x01" + path[0] + leaf_hash(receipt.record)
    del receipt.path[0]
    receipt.leaf_index //= 2
    refusal(log, receipt)


def test_a_root_that_another_checkpoint_signed_is_refused(log: world.Log) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS)
    log.fill(1)
    receipt.checkpoint = log.checkpoint()
    refusal(log, receipt)


# -- the verdict


@pytest.mark.parametrize(
    ("fields", "because"),
    [
        ({"effect": "deny"}, "no permit"),
        ({"effect": "defer"}, "no permit"),
        ({"effect": "deny", "would": "permit"}, "no permit"),
        ({"kind": "outcome"}, "no decision"),
        ({"door": "probe"}, "allows no act"),
        ({"door": "elsewhere"}, "allows no act"),
        ({"v": 2}, "layout"),
        ({"v": True}, "layout"),
        ({"seq": 4}, "place"),
        ({"stack": "other"}, "another stack"),
        ({"mode": "development"}, "development"),
        ({"mode": "unheard of"}, "development"),
        ({"attested": False}, "not attested"),
        ({"tool": "orders/read"}, "another tool"),
        ({"args": None}, "other arguments"),
    ],
)
def test_a_signed_record_that_says_something_else_is_refused(
    log: world.Log, fields: dict[str, Any], because: str
) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS)
    assert verify(log, receipt)
    assert because in refusal(log, log.receipt(arguments=ARGUMENTS, **{"tool": TOOL, **fields}))


def test_a_permit_of_shadow_mode_is_a_permit(log: world.Log) -> None:
    assert verify(log, log.receipt(TOOL, ARGUMENTS, would="deny")).seq == 5


def test_development_receipts_need_a_server_that_allows_them(log: world.Log) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS, mode="development", attested=False)
    assert verify(log, receipt, allow_development=True).enforced is False
    assert "development" in refusal(log, receipt)
    unheard = log.receipt(TOOL, ARGUMENTS, mode="unheard of")
    assert "mode is unknown" in refusal(log, unheard, allow_development=True)


def test_a_receipt_for_another_tool_of_the_server_is_refused(log: world.Log) -> None:
    assert "another tool" in refusal(log, log.receipt("orders/read", ARGUMENTS))


# -- the arguments


@pytest.mark.parametrize(
    "body",
    [
        b'{"amount":81,"order":"A-1"}',
        b'{"amount":80.0000000000000000000000001,"order":"A-1"}',
        b'{"amount":"80","order":"A-1"}',
        b'{"amount":80,"order":"A-1","x":null}',
        b'{"amount":80}',
        b"{}",
    ],
)
def test_other_arguments_than_those_decided_are_refused(log: world.Log, body: bytes) -> None:
    assert "other arguments" in refusal(log, log.receipt(TOOL, ARGUMENTS), arguments=body)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"amount":80,"amount":8000,"order":"A-1"}', b'{"a":NaN}', b"\xff"])
def test_arguments_that_two_readers_could_read_differently_are_refused(log: world.Log, body: bytes) -> None:
    refusal(log, log.receipt(TOOL, ARGUMENTS), arguments=body)


@pytest.mark.parametrize("salt", [b"", bytes(16), bytes(15), bytes(17)])
def test_another_salt_is_refused(log: world.Log, salt: bytes) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS)
    receipt.args_salt = salt
    assert ("other arguments" if len(salt) == 16 else "salt is malformed") in refusal(log, receipt)


def test_a_salt_cannot_be_moved_into_the_arguments(log: world.Log) -> None:
    # SHA-256(salt || text) would agree if the split were not fixed.
    receipt = log.receipt(TOOL, ARGUMENTS)
    receipt.args_salt = receipt.args_salt + b'{"amount":80,"or'
    refusal(log, receipt, arguments=b'der":"A-1"}')


# -- time and use


@pytest.mark.parametrize(("age_ms", "good"), [(60_000, True), (60_001, False), (-60_000, True), (-60_001, False)])
def test_a_receipt_is_good_for_a_minute(log: world.Log, age_ms: int, good: bool) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS, wall_ms=1_000_000)
    now: Callable[[], int] = lambda: 1_000_000 + age_ms
    if good:
        assert verify(log, receipt, now_wall_ms=now)
    else:
        assert "last minute" in refusal(log, receipt, now_wall_ms=now)


@pytest.mark.parametrize("wall_ms", [None, "1", True, 1.5])
def test_a_record_without_a_time_is_refused(log: world.Log, wall_ms: Any) -> None:
    refusal(log, log.receipt(TOOL, ARGUMENTS, wall_ms=wall_ms))


def test_a_replayed_receipt_is_refused(log: world.Log) -> None:
    receipt, seen = log.receipt(TOOL, ARGUMENTS), memory()
    verify(log, receipt, seen=seen)
    assert "used before" in refusal(log, receipt, seen=seen)
    again = Receipt.FromString(receipt.SerializeToString())
    log.fill(4)
    again.path[:] = world._path(5, log.leaves)
    again.checkpoint = log.checkpoint()
    assert "used before" in refusal(log, again, seen=seen), "another proof of the same decision is the same receipt"


def test_a_refused_receipt_is_not_used_up(log: world.Log) -> None:
    receipt, seen = log.receipt(TOOL, ARGUMENTS), memory()
    refusal(log, receipt, seen=seen, arguments=b"{}")
    verify(log, receipt, seen=seen)


def test_a_full_memory_refuses_and_recovers_by_forgetting_what_is_too_old(log: world.Log) -> None:
    seen = memory(capacity=2)
    first = log.receipt(TOOL, ARGUMENTS, wall_ms=1_000_000)
    for receipt in (first, log.receipt(TOOL, ARGUMENTS, wall_ms=1_000_000)):
        verify(log, receipt, seen=seen, now_wall_ms=lambda: 1_000_000)
    third = log.receipt(TOOL, ARGUMENTS, wall_ms=1_000_001)
    assert "too many" in refusal(log, third, seen=seen, now_wall_ms=lambda: 1_000_001)
    later = log.receipt(TOOL, ARGUMENTS, wall_ms=1_700_000)
    verify(log, later, seen=seen, now_wall_ms=lambda: 1_700_000)
    # What was forgotten stays refused, even where the server's clock steps back.
    assert "memory begins" in refusal(log, first, seen=seen, now_wall_ms=lambda: 1_000_000)


def test_a_restarted_server_does_not_take_receipts_that_it_may_have_taken(log: world.Log) -> None:
    receipt = log.receipt(TOOL, ARGUMENTS, wall_ms=1_000_000)
    restarted = memory(started_wall_ms=1_000_001)
    assert "memory begins" in refusal(log, receipt, seen=restarted, now_wall_ms=lambda: 1_000_500)


# -- the pin


def test_a_key_line_round_trips_and_a_changed_one_is_refused(log: world.Log) -> None:
    assert Origin.parse(log.vkey + "\n") == log.origin
    name, hash_hex, key = log.vkey.split("+", 2)
    flipped = key[:-3] + ("A" if key[-3] != "A" else "B") + key[-2:]
    other_type = base64.b64encode(b"\x02" + log.origin.key).decode()
    for line in ("", name, f"{name}+{hash_hex}", f"{name}x+{hash_hex}+{key}", f"{name}+00000000+{key}",
                 f"{name}+{hash_hex}+{flipped}", f"{name}+{hash_hex}+{other_type}", f"{name}+{hash_hex}+!"):  # fmt: skip
        with pytest.raises(ValueError):
            Origin.parse(line)


def test_a_record_of_ours_is_read_strictly(log: world.Log) -> None:
    for data in (b'{"v":1,"v":1}', b"[]", b"{", b'{"v":1.0}', b'{"v":NaN}', b"\xff", b"[" * 100_000):
        log.leaves.append(data)
        index = len(log.leaves) - 1
        receipt = Receipt(
            record=data, leaf_index=index, path=world._path(index, log.leaves), checkpoint=log.checkpoint()
        )
        assert "malformed" in refusal(log, receipt) or json.loads(data)
