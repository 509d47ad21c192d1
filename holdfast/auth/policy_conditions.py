"""The conditions of a policy statement: every operator, IfExists, ForAllValues and ForAnyValue.

A table of operators; what is not in it is refused when the policy is put.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from holdfast.auth.policy_match import Context, Glob, PolicyError

CONDITION_VALUES_MAX = 1000

#: (a value of the request, a wanted one, the request) -> whether it matches
_Test = Callable[[str, Any, Context], bool]


class _Operator(NamedTuple):
    """`prepare` makes a wanted value ready once, and raises ValueError when it can't be one.
    `negated`: holds when no wanted value matches, also when the key is absent."""

    prepare: Callable[[str], Any]
    test: _Test
    negated: bool = False


def _moment(text: str) -> float:
    try:
        return float(int(text))
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not number.is_finite():
        raise ValueError(text)
    return number


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError(text) from None


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _ordered(convert: Callable[[str], Any], compare: Callable[[Any, Any], bool]) -> _Test:
    def test(value: str, wanted: Any, _: Context) -> bool:
        try:
            return compare(convert(value), wanted)
        except ValueError:
            return False

    return test


def _exact(text: str) -> Glob:
    return Glob(text, True, wildcards=False)


def _pattern(text: str) -> Glob:
    return Glob(text, True)


def _equals(value: str, wanted: Glob, context: Context) -> bool:
    return wanted.matches(value, context, wildcards=False)


def _equals_folded(value: str, wanted: Glob, context: Context) -> bool:
    return wanted.matches(value.lower(), context, wildcards=False)


def _like(value: str, wanted: Glob, context: Context) -> bool:
    return wanted.matches(value, context)


def _in_network(
    value: str, wanted: ipaddress.IPv4Network | ipaddress.IPv6Network, _: Context
) -> bool:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address in wanted


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


_OPERATORS: dict[str, _Operator] = {
    "StringEquals": _Operator(_exact, _equals),
    "StringEqualsIgnoreCase": _Operator(lambda t: _exact(t.lower()), _equals_folded),
    "StringLike": _Operator(_pattern, _like),
    "ArnEquals": _Operator(_pattern, _like),
    "ArnLike": _Operator(_pattern, _like),
    "NumericEquals": _Operator(_number, _ordered(_number, lambda a, b: a == b)),
    "NumericLessThan": _Operator(_number, _ordered(_number, lambda a, b: a < b)),
    "NumericLessThanEquals": _Operator(_number, _ordered(_number, lambda a, b: a <= b)),
    "NumericGreaterThan": _Operator(_number, _ordered(_number, lambda a, b: a > b)),
    "NumericGreaterThanEquals": _Operator(_number, _ordered(_number, lambda a, b: a >= b)),
    "DateEquals": _Operator(_moment, _ordered(_moment, lambda a, b: a == b)),
    "DateLessThan": _Operator(_moment, _ordered(_moment, lambda a, b: a < b)),
    "DateLessThanEquals": _Operator(_moment, _ordered(_moment, lambda a, b: a <= b)),
    "DateGreaterThan": _Operator(_moment, _ordered(_moment, lambda a, b: a > b)),
    "DateGreaterThanEquals": _Operator(_moment, _ordered(_moment, lambda a, b: a >= b)),
    "Bool": _Operator(_bool, _ordered(_bool, lambda a, b: a == b)),
    "BinaryEquals": _Operator(_binary, _ordered(_binary, lambda a, b: a == b)),
    "IpAddress": _Operator(_network, _in_network),
}
_NEGATIONS = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
}
_OPERATORS |= {name: _OPERATORS[plain]._replace(negated=True) for name, plain in _NEGATIONS.items()}

#: keys whose fixed values make a policy non-public (see Policy.is_public)
_RESTRICTING_KEYS = frozenset(
    (
        "aws:principalarn", "aws:principalaccount", "aws:principalorgid", "aws:sourcearn",
        "aws:sourceaccount", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceowner", "aws:userid",
        "s3:dataaccesspointarn", "s3:dataaccesspointaccount",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    )
)  # fmt: skip


class Condition(NamedTuple):
    """One operator on one key."""

    operator: str
    key: str  # lower case
    wanted: tuple[Any, ...]
    texts: tuple[str, ...]
    if_exists: bool
    quantifier: str  # "", "ForAllValues" or "ForAnyValue"

    def holds(self, context: Context) -> bool:
        values = context.get(self.key)
        if self.operator == "Null":
            return all(_bool(text) is (values is None) for text in self.texts)
        operator = _OPERATORS[self.operator]
        if not values:
            if self.quantifier == "ForAllValues" or self.if_exists:
                return True
            return operator.negated and self.quantifier != "ForAnyValue"

        def matches(value: str) -> bool:
            found = any(operator.test(value, wanted, context) for wanted in self.wanted)
            return found is not operator.negated

        if self.quantifier == "ForAnyValue":
            return any(map(matches, values))
        return all(map(matches, values))

    def restricts(self) -> bool:
        """Whether it holds only for fixed values of a key that tells callers apart."""
        if self.if_exists or self.quantifier == "ForAllValues":
            return False
        if self.operator == "IpAddress" and self.key == "aws:sourceip":
            return all(network.prefixlen >= (8 if network.version == 4 else 32)
                       for network in self.wanted)  # fmt: skip
        if self.key not in _RESTRICTING_KEYS:
            return False
        if self.operator in ("StringEquals", "StringEqualsIgnoreCase"):
            return "${" not in "".join(self.texts)
        if self.operator in ("StringLike", "ArnLike", "ArnEquals"):
            return all(glob.is_fixed() for glob in self.wanted)
        return False


def parse_conditions(value: object, variables: bool) -> tuple[Condition, ...]:
    """The Condition element. Raises PolicyError."""
    if not isinstance(value, dict):
        raise PolicyError("Condition is a JSON object")
    conditions = []
    for operator, keys in value.items():
        if not isinstance(keys, dict):
            raise PolicyError(f"{operator} needs a JSON object of keys and values")
        for key, given in keys.items():
            conditions.append(_condition(operator, key, given, variables))
    return tuple(conditions)


def _condition(text: str, key: str, given: object, variables: bool) -> Condition:
    quantifier, colon, name = text.partition(":")
    if not colon:
        quantifier, name = "", text
    elif quantifier not in ("ForAllValues", "ForAnyValue"):
        raise PolicyError(f"Invalid Condition type : {text}")
    if_exists = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    if (name != "Null" and name not in _OPERATORS) or (name == "Null" and if_exists):
        raise PolicyError(f"Invalid Condition type : {text}")
    if ":" not in key:
        raise PolicyError(f"Policy has an invalid condition key: {key}")
    values = given if isinstance(given, list) else [given]
    if len(values) > CONDITION_VALUES_MAX:
        raise PolicyError(f"A condition can have at most {CONDITION_VALUES_MAX} values.")
    texts = tuple(_text(one) for one in values)
    try:
        if name == "Null":
            wanted: tuple[Any, ...] = tuple(_bool(one) for one in texts)
        else:
            wanted = tuple(_prepare(name, one, variables) for one in texts)
    except ValueError:
        raise PolicyError(f"Invalid value for the condition {text} on {key}") from None
    return Condition(name, key.lower(), wanted, texts, if_exists, quantifier)


def _prepare(name: str, text: str, variables: bool) -> Any:
    operator = _OPERATORS[name]
    if not variables and operator.prepare in (_exact, _pattern):
        return Glob(text, False, wildcards=operator.prepare is _pattern)
    return operator.prepare(text)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise PolicyError("The values of a condition are strings, numbers or booleans")
