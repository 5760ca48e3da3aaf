#!/usr/bin/env python3
"""Verifies a Faramesh journal: an implementation of docs/journal-format.md that shares nothing with Faramesh.

    verify_journal.py --key LOG.PUB [--trusted NOTE] [--witness FILE [--quorum K]] DIRECTORY
    verify_journal.py DIRECTORY                      without a key: structure only, exit 2

Exit: 0 holds, 1 broken, 2 cannot tell. Only the standard library is needed; Ed25519 is below, slow and plain.
"""

import argparse
import base64
import binascii
import hashlib
import json
import pathlib
import re
import struct
import sys

# --- Ed25519 (RFC 8032), verification only -----------------------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def point_add(a, b):
    """Extended coordinates (X, Y, Z, T), RFC 8032 section 5.1.4."""
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    c = 2 * a[3] * b[3] * D % P
    d = 2 * a[2] * b[2] % P
    e, f, g, h = f - e, d - c, d + c, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_mul(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = point_add(result, point)
        point = point_add(point, point)
        scalar >>= 1
    return result


def point_equal(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point_decode(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if x2 == 0:
        return None if sign else (0, y, 1, 0)
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * SQRT_M1 % P
    if (x * x - x2) % P:
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = point_decode(BASE_Y.to_bytes(32, "little"))


def small_order(point):
    return point_equal(point_mul(8, point), (0, 1, 1, 0))


def ed25519_verify(key, message, signature):
    """Strict: canonical points of large order, S below the group's order, no cofactor."""
    a, r = point_decode(key), point_decode(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L or small_order(a) or small_order(r):
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    return point_equal(point_mul(s, BASE), point_add(r, point_mul(h, a)))


# --- CRC-32C -----------------------------------------------------------------------------------------------------------


def crc_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ 0x82F63B78 if n & 1 else n >> 1
        table.append(n)
    return table


CRC_TABLE = crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


# --- Frames (sections 1 and 2) -----------------------------------------------------------------------------------------

MAGIC = b"FMJ1"
PAYLOAD_MAX = 4 * 1024 * 1024


class Bad(Exception):
    """What is wrong."""


def frame_at(data, at):
    """(kind, payload, next offset), None at the end of the data, or Bad."""
    if not data[at:].strip(b"\0"):
        return None
    if data[at : at + 4] != MAGIC:
        raise Bad("zeros are followed by data" if data[at] == 0 else "no frame begins here")
    if len(data) - at < 13:
        raise Bad("half a frame header")
    kind, length, crc = struct.unpack(">BII", data[at + 4 : at + 13])
    payload = data[at + 13 : at + 13 + length]
    if length > PAYLOAD_MAX or len(payload) != length:
        raise Bad("the frame's length is impossible")
    if crc32c(data[at + 4 : at + 9] + payload) != crc:
        raise Bad("the frame's checksum does not match")
    if kind not in (1, 2):
        raise Bad("the frame's kind is unknown")
    if kind == 1:
        split_record(payload)
    return kind, payload, at + 13 + length


def next_frame(data, at):
    """After damage: the next place at which a whole frame stands, or None."""
    while (at := data.find(MAGIC, at + 1)) >= 0:
        try:
            frame_at(data, at)
            return at
        except Bad:
            pass
    return None


def split_record(payload):
    """record, salt of the arguments, salt of the detail, detail"""
    if len(payload) < 36:
        raise Bad("the frame's payload is malformed")
    end = 4 + struct.unpack(">I", payload[:4])[0]
    if end + 32 > len(payload):
        raise Bad("the frame's payload is malformed")
    return payload[4:end], payload[end : end + 16], payload[end + 16 : end + 32], payload[end + 32 :]


# --- Records (section 3) -----------------------------------------------------------------------------------------------

INTEGER_MAX = 2**53 - 1
HEADER = {"v", "seq", "prev", "stack", "mode", "wall_ms", "boot_ms", "kind"}


def is_int(value, low=0, high=INTEGER_MAX):
    return type(value) is int and low <= value <= high


def is_u32(value):
    return is_int(value, 0, 2**32 - 1)


def is_str(value):
    return isinstance(value, str)


def is_bool(value):
    return isinstance(value, bool)


def is_hash(value):
    return is_str(value) and re.fullmatch("[0-9a-f]{64}", value) is not None


def is_digest(value):
    return is_str(value) and value.startswith("sha256:") and is_hash(value[7:])


def is_step(value):
    return is_int(value, -INTEGER_MAX)


def or_null(check):
    return lambda value: value is None or check(value)


def one_of(*words):
    return lambda value: value in words and is_str(value)


def array(check):
    return lambda value: isinstance(value, list) and all(check(item) for item in value)


def non_empty(check):
    return lambda value: array(check)(value) and len(value) > 0


def shape(**checks):
    return lambda value: (
        isinstance(value, dict) and value.keys() == checks.keys() and all(checks[k](v) for k, v in value.items())
    )


CODES = (
    "POLICY_DENY POLICY_DEFER INDETERMINATE CALL_INVALID IDENTITY_UNVERIFIED ENFORCEMENT_MISSING PATH_DENIED "
    "DAEMON_NOT_READY JOURNAL_UNAVAILABLE OVERLOADED INTERNAL"
).split()
EFFECTS = ("permit", "defer", "deny")

KINDS = {
    "start": dict(
        version=is_str, boot_id=is_str, uid=is_u32, pid=is_u32, cut_bytes=is_int, warnings=array(is_str)
    ),
    "stop": dict(reason=is_str),
    "activation": dict(
        number=is_int, policy=is_digest, manifest=is_digest, policy_mode=is_str, windows=non_empty(is_str)
    ),
    "decision": dict(
        session=or_null(is_str),
        agent=is_str,
        attested=is_bool,
        uid=is_u32,
        door=one_of("govern", "probe"),
        tool=is_str,
        effect=one_of(*EFFECTS),
        would=or_null(one_of(*EFFECTS)),
        code=or_null(one_of(*CODES)),
        policy=is_digest,
        args=is_hash,
        detail=is_hash,
    ),
    "outcome": dict(session=or_null(is_str), of=is_int, status=is_str, result=or_null(is_hash), text=is_str),
    "session_start": dict(
        session=is_str,
        agent=is_str,
        uid=is_u32,
        pid=is_u32,
        start_ticks=is_int,
        boot_id=is_str,
        workspace=is_str,
        cgroup=is_str,
        command=array(is_str),
        stripped_env=array(is_str),
        probes=array(shape(enforced=is_bool, layer=is_str, measured=is_str)),
    ),
    "session_end": dict(session=is_str, reason=is_str, calls=is_int),
    "dropped": dict(counts=array(shape(code=is_str, count=is_int, session=is_str))),
    "clock_step": dict(step_ms=is_step),
    "heartbeat": dict(),
    "epoch": dict(number=is_int, key=is_str),
    "snapshot": dict(size=is_int, digest=is_digest),
    "removal": {
        "from": is_int, "to": is_int, "number": or_null(is_int), "policy": or_null(is_digest), "reason": is_str
    },
    "erasure": dict(spans=array(shape(first=is_int, last=is_int)), uid=is_u32, reason=is_str),
    "attestation": dict(size=is_int, root=is_hash, witnesses=array(is_str), note=is_str),
    "gap": dict(confirmed=is_int, root=is_hash, kept=is_int, uid=is_u32, reason=is_str),
}

# Keys that are left out where there is nothing to say.
OPTIONAL = {"activation": {"windows"}}


def is_rising(spans):
    ends = [end for span in spans for end in (span["first"], span["last"])]
    return ends == sorted(ends) and all(a["last"] < b["first"] for a, b in zip(spans, spans[1:]))


HEADER_CHECKS = dict(
    v=one_of, seq=is_int, prev=is_hash, stack=is_str, mode=one_of("enforced", "development"), wall_ms=is_int, boot_ms=is_int
)
HEADER_CHECKS["v"] = lambda value: is_int(value) and value == 1


def canonical(value):
    """RFC 8785 for what records are made of. Keys here are ASCII, so the order of bytes is the order of UTF-16."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def no_duplicates(pairs):
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        raise Bad("a key comes twice")
    return dict(pairs)


def not_a_number(text):
    raise Bad(f"a number that is no integer: {text}")


def parse_canonical(data):
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=no_duplicates, parse_float=not_a_number, parse_constant=not_a_number
        )
        again = canonical(value)
    except (ValueError, RecursionError) as error:
        raise Bad(f"not JSON: {error}") from error
    if again != data:
        raise Bad("not in canonical form")
    return value


def parse_record(data):
    if len(data) > 262144:
        raise Bad("the record is too long")
    record = parse_canonical(data)
    if not isinstance(record, dict) or not is_str(record.get("kind")) or record["kind"] not in KINDS:
        raise Bad("not a record of a known kind")
    checks = {**HEADER_CHECKS, **KINDS[record["kind"]], "kind": is_str}
    left_out = checks.keys() - record.keys()
    if record.keys() - checks.keys() or left_out - OPTIONAL.get(record["kind"], set()):
        raise Bad(f"keys of a {record['kind']}: {sorted(record.keys() ^ checks.keys())}")
    for key, check in checks.items():
        if key in record and not check(record[key]):
            raise Bad(f"`{key}` of a {record['kind']} is {record[key]!r}")
    if record["kind"] == "erasure" and not is_rising(record["spans"]):
        raise Bad("spans that do not rise")
    return record


# --- The tree (section 4) ----------------------------------------------------------------------------------------------


def leaf_hash(record):
    return hashlib.sha256(b"\0" + record).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


class Tree:
    """The roots of the full subtrees, the largest first, with the number of their leaves."""

    def __init__(self):
        self.size, self.parts = 0, []

    def push(self, leaf):
        self.size += 1
        count = 1
        while self.parts and self.parts[-1][0] == count:
            leaf = node_hash(self.parts.pop()[1], leaf)
            count *= 2
        self.parts.append((count, leaf))

    def root(self):
        if not self.parts:
            return hashlib.sha256().digest()
        root = self.parts[-1][1]
        for _, left in reversed(self.parts[:-1]):
            root = node_hash(left, root)
        return root


# --- Notes (section 5) -------------------------------------------------------------------------------------------------


def unbase64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Bad(f"not base64: {error}") from error
    if base64.b64encode(data).decode() != text:
        raise Bad("not canonical base64")
    return data


class Key:
    """A public key line. The algorithm is 1 for a log's key and 4 for a witness's."""

    def __init__(self, line, algorithm=1):
        self.name, key_id, encoded = line.strip("\n").split("+", 2)
        data = unbase64(encoded)
        if data[:1] != bytes([algorithm]) or len(data) != 33:
            raise Bad("not an Ed25519 public key line")
        self.bytes = data[1:]
        self.id = hashlib.sha256(self.name.encode() + b"\n" + data).digest()[:4]
        if self.id.hex() != key_id:
            raise Bad("the key's id is not that of its name and bytes")

    @property
    def stack(self):
        return self.name.split("/")[1]

    def signed(self, text, signatures):
        """Whether there is a line of this key; one that does not hold is bad."""
        found = False
        for name, blob in signatures:
            if name == self.name and blob[:4] == self.id:
                if len(blob) != 68 or not ed25519_verify(self.bytes, text.encode(), blob[4:]):
                    raise Bad(f"the signature of {self.name} does not match")
                found = True
        return found

    def cosigned(self, text, signatures):
        """The same for a witness: 8 bytes of time stand before the signature and are signed too."""
        found = False
        for name, blob in signatures:
            if name == self.name and blob[:4] == self.id:
                time = int.from_bytes(blob[4:12], "big")
                message = f"cosignature/v1\ntime {time}\n{text}".encode()
                if len(blob) != 76 or not ed25519_verify(self.bytes, message, blob[12:]):
                    raise Bad(f"the cosignature of {self.name} does not match")
                found = True
        return found


class Log:
    """log.pub: the origin's key, and the first epoch's where it is pinned too."""

    def __init__(self, text):
        lines = text.removesuffix("\n").split("\n")
        if len(lines) > 2:
            raise Bad("log.pub has two lines")
        self.origin = Key(lines[0])
        self.genesis = self.epoch_key(1, lines[1]) if len(lines) == 2 else None

    def epoch_key(self, number, line):
        key = Key(line)
        if key.name != f"{self.origin.name}/epoch-{number}":
            raise Bad("the name of an epoch's key is not that of its epoch")
        if key.bytes == self.origin.bytes:
            raise Bad("the epoch's key is the origin's")
        return key


def split_note(data):
    """The text, and the signatures as (name, bytes)."""
    if len(data) > 16384:
        raise Bad("the note is too long")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Bad("the note is not UTF-8") from error
    if re.search("[\0-\x09\x0b-\x1f\x7f-\x9f]", note) or not note.endswith("\n"):
        raise Bad("a control character in the note, or no newline at its end")
    text, found, signatures = note.rpartition("\n\n")
    if not found:
        raise Bad("no empty line in the note")
    lines = signatures.removesuffix("\n").split("\n")
    if len(lines) > 16:
        raise Bad("too many signatures")
    return text + "\n", [parse_signature(line) for line in lines]


def parse_signature(line):
    match = re.fullmatch("\u2014 ([^\\s+]+) (\\S+)", line)
    blob = unbase64(match[2]) if match else b""
    if len(blob) < 5:
        raise Bad("a malformed signature line")
    return match[1], blob


def parse_note(data, key):
    """(origin, size, root). Without a key the signatures are not checked."""
    text, signatures = split_note(data)
    if key and not key.signed(text, signatures):
        raise Bad("not signed by the pinned key")
    match = re.fullmatch("(\\S+)\n(0|[1-9][0-9]{0,18})\n(\\S+)\n", text)
    if match is None:
        raise Bad("not a checkpoint")
    root = unbase64(match[3])
    if len(root) != 32:
        raise Bad("a root has 32 bytes")
    if key and match[1] != key.name:
        raise Bad("the origin is not the key's name")
    return match[1], int(match[2]), root


# --- The whole (section 7) ---------------------------------------------------------------------------------------------


def hashes_of(directory, first):
    """The leaf hashes of the first records, from the full tiles of level 0, as far as they are there."""
    given = 0
    while given < first:
        groups, rest = [f"{given // 256 % 1000:03}"], given // 256 // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03}")
            rest //= 1000
        tile = directory.joinpath("tile", "0", *groups)
        data = tile.read_bytes() if tile.is_file() else b""
        if len(data) != 8192:
            return
        for at in range(0, 32 * min(256, first - given), 32):
            yield data[at : at + 32]
        given += 256


class Journal:
    def __init__(self, log, trusted=None, witnesses=(), quorum=1, directory=None):
        self.log, self.trusted, self.directory = log, trusted, directory
        self.witnesses, self.quorum, self.attested = witnesses, max(quorum, 1), 0
        self.key = log.origin if log else None
        self.broken, self.unsure, self.notices = [], [], []
        self.tree, self.prev, self.next = Tree(), bytes(32), 0
        self.gap, self.damage = False, []
        self.origin = self.key.name if log else None
        self.signed, self.extends = 0, None
        self.stack = self.key.stack if log else None
        self.running, self.policy, self.number, self.last = False, None, None, None
        self.heads, self.erased = {}, {}
        # The epoch's number and key, where the chain of them is known, and what the next note ends.
        self.epoch = (1, log.genesis) if log and log.genesis else None
        self.epoch_unknown, self.announced = False, None
        # Where the journal begins amid: the first record that is there, its policy and the next activation.
        self.missing, self.no_hashes, self.first_policy, self.first_number = None, False, None, None
        self.compare_trusted()

    def read(self, name, first, data):
        if not data.strip(b"\0"):
            return
        if first != self.next and self.last is None and self.next == 0 and not self.damage:
            self.begin_amid(first)
        elif first != self.next:
            self.broken.append(f"{name}: begins with record {first} where {self.next} should come")
            self.gap, self.next, self.prev = True, first, None
        at = 0
        while at is not None:
            where = f"{name}+{at}"
            try:
                frame = frame_at(data, at)
            except Bad as bad:
                self.damage.append(f"{where}: {bad}")
                self.gap, self.prev = True, None
                at = next_frame(data, at)
                continue
            if frame is None:
                return
            kind, payload, at = frame
            try:
                (self.record if kind == 1 else self.note)(payload, where)
            except Bad as bad:
                self.broken.append(f"{where}: {bad}")

    def begin_amid(self, first):
        for leaf in hashes_of(self.directory, first) if self.directory else ():
            self.tree.push(leaf)
            self.prev = leaf
            self.compare_trusted()
        self.missing, self.next, self.running = first, first, True
        self.epoch, self.epoch_unknown = None, self.epoch is not None
        if self.tree.size != first:
            self.gap, self.prev, self.no_hashes = True, None, True

    def record(self, payload, where):
        data, args_salt, detail_salt, detail = split_record(payload)
        leaf, prev, expected = leaf_hash(data), self.prev, self.next
        self.tree.push(leaf)
        self.prev, self.next = leaf, expected + 1
        self.compare_trusted()
        record = parse_record(data)
        self.next = record["seq"] + 1
        if record["seq"] != expected:
            self.gap = True
            if prev is not None:
                raise Bad(f"record {record['seq']} where {expected} should come")
        if prev is not None and record["prev"] != prev.hex():
            raise Bad("the record does not name the one before it")
        self.stack = self.stack or record["stack"]
        if record["stack"] != self.stack:
            raise Bad("the record is another stack's")
        self.commitments(record, args_salt, detail_salt, detail, where)
        self.story(record, where, prev is not None)

    def commitments(self, record, args_salt, detail_salt, detail, where):
        if record["kind"] != "decision":
            if any(args_salt + detail_salt) or detail:
                raise Bad("something lies beside a record that has no detail")
            return
        if not detail and not any(args_salt + detail_salt):
            self.erased[record["seq"]] = where
            return
        if hashlib.sha256(detail_salt + detail).hexdigest() != record["detail"]:
            raise Bad("the detail is not the one that was recorded")
        inside = parse_canonical(detail)
        if inside["redacted"] == []:
            if hashlib.sha256(args_salt + inside["args"].encode()).hexdigest() != record["args"]:
                raise Bad("the arguments are not those that were recorded")

    def story(self, record, where, known):
        kind, seq = record["kind"], record["seq"]
        if self.last and record["wall_ms"] + 5000 < self.last["wall_ms"]:
            self.notices.append(f"{where}: the wall clock ran back")
        self.last = record
        if kind == "start":
            self.running = True
        elif kind == "stop":
            self.running = False
        elif kind == "activation":
            rises = self.number is None or record["number"] > self.number
            self.number, self.policy = record["number"], record["policy"]
            if self.first_number is None:
                self.first_number = record["number"]
            if not rises:
                raise Bad("activation numbers do not rise")
        if kind in ("decision", "outcome", "session_start") and not self.running:
            self.running = True
            raise Bad(f"record {seq} was written while no daemon ran")
        if kind == "decision" and self.policy is None and self.missing is not None and self.first_policy is None:
            self.first_policy = record["policy"]
        if kind == "decision" and known and record["policy"] != (self.policy or self.first_policy):
            raise Bad(f"record {seq} was decided by a policy that was not in force")
        if kind == "outcome" and record["of"] >= seq:
            raise Bad(f"the outcome at {seq} is about a later record")
        if kind in ("epoch", "snapshot", "removal", "erasure", "attestation", "gap"):
            getattr(self, "read_" + kind)(record, seq, where)

    def read_epoch(self, record, _seq, _where):
        if not self.log or not self.log.genesis:
            return
        key = self.log.epoch_key(record["number"], record["key"])
        if self.epoch:
            if self.announced:
                raise Bad("a second epoch before the note of the first")
            if record["number"] != self.epoch[0] + 1 or key.bytes == self.epoch[1].bytes:
                raise Bad("the epoch is not the next, or its key is that of the one before")
        self.announced = (record["number"], key)

    def read_snapshot(self, record, seq, _where):
        if record["size"] > seq:
            raise Bad("a state of records that are yet to come")

    def read_removal(self, record, seq, _where):
        if not record["from"] <= record["to"] <= seq:
            raise Bad("records that are yet to come are removed")
        if self.missing is None or self.missing > record["to"]:
            return
        if self.no_hashes:
            self.unsure.append("the hashes of the removed records are missing: no root can be computed again")
        if self.missing == record["to"]:
            wrong = self.first_policy is not None and self.first_policy != record["policy"]
            if None not in (self.first_number, record["number"]):
                wrong = wrong or self.first_number <= record["number"]
            self.policy = self.policy or record["policy"]
            self.number = record["number"] if self.number is None else self.number
            self.missing = None
            if wrong:
                raise Bad("the policy of the first records is not the one that the removal names")
        self.missing = None

    def read_erasure(self, record, seq, _where):
        for span in record["spans"]:
            if span["last"] >= seq:
                raise Bad("records that are yet to come are erased")
            for erased in [number for number in self.erased if span["first"] <= number <= span["last"]]:
                del self.erased[erased]

    def read_gap(self, record, seq, where):
        if record["kept"] > seq:
            raise Bad("records that are yet to come are kept over a gap")
        self.notices.append(f"{where}: an operator gave up records {record['kept']} to {record['confirmed'] - 1}")

    def read_attestation(self, record, seq, where):
        size, root = record["size"], bytes.fromhex(record["root"])
        if size > seq:
            raise Bad("records that are yet to come are attested")
        held = self.heads.get(size)
        unknown = not self.heads or min(self.heads) > size
        if held != root and not unknown and not self.gap:
            raise Bad("what is attested is not a checkpoint of these records")
        if not self.witnesses or not self.key:
            return
        note = record["note"].encode()
        if parse_note(note, self.key)[1:] != (size, root):
            raise Bad("the attested checkpoint is not the one that the record names")
        text, signatures = split_note(note)
        count = sum(witness.cosigned(text, signatures) for witness in self.witnesses)
        if count >= self.quorum and held == root and not self.gap:
            self.attested = max(self.attested, size)
        else:
            self.notices.append(f"{where}: {count} of the pinned witnesses attest {size} records")

    def note(self, payload, _where):
        origin, size, root = parse_note(payload, self.key)
        self.by_epoch(payload)
        self.origin = self.origin or origin
        if origin != self.origin:
            raise Bad("a note of another log")
        self.broken += [f"{found}, and a valid note follows it" for found in self.damage]
        self.damage = []
        before, self.signed = self.signed, max(self.signed, size)
        if size != self.next:
            raise Bad(f"a note signs {size} records where {self.next} were read")
        if size <= before:
            raise Bad(f"a note of {size} records comes a second time")
        if not self.gap and root != self.tree.root():
            self.gap = True
            raise Bad(f"the first {size} records are not those that were signed")
        self.heads[size] = root

    def by_epoch(self, note):
        """The key of the epoch signed too; an epoch that a record announced begins behind this note."""
        if not self.log or not self.log.genesis:
            return
        text, signatures = split_note(note)
        if self.epoch_unknown and self.log.genesis.signed(text, signatures):
            self.epoch, self.epoch_unknown = (1, self.log.genesis), False
        if self.epoch and not self.epoch[1].signed(text, signatures):
            raise Bad(f"not signed by the key of epoch {self.epoch[0]}")
        if self.announced:
            self.epoch, self.announced, self.epoch_unknown = self.announced, None, False

    def compare_trusted(self):
        if self.trusted and self.trusted[1] == self.tree.size and not self.no_hashes:
            self.extends = not self.gap and self.trusted[2] == self.tree.root()

    def finish(self):
        if self.missing is not None:
            self.broken.append(f"begins with record {self.missing}, and no record says that those before were removed")
        for seq, where in self.erased.items():
            self.broken.append(f"{where}: the detail of {seq} is missing, and no record says that it was erased")
        self.unsure += [f"{found}, after the last note: torn, or damaged" for found in self.damage]
        if self.key is None:
            self.unsure.append("key not pinned: no signature could be checked")
        if self.next > self.signed:
            self.notices.append(f"{self.next - self.signed} records after the last note: nobody was answered on them")
        if self.trusted and (self.extends is None and not self.no_hashes or self.signed < self.trusted[1]):
            self.extends = False
        return 1 if self.broken or self.extends is False else 2 if self.unsure else 0


def main():
    parser = argparse.ArgumentParser(description="Verifies a Faramesh journal (docs/journal-format.md).")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--key", type=pathlib.Path, help="log.pub, pinned from elsewhere")
    parser.add_argument("--trusted", type=pathlib.Path, help="a note that was kept from an earlier verification")
    parser.add_argument("--witness", type=pathlib.Path, help="public keys of witnesses, one a line")
    parser.add_argument("--quorum", type=int, default=1, help="how many of them an attestation needs")
    options = parser.parse_args()
    try:
        log = Log(options.key.read_text()) if options.key else None
        trusted = parse_note(options.trusted.read_bytes(), log and log.origin) if options.trusted else None
        lines = options.witness.read_text().splitlines() if options.witness else []
        witnesses = [Key(line, 4) for line in lines if line and not line.startswith("#")]
    except (Bad, ValueError, IndexError) as error:
        print(f"cannot use what was given: {error}", file=sys.stderr)
        return 2
    journal = Journal(log, trusted, witnesses, options.quorum, options.directory)
    for path in sorted(options.directory.iterdir()):
        match = re.fullmatch("([0-9]{20})\\.seg", path.name)
        if match:
            journal.read(path.name, int(match[1]), path.read_bytes())
    code = journal.finish()
    for level in ("broken", "unsure", "notices"):
        for what in getattr(journal, level):
            print(f"{level}: {what}")
    if witnesses:
        print(f"attested: the first {journal.attested} records")
    print(f"{journal.next} records, {journal.signed} signed: {['holds', 'BROKEN', 'cannot tell'][code]}")
    return code


if __name__ == "__main__":
    sys.exit(main())
