"""Arguments as one text: strict JSON in, canonical text out, in step with `core/src/json.rs`.

The canonical text has JCS (RFC 8785) key order and strings, and each number as its shortest exact decimal in the
layout of ECMAScript: `1.50`, `15e-1` and `1.5` are one text, `0.1` and `0.1000000000000000055` are two. Both sides of a
receipt hash this text, so whatever cannot be given exactly is refused here and never rounded. The vectors that the
Rust core is held to as well are in tests/corpus/canonical.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn, Union

__all__ = [
    "ARGUMENTS_BYTES_MAX",
    "DEPTH_MAX",
    "InvalidArguments",
    "canonical_text",
    "parse",
]

#: The daemon refuses more; the wire says so.
ARGUMENTS_BYTES_MAX = 1 << 20
#: Nesting, the outermost object counted as 1. The same bound as the daemon's.
DEPTH_MAX = 32
#: Significant digits of a number. The same bound as the daemon's.
DIGITS_MAX = 1000
#: Largest absolute exponent in scientific notation. The same bound as the daemon's.
EXPONENT_MAX = 1000

Json = Union[None, bool, int, Decimal, str, list[Any], dict[str, Any]]


class InvalidArguments(ValueError):
    """The arguments have no canonical text. Raised before anything is asked, so nothing was permitted."""


def canonical_text(arguments: Mapping[str, Any]) -> str:
    """The canonical text of a call's arguments.

    Integers and `Decimal` are taken exactly; a `float` is the decimal that `repr` prints, as everywhere in JSON.

    Raises InvalidArguments for NaN and infinities, keys that are no strings, values of other types, lone surrogates,
    and anything beyond the bounds of this module.
    """
    if not isinstance(arguments, Mapping):
        raise InvalidArguments(f"arguments must be a mapping, not {type(arguments).__name__}")
    out: list[str] = []
    _write(arguments, out, 1)
    text = "".join(out)
    if len(text.encode("utf-8")) > ARGUMENTS_BYTES_MAX:
        raise InvalidArguments(f"arguments are larger than {ARGUMENTS_BYTES_MAX} bytes")
    return text


def parse(data: bytes) -> dict[str, Json]:
    """A JSON object from bytes that nobody vouches for.

    Integers become `int`, other numbers `Decimal`, both exactly.

    Raises InvalidArguments for invalid UTF-8, duplicate keys, lone surrogates, NaN, trailing text, anything that is
    not an object, and anything beyond the bounds of this module.
    """
    if len(data) > ARGUMENTS_BYTES_MAX:
        raise InvalidArguments(f"arguments are larger than {ARGUMENTS_BYTES_MAX} bytes")
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_parse_number,
            parse_float=_parse_number,
            parse_constant=_no_constant,
        )
    except InvalidArguments:
        raise
    except UnicodeDecodeError as cause:
        raise InvalidArguments("arguments are not UTF-8") from cause
    except RecursionError as cause:
        raise InvalidArguments(f"arguments are nested deeper than {DEPTH_MAX}") from cause
    except ValueError as cause:
        raise InvalidArguments(f"arguments are not JSON: {cause}") from cause
    if not isinstance(value, dict):
        raise InvalidArguments("arguments are not a JSON object")
    canonical_text(value)  # depth and surrogates are checked where they are written
    return value


def _write(value: object, out: list[str], depth: int) -> None:
    if value is None:
        out.append("null")
    elif value is True:
        out.append("true")
    elif value is False:
        out.append("false")
    elif isinstance(value, str):
        out.append(_string_text(value))
    elif isinstance(value, int):
        out.append(_integer_text(value))
    elif isinstance(value, Decimal):
        out.append(_decimal_text(value))
    elif isinstance(value, float):
        out.append(_float_text(value))
    elif isinstance(value, Mapping):
        _write_object(value, out, depth)
    elif isinstance(value, (list, tuple)):
        _write_array(value, out, depth)
    else:
        raise InvalidArguments(
            f"a value of type `{type(value).__name__}` has no exact JSON form: give a string, a number, a list or a mapping"
        )


def _write_object(value: Mapping[Any, Any], out: list[str], depth: int) -> None:
    _check_depth(depth)
    for key in value:
        if not isinstance(key, str):
            raise InvalidArguments(f"the key {key!r} is not a string")
    out.append("{")
    # RFC 8785 orders keys by UTF-16 code units, which differs from Python's order beyond the basic plane.
    for index, key in enumerate(sorted(value, key=_utf16)):
        if index:
            out.append(",")
        out.append(_string_text(key))
        out.append(":")
        _write(value[key], out, depth + 1)
    out.append("}")


def _write_array(value: Union[list[Any], tuple[Any, ...]], out: list[str], depth: int) -> None:
    _check_depth(depth)
    out.append("[")
    for index, item in enumerate(value):
        if index:
            out.append(",")
        _write(item, out, depth + 1)
    out.append("]")


def _check_depth(depth: int) -> None:
    if depth > DEPTH_MAX:
        raise InvalidArguments(f"arguments are nested deeper than {DEPTH_MAX}")


def _utf16(key: str) -> bytes:
    try:
        return key.encode("utf-16-be")
    except UnicodeEncodeError as cause:
        raise InvalidArguments("a key holds a lone surrogate") from cause


_ESCAPES = {
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
    '"': '\\"',
    "\\": "\\\\",
}
_TO_ESCAPE = re.compile(r'[\x00-\x1f"\\]')


def _string_text(value: str) -> str:
    value = str.__str__(value)  # the characters of a str subclass, not its own idea of them
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise InvalidArguments("a string holds a lone surrogate") from cause
    return '"' + _TO_ESCAPE.sub(_escape, value) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return _ESCAPES.get(character) or f"\\u{ord(character):04x}"


def _integer_text(value: int) -> str:
    value = int.__int__(value)
    # 10^1000 has 3322 bits. Checked first: printing is refused by Python itself from 4,300 digits on.
    if value.bit_length() > 3330:
        raise InvalidArguments(f"an integer has more than {DIGITS_MAX} digits")
    return _number_text(int.__repr__(value))


def _decimal_text(value: Decimal) -> str:
    if not value.is_finite():
        raise InvalidArguments(f"`{value}` is not a number that JSON has")
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise InvalidArguments(f"`{value}` is not a number that JSON has")
    return _layout(bool(sign), "".join(map(str, digits)), exponent)


def _float_text(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        raise InvalidArguments(f"`{value}` is not a number that JSON has")
    return _number_text(float.__repr__(value))


_NUMBER = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?", re.ASCII)


def _number_text(literal: str) -> str:
    """The canonical text of a JSON number's literal."""
    match = _NUMBER.fullmatch(literal)
    if match is None:
        raise InvalidArguments("a number is not as JSON writes it")
    minus, whole, fraction, sign, exponent_digits = match.groups()
    fraction = fraction or ""
    exponent_digits = (exponent_digits or "0").lstrip("0") or "0"
    if len(exponent_digits) > 7:  # far beyond what the digits of one mebibyte could bring back into bounds
        if set(whole + fraction) == {"0"}:
            return "0"
        raise InvalidArguments(f"a number's exponent is beyond ±{EXPONENT_MAX}")
    exponent = int(sign + exponent_digits) if sign else int(exponent_digits)
    return _layout(minus == "-", whole + fraction, exponent - len(fraction))


def _layout(negative: bool, digits: str, exponent: int) -> str:
    """`digits` × 10^`exponent` as ECMAScript's Number::toString lays out a number, for any count of digits."""
    digits = digits.lstrip("0")
    stripped = digits.rstrip("0")
    exponent += len(digits) - len(stripped)
    digits = stripped
    if not digits:
        return "0"
    count = len(digits)
    point = count + exponent  # the value is 0.DIGITS × 10^point
    if count > DIGITS_MAX:
        raise InvalidArguments(f"a number has more than {DIGITS_MAX} digits")
    if abs(point - 1) > EXPONENT_MAX:
        raise InvalidArguments(f"a number's exponent is beyond ±{EXPONENT_MAX}")
    return ("-" if negative else "") + _place_point(digits, count, point)


def _place_point(digits: str, count: int, point: int) -> str:
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    mantissa = digits if count == 1 else digits[0] + "." + digits[1:]
    return f"{mantissa}e{'+' if point > 0 else '-'}{abs(point - 1)}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InvalidArguments("an object has a key twice")
    return value


def _parse_number(literal: str) -> Union[int, Decimal]:
    text = _number_text(literal)
    return Decimal(text) if "." in text or "e" in text else int(text)


def _no_constant(literal: str) -> NoReturn:
    raise InvalidArguments(f"`{literal}` is not a number that JSON has")
