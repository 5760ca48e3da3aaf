"""C2SP signed notes and RFC 6962 inclusion: the arithmetic under a receipt. Needs the extra `receipts`.

Everything here answers yes or raises; nothing trusts a length, a name or an encoding that it was given.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import pathlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["Checkpoint", "NotVerified", "Origin", "leaf_hash", "verify_inclusion"]

#: C2SP's signature type for plain Ed25519.
ED25519 = 1
#: A checkpoint is three short lines and a few signatures.
NOTE_BYTES_MAX = 16 << 10
#: Hashes in a path: a tree has fewer than 2^63 leaves.
PATH_LENGTH_MAX = 63
_HASH_BYTES = 32
_SIGNATURE_BYTES = 64


class NotVerified(Exception):
    """Evidence does not hold. The message says what; it is safe to give to whoever presented the evidence."""


@dataclass(frozen=True)
class Origin:
    """The pinned public key of a stack's log: the first line of its `log.pub`."""

    name: str
    key: bytes

    @classmethod
    def parse(cls, line: str) -> "Origin":
        """From a C2SP verifier key, `name+hash+base64(0x01 || key)`.

        Raises ValueError where it is not one, of another algorithm, or its hash is not that of name and key.
        """
        parts = line.strip().split("+", 2)
        if len(parts) != 3 or not parts[0] or any(c.isspace() for c in parts[0]):
            raise ValueError("a verifier key has the form `name+hash+key`")
        name, hash_hex, key_text = parts
        data = _base64(key_text)
        if data is None or len(data) != 1 + _HASH_BYTES or data[0] != ED25519:
            raise ValueError(f"the key of `{name}` is not an Ed25519 verifier key")
        if hash_hex != _key_hash(name, data[1:]).hex():
            raise ValueError(f"the hash of `{name}` is not that of its name and key")
        return cls(name, data[1:])

    @classmethod
    def read(cls, path: "str | pathlib.Path") -> "Origin":
        """From a `log.pub` file: its first line. The second, the key of the log's first epoch, is for auditors of whole journals."""
        first, _, _ = pathlib.Path(path).read_text("utf-8").partition("\n")
        return cls.parse(first)


@dataclass(frozen=True)
class Checkpoint:
    """A signed tree head."""

    size: int
    root: bytes

    @classmethod
    def verify(cls, note: str, origin: Origin) -> "Checkpoint":
        """From a signed note that the origin signed. Signatures under other names are other parties' business.

        Raises NotVerified.
        """
        text = _verified_text(note, origin)
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] != "":
            raise NotVerified("the checkpoint does not have three lines")
        if lines[0] != origin.name:
            raise NotVerified("the checkpoint is of another origin")
        size = lines[1]
        if not (size.isascii() and size.isdigit()) or len(size) > 19 or (size[0] == "0" and size != "0"):
            raise NotVerified("the checkpoint's size is not a number")
        root = _base64(lines[2])
        if root is None or len(root) != _HASH_BYTES:
            raise NotVerified("the checkpoint's root is not a hash")
        return cls(int(size), root)


def leaf_hash(record: bytes) -> bytes:
    """RFC 6962's hash of a leaf."""
    return hashlib.sha256(b"\x00" + record).digest()


def verify_inclusion(leaf: bytes, index: int, path: list[bytes], checkpoint: Checkpoint) -> None:
    """That `leaf` is number `index` of the tree under `checkpoint` (RFC 9162, 2.1.3.2).

    Raises NotVerified.
    """
    if not 0 <= index < checkpoint.size:
        raise NotVerified("the leaf is not in the checkpoint's tree")
    if len(path) > PATH_LENGTH_MAX or any(len(node) != _HASH_BYTES for node in path):
        raise NotVerified("the inclusion path is malformed")
    number, last, node = index, checkpoint.size - 1, leaf
    for sibling in path:
        if last == 0:
            raise NotVerified("the inclusion path is too long")
        if number & 1 or number == last:
            node = hashlib.sha256(b"\x01" + sibling + node).digest()
            while number & 1 == 0 and number != 0:
                number >>= 1
                last >>= 1
        else:
            node = hashlib.sha256(b"\x01" + node + sibling).digest()
        number >>= 1
        last >>= 1
    if last != 0:
        raise NotVerified("the inclusion path is too short")
    if node != checkpoint.root:
        raise NotVerified("the inclusion path does not lead to the checkpoint's root")


def _verified_text(note: str, origin: Origin) -> str:
    if len(note) > NOTE_BYTES_MAX:
        raise NotVerified("the checkpoint is too large")
    text, gap, signatures = note.rpartition("\n\n")
    if not gap or not signatures.endswith("\n"):
        raise NotVerified("the checkpoint is not a signed note")
    text += "\n"
    signed = False
    for line in signatures[:-1].split("\n"):
        if _signed_by(line, text, origin):
            signed = True
    if not signed:
        raise NotVerified("the checkpoint is not signed by the pinned origin")
    return text


def _signed_by(line: str, text: str, origin: Origin) -> bool:
    """Whether a signature line is the origin's. One that claims to be and is not is an error, not a stranger's."""
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "\u2014":
        raise NotVerified("the checkpoint has a malformed signature line")
    signature = _base64(parts[2])
    if signature is None or len(signature) < 5:
        raise NotVerified("the checkpoint has a malformed signature line")
    if parts[1] != origin.name or signature[:4] != _key_hash(origin.name, origin.key):
        return False
    if len(signature) != 4 + _SIGNATURE_BYTES:
        raise NotVerified("the origin's signature has the wrong length")
    try:
        Ed25519PublicKey.from_public_bytes(origin.key).verify(signature[4:], text.encode("utf-8"))
    except InvalidSignature as cause:
        raise NotVerified("the origin's signature is not valid") from cause
    return True


def _key_hash(name: str, key: bytes) -> bytes:
    return hashlib.sha256(name.encode("utf-8") + b"\n" + bytes([ED25519]) + key).digest()[:4]


def _base64(text: str) -> "bytes | None":
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # One spelling a value: what decodes to the same bytes by other padding bits is not the same note.
    return data if base64.b64encode(data).decode("ascii") == text else None
