"""The policy language: each rule of IAM's grammar and evaluation as a row."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from holdfast.auth.policy import (
    ANONYMOUS,
    AccessRequest,
    Principal,
    Verdict,
    evaluate_all,
    parse_policy,
)
from holdfast.auth.policy_match import Glob, PolicyError

ALICE = Principal(
    "a" * 64, frozenset(("arn:aws:iam::111:user/alice", "111", "arn:aws:iam::111:root"))
)
BUCKET = "arn:aws:s3:::b"


def statement(**changes: Any) -> dict[str, Any]:
    one = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": BUCKET + "/*"}
    one.update(changes)
    return {key: value for key, value in one.items() if value is not None}


def verdict(
    *statements: dict[str, Any],
    who: Principal = ALICE,
    action: str = "s3:GetObject",
    resource: str = BUCKET + "/k",
    **context: str | tuple[str, ...],
) -> Verdict:
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)}).encode()
    values = {
        key.replace("__", ":").lower(): value if isinstance(value, tuple) else (value,)
        for key, value in context.items()
    }
    return parse_policy(document, bucket="b").evaluate(AccessRequest(who, action, resource, values))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Verdict.ALLOW),
        ({"Effect": "Deny"}, Verdict.DENY),
        ({"Action": "s3:PutObject"}, Verdict.NONE),
        ({"Action": ["s3:PutObject", "s3:Get*"]}, Verdict.ALLOW),
        ({"Action": "S3:getobject"}, Verdict.ALLOW),
        ({"Action": "*"}, Verdict.ALLOW),
        ({"Action": None, "NotAction": "s3:PutObject"}, Verdict.ALLOW),
        ({"Action": None, "NotAction": "s3:Get*"}, Verdict.NONE),
        ({"Resource": BUCKET}, Verdict.NONE),
        ({"Resource": BUCKET + "/?"}, Verdict.ALLOW),
        ({"Resource": BUCKET + "/??"}, Verdict.NONE),
        ({"Resource": None, "NotResource": BUCKET + "/k"}, Verdict.NONE),
        ({"Resource": None, "NotResource": BUCKET + "/x"}, Verdict.ALLOW),
        ({"Principal": {"AWS": "*"}}, Verdict.ALLOW),
        ({"Principal": {"AWS": "111"}}, Verdict.ALLOW),
        ({"Principal": {"AWS": ["222", "arn:aws:iam::111:user/alice"]}}, Verdict.ALLOW),
        ({"Principal": {"AWS": "222"}}, Verdict.NONE),
        ({"Principal": {"CanonicalUser": "a" * 64}}, Verdict.ALLOW),
        ({"Principal": {"Service": "logging.s3.amazonaws.com"}}, Verdict.NONE),
        ({"Effect": "Deny", "Principal": None, "NotPrincipal": {"AWS": "111"}}, Verdict.NONE),
        ({"Effect": "Deny", "Principal": None, "NotPrincipal": {"AWS": "222"}}, Verdict.DENY),
    ],
)
def test_statement(changes: dict[str, Any], expected: Verdict) -> None:
    assert verdict(statement(**changes)) is expected


def test_deny_wins_whatever_the_order() -> None:
    deny = statement(Effect="Deny", Resource=BUCKET + "/k")
    assert verdict(statement(), deny) is Verdict.DENY
    assert verdict(deny, statement()) is Verdict.DENY


def test_anonymous_is_only_everybody() -> None:
    assert verdict(statement(), who=ANONYMOUS) is Verdict.ALLOW
    assert verdict(statement(Principal={"AWS": "111"}), who=ANONYMOUS) is Verdict.NONE
    assert verdict(statement(Principal={"CanonicalUser": "x"}), who=ANONYMOUS) is Verdict.NONE


CONDITIONS: list[tuple[str, object, dict[str, Any], bool]] = [
    ("StringEquals", "x", {"s3__prefix": "x"}, True),
    ("StringEquals", ["y", "x"], {"s3__prefix": "x"}, True),
    ("StringEquals", "x*", {"s3__prefix": "xy"}, False),
    ("StringEquals", "x", {}, False),
    ("StringNotEquals", "x", {"s3__prefix": "y"}, True),
    ("StringNotEquals", ["x", "y"], {"s3__prefix": "y"}, False),
    ("StringNotEquals", "x", {}, True),
    ("StringEqualsIgnoreCase", "ABC", {"s3__prefix": "aBc"}, True),
    ("StringNotEqualsIgnoreCase", "ABC", {"s3__prefix": "abc"}, False),
    ("StringLike", "home/*", {"s3__prefix": "home/alice"}, True),
    ("StringNotLike", "home/*", {"s3__prefix": "home/alice"}, False),
    ("StringEqualsIfExists", "x", {}, True),
    ("StringEqualsIfExists", "x", {"s3__prefix": "y"}, False),
    ("NumericLessThanEquals", "10", {"s3__prefix": "10"}, True),
    ("NumericLessThan", 10, {"s3__prefix": "10"}, False),
    ("NumericGreaterThan", 10, {"s3__prefix": "nonsense"}, False),
    ("NumericNotEquals", 10, {"s3__prefix": "11"}, True),
    ("DateGreaterThan", "2026-01-01T00:00:00Z", {"s3__prefix": "2026-06-01T00:00:00Z"}, True),
    ("DateLessThan", "2026-01-01T00:00:00Z", {"s3__prefix": "2026-06-01T00:00:00Z"}, False),
    ("Bool", "true", {"s3__prefix": "true"}, True),
    ("Bool", False, {"s3__prefix": "true"}, False),
    ("BinaryEquals", "aGk=", {"s3__prefix": "aGk="}, True),
    ("IpAddress", "10.0.0.0/8", {"s3__prefix": "10.1.2.3"}, True),
    ("IpAddress", "10.0.0.0/8", {"s3__prefix": "::ffff:10.1.2.3"}, True),
    ("IpAddress", ["10.0.0.0/8", "2001:db8::/32"], {"s3__prefix": "2001:db8::1"}, True),
    ("NotIpAddress", "10.0.0.0/8", {"s3__prefix": "10.1.2.3"}, False),
    ("ArnLike", "arn:aws:iam::*:user/a*", {"s3__prefix": "arn:aws:iam::1:user/al"}, True),
    ("ArnNotEquals", "arn:aws:iam::1:user/al", {"s3__prefix": "arn:aws:iam::1:user/al"}, False),
    ("Null", "true", {}, True),
    ("Null", "true", {"s3__prefix": "x"}, False),
    ("Null", "false", {"s3__prefix": "x"}, True),
    ("ForAllValues:StringEquals", ["a", "b"], {"s3__prefix": ("a", "b")}, True),
    ("ForAllValues:StringEquals", ["a"], {"s3__prefix": ("a", "b")}, False),
    ("ForAllValues:StringEquals", ["a"], {}, True),
    ("ForAnyValue:StringEquals", ["a"], {"s3__prefix": ("a", "b")}, True),
    ("ForAnyValue:StringEquals", ["c"], {"s3__prefix": ("a", "b")}, False),
    ("ForAnyValue:StringEquals", ["a"], {}, False),
    ("StringEquals", "${aws:username}", {"s3__prefix": "al", "aws__username": "al"}, True),
    ("StringEquals", "${aws:username}", {"s3__prefix": "al"}, False),
    ("StringEquals", "${aws:username, 'al'}", {"s3__prefix": "al"}, True),
    (
        "StringLike",
        "home/${aws:username}/*",
        {"s3__prefix": "home/a/x", "aws__username": "a"},
        True,
    ),
    ("StringLike", "${aws:username}", {"s3__prefix": "x", "aws__username": "*"}, False),
    ("StringLike", "a${*}", {"s3__prefix": "a*"}, True),
    ("StringLike", "a${*}", {"s3__prefix": "ab"}, False),
]


@pytest.mark.parametrize(("operator", "wanted", "context", "holds"), CONDITIONS)
def test_condition(operator: str, wanted: object, context: dict[str, Any], holds: bool) -> None:
    one = statement(Condition={operator: {"s3:prefix": wanted}})
    assert (verdict(one, **context) is Verdict.ALLOW) is holds


def test_all_conditions_must_hold() -> None:
    one = statement(Condition={"StringEquals": {"s3:prefix": "x", "s3:delimiter": "/"}})
    assert verdict(one, s3__prefix="x") is Verdict.NONE
    assert verdict(one, s3__prefix="x", s3__delimiter="/") is Verdict.ALLOW


def test_variables_in_resources() -> None:
    one = statement(Resource=BUCKET + "/home/${aws:username}/*")
    assert verdict(one, resource=BUCKET + "/home/al/x", aws__username="al") is Verdict.ALLOW
    assert verdict(one, resource=BUCKET + "/home/al/x", aws__username="bo") is Verdict.NONE
    assert verdict(one, resource=BUCKET + "/home/al/x") is Verdict.NONE


@pytest.mark.parametrize(
    "document",
    [
        b"", b"[]", b"{", b"{}", b'{"Statement": []}', b"\xff", b"[" * 100_000,
        b'{"Version": "2020-01-01", "Statement": [{}]}',
        b'{"Statement": [{"Effect": "Allow", "Effect": "Deny"}]}',
    ],
)  # fmt: skip
def test_malformed(document: bytes) -> None:
    with pytest.raises(PolicyError):
        parse_policy(document, bucket="b")


@pytest.mark.parametrize(
    "changes",
    [
        {"Effect": "allow"},
        {"Effect": None},
        {"Principal": None},
        {"Principal": "someone"},
        {"Principal": {"Other": "x"}},
        {"Principal": {"AWS": "arn:aws:iam::1:user/*"}},
        {"NotPrincipal": "*"},
        {"Principal": None, "NotPrincipal": {"AWS": "1"}},
        {"Action": "GetObject"},
        {"Action": "iam:GetUser"},
        {"Action": None},
        {"Resource": "arn:aws:s3:::other/*"},
        {"Resource": "arn:aws:s3:::bb"},
        {"Resource": "arn:aws:s3:::x*"},
        {"Resource": []},
        {"Surprise": 1},
        {"Condition": {"StringResembles": {"s3:prefix": "x"}}},
        {"Condition": {"ForSome:StringEquals": {"s3:prefix": "x"}}},
        {"Condition": {"IpAddress": {"aws:SourceIp": "no"}}},
        {"Condition": {"NumericEquals": {"s3:max-keys": "ten"}}},
        {"Condition": {"StringEquals": {"prefix": "x"}}},
        {"Condition": {"StringEquals": "x"}},
    ],
)
def test_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        verdict(statement(**changes))


@pytest.mark.parametrize(
    ("changes", "public"),
    [
        ({}, True),
        ({"Effect": "Deny"}, False),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": "111"}}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}, True),
        ({"Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}}, False),
        ({"Condition": {"StringLike": {"aws:SourceVpc": "vpc-*"}}}, True),
        ({"Condition": {"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}}}, True),
        ({"Condition": {"StringEquals": {"aws:UserAgent": "x"}}}, True),
    ],
)
def test_public(changes: dict[str, Any], public: bool) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": statement(**changes)}).encode()
    assert parse_policy(document, bucket="b").is_public() is public


def test_user_policies() -> None:
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    deny = {"Effect": "Deny", "Action": "s3:Delete*", "Resource": "arn:aws:s3:::b/*"}
    policies = [parse_policy(json.dumps({"Statement": one}).encode(), bucket=None)
                for one in (allow, deny)]  # fmt: skip
    get = AccessRequest(ALICE, "s3:GetObject", BUCKET + "/k", {})
    assert evaluate_all(policies, get) is Verdict.ALLOW
    assert evaluate_all(policies, get._replace(action="s3:DeleteObject")) is Verdict.DENY
    assert evaluate_all([], get) is Verdict.NONE
    with pytest.raises(PolicyError):
        parse_policy(json.dumps({"Statement": statement()}).encode(), bucket=None)


def test_patterns_take_bounded_time() -> None:
    """A backtracking matcher would need longer than the suite may take."""
    glob = Glob("*a" * 2000 + "b", False)
    started = time.process_time()
    assert not glob.matches("a" * 1024, {})
    assert time.process_time() - started < 60


def test_resources_may_be_patterns_that_the_bucket_matches() -> None:
    for resource in ("arn:aws:s3:::*", "arn:aws:s3:::*/*", "arn:aws:s3:::?/k"):
        document = json.dumps({"Statement": [statement(Resource=resource)]}).encode()
        assert parse_policy(document, bucket="b").statements


def test_keys_that_a_policy_asks_for() -> None:
    one = statement(
        Resource="arn:aws:s3:::b/${aws:username}/*",
        Condition={"StringLike": {"s3:Prefix": "${s3:ExistingObjectTag/Owner}*"}},
    )
    document = json.dumps({"Version": "2012-10-17", "Statement": [one]}).encode()
    keys = parse_policy(document, bucket="b").keys()
    assert keys == {"aws:username", "s3:prefix", "s3:existingobjecttag/owner"}
