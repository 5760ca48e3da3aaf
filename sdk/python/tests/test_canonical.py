"""Canonical text: the vectors that the daemon is held to as well, and what Python adds."""

from __future__ import annotations

import json
import pathlib
import random
from decimal import Decimal
from typing import Any

import pytest
from faramesh.canonical import InvalidArguments, canonical_text, parse

CORPUS = pathlib.Path(__file__).resolve().parents[3] / "tests" / "corpus" / "canonical.json"
VECTORS = json.loads(CORPUS.read_text("utf-8"))


def given(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["hex"]) if "hex" in vector else vector["given"].encode("utf-8")


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda v: v["about"])
def test_a_document_has_the_canonical_text_of_the_corpus(vector: dict[str, Any]) -> None:
    text = canonical_text(parse(given(vector)))
    assert text == vector["canonical"]
    assert canonical_text(parse(text.encode())) == text


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda v: v["about"])
def test_a_document_that_the_corpus_calls_invalid_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments):
        parse(given(vector))


def test_two_spellings_of_a_number_share_a_text_and_two_numbers_do_not() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    texts: dict[str, Decimal] = {}
    for _ in range(3000):
        digits, exponent = rng.randrange(1, 10 ** rng.randint(1, 25)), rng.randint(-30, 30)
        number = Decimal(digits).scaleb(exponent)
        spelt = [f"{digits}e{exponent}", f"{digits}0e{exponent - 1}", f"{digits}.000E{exponent:+d}"]
        found = {canonical_text(parse(f'{{"n":{literal}}}'.encode())) for literal in spelt}
        assert len(found) == 1, spelt
        text = found.pop()[5:-1]
        assert Decimal(text) == number
        assert texts.setdefault(text, number) == number


def test_python_numbers_are_taken_exactly() -> None:
    value = {"i": 2**70, "d": Decimal("0.10"), "f": 0.1, "t": True, "z": -0.0, "e": 1e21, "s": 5e-324}
    assert canonical_text(value) == (
        '{"d":0.1,"e":1e+21,"f":0.1,"i":1.180591620717411303424e+21,"s":5e-324,"t":true,"z":0}'
    )


def test_a_decimal_is_not_rounded_by_a_context() -> None:
    digits = "1" * 60
    assert canonical_text({"n": Decimal("0." + digits)}) == f'{{"n":0.{digits}}}'


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"n": 10**1001 + 1}, id="1002 digits"),
        pytest.param({"n": Decimal("1e1001")}, id="exponent"),
        pytest.param({"n": 1 << 20000}, id="integer that Python will not print"),
        pytest.param({"s": "x" * (1 << 20)}, id="more than a mebibyte"),
        pytest.param({"k\udc00": 1}, id="surrogate in a key"),
        pytest.param(["a"], id="no mapping"),
    ],
)
def test_values_beyond_the_bounds_are_refused(value: Any) -> None:
    with pytest.raises(InvalidArguments):
        canonical_text(value)


def test_documents_that_are_very_deep_are_refused_and_not_fatal() -> None:
    for data in (b"[" * 500_000, b'{"a":' * 100_000):
        with pytest.raises(InvalidArguments):
            parse(data)
