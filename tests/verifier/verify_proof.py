#!/usr/bin/env python3
"""Verifies a proof bundle: an implementation of docs/journal-format.md, section 10, that shares nothing with Faramesh.

    verify_proof.py --key LOG.PUB FILE

Exit: 0 proven, 1 it proves nothing, 2 it cannot be read. Only the standard library and the verifier beside it are needed.
"""

import argparse
import hashlib
import pathlib
import re
import sys

from verify_journal import (
    Bad,
    ed25519_verify,
    leaf_hash,
    node_hash,
    parse_canonical,
    parse_record,
    split_record,
    unbase64,
)

INCLUSION = "c2sp.org/tlog-proof@v1"
GROWTH = "faramesh/growth-proof@v1"


def decimal(text):
    if not re.fullmatch("0|[1-9][0-9]{0,18}", text):
        raise Bad(f"not a number: {text!r}")
    return int(text)


class Origin:
    """The pinned key: the first line of a log.pub."""

    def __init__(self, text):
        self.name, key_id, encoded = text.split("\n")[0].split("+", 2)
        data = unbase64(encoded)
        if data[:1] != b"\1" or len(data) != 33:
            raise Bad("not an Ed25519 public key line")
        self.key = data[1:]
        self.id = hashlib.sha256(self.name.encode() + b"\n\1" + self.key).digest()[:4]
        if self.id.hex() != key_id:
            raise Bad("the key's id is not that of its name and bytes")
        self.stack = self.name.split("/")[1]

    def open(self, note):
        """(size, root) of a checkpoint that this key signed (section 5)."""
        if len(note.encode()) > 16384 or re.search("[\0-\x09\x0b-\x1f\x7f-\x9f]", note):
            raise Bad("the checkpoint is too long or holds a control character")
        text, found, signatures = note.rpartition("\n\n")
        if not found or not signatures.endswith("\n"):
            raise Bad("the checkpoint has no empty line, or no newline at its end")
        text += "\n"
        lines = signatures[:-1].split("\n")
        if len(lines) > 16:
            raise Bad("too many signatures")
        signed = False
        for line in lines:
            match = re.fullmatch("\u2014 ([^\\s+]+) (\\S+)", line)
            if match is None:
                raise Bad("a malformed signature line")
            blob = unbase64(match[2])
            if match[1] == self.name and blob[:4] == self.id:
                if len(blob) != 68 or not ed25519_verify(self.key, text.encode(), blob[4:]):
                    raise Bad("the signature does not match")
                signed = True
        if not signed:
            raise Bad("the checkpoint is not signed by the pinned key")
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise Bad("the checkpoint does not have three lines")
        if lines[0] != self.name:
            raise Bad("the checkpoint is another log's")
        root = unbase64(lines[2])
        if len(root) != 32:
            raise Bad("the root does not have 32 bytes")
        return decimal(lines[1]), root


def inclusion_root(leaf, index, size, path):
    """RFC 9162 section 2.1.3.2: the root that a path leads to."""
    if index >= size:
        raise Bad("the index is not below the checkpoint's size")
    own, last, value = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise Bad("the path is too long")
        if own & 1 or own == last:
            value = node_hash(sibling, value)
            while own and not own & 1:
                own, last = own >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        own, last = own >> 1, last >> 1
    if last:
        raise Bad("the path is too short")
    return value


def check_growth(old_size, old_root, new_size, new_root, proof):
    """RFC 9162 section 2.1.4.2: the newer tree begins with the kept one."""
    if old_size > new_size:
        raise Bad("the kept checkpoint is the larger one")
    if old_size in (0, new_size):
        if proof or old_root != (new_root if old_size == new_size else hashlib.sha256().digest()):
            raise Bad("the proof does not lead from the kept root to the newer one")
        return
    proof = list(proof)
    own, last = old_size - 1, new_size - 1
    while own & 1:
        own, last = own >> 1, last >> 1
    if own == 0:
        proof.insert(0, old_root)
    if not proof:
        raise Bad("the proof is too short")
    old = new = proof[0]
    for sibling in proof[1:]:
        if last == 0:
            raise Bad("the proof is too long")
        if own & 1 or own == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while own and not own & 1:
                own, last = own >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        own, last = own >> 1, last >> 1
    if last:
        raise Bad("the proof is too short")
    if old != old_root or new != new_root:
        raise Bad("the proof does not lead from the kept root to the newer one")


def commitment(salt, text):
    return hashlib.sha256(salt + text).hexdigest()


def check_beside(record, args_salt, detail_salt, detail):
    """What lies beside a record is what it commits to. Nothing beside it is fine: it was left out."""
    if not any(args_salt) and not any(detail_salt) and not detail:
        return "left out"
    if record["kind"] != "decision":
        raise Bad("something lies beside a record that commits to nothing")
    if commitment(detail_salt, detail) != record["detail"]:
        raise Bad("the detail is not the one that the record commits to")
    shown = parse_canonical(detail)
    if not shown["redacted"] and commitment(args_salt, shown["args"].encode()) != record["args"]:
        raise Bad("the arguments are not those that the record commits to")
    return "shown"


def word(line, name):
    if not line.startswith(name + " "):
        raise Bad(f"no `{name}` line in its place")
    return line[len(name) + 1 :]


def verify(text, origin):
    """What is proven, in words."""
    head, found, note = text.partition("\n\n")
    lines = head.split("\n")
    if not found or len(lines) < 2:
        raise Bad("not a proof bundle")
    hashes = [unbase64(line) for line in lines[3 if lines[0] == INCLUSION else 2 :]]
    if any(len(value) != 32 for value in hashes):
        raise Bad("a hash has 32 bytes")
    size, root = origin.open(note)
    if lines[0] == INCLUSION and len(lines) >= 3:
        data, *beside = split_record(unbase64(word(lines[1], "extra")))
        index = decimal(word(lines[2], "index"))
        if inclusion_root(leaf_hash(data), index, size, hashes) != root:
            raise Bad("the path does not lead to the signed root")
        record = parse_record(data)
        if record["seq"] != index or record["stack"] != origin.stack:
            raise Bad("the record is another number's or another stack's")
        return f"record {index} ({record['kind']}) is among the {size} of {origin.name}; detail {check_beside(record, *beside)}"
    if lines[0] == GROWTH:
        kept_size, kept_root = origin.open(unbase64(word(lines[1], "kept")).decode("utf-8"))
        check_growth(kept_size, kept_root, size, root, hashes)
        return f"{origin.name} only grew from {kept_size} to {size} records"
    raise Bad("not a proof bundle of a known kind")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--key", type=pathlib.Path, required=True)
    args = parser.parse_args()
    try:
        origin = Origin(args.key.read_text("utf-8"))
        data = args.file.read_bytes()
    except (OSError, ValueError, Bad) as error:
        print(f"cannot tell: {error}")
        return 2
    try:
        print(f"proven: {verify(data.decode('utf-8'), origin)}")
    except (Bad, UnicodeDecodeError) as error:
        print(f"proves nothing: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
