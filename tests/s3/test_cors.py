"""Cross-origin requests: the documents, the preflight, and what every other answer says."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from holdfast.s3.cors import find_rule, parse_rules, rules_document
from holdfast.s3.errors import S3Error

from .raw import Answer, Raw

RULES = [
    {
        "ID": "first",
        "AllowedMethods": ["GET", "HEAD"],
        "AllowedOrigins": ["https://*.example.com", "http://exact"],
        "AllowedHeaders": ["x-amz-*", "authorization"],
        "ExposeHeaders": ["ETag", "x-amz-request-id"],
        "MaxAgeSeconds": 3000,
    },
    {"AllowedMethods": ["PUT"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"]},
]
VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"


def allow(answer: Answer) -> dict[str, str]:
    prefix = "access-control-"
    return {n.removeprefix(prefix): v for n, v in answer.headers.items() if n.startswith(prefix)}


@pytest.fixture
def shared(s3: Any, bucket: str) -> str:
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": RULES})
    return bucket


def preflight(raw: Raw, bucket: str, headers: dict[str, str], key: str = "k") -> Answer:
    return raw.send("OPTIONS", f"/{bucket}/{key}", "", {"host": raw.host, **headers})


def test_documents(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as missing:
        s3.get_bucket_cors(Bucket=bucket)
    assert missing.value.response["Error"]["Code"] == "NoSuchCORSConfiguration"
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": RULES})
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == RULES
    answer = s3.delete_bucket_cors(Bucket=bucket)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    s3.delete_bucket_cors(Bucket=bucket)
    with pytest.raises(ClientError):
        s3.get_bucket_cors(Bucket=bucket)


def test_preflight(raw: Raw, shared: str) -> None:
    answer = preflight(
        raw,
        shared,
        {
            "origin": "https://a.example.com",
            "access-control-request-method": "GET",
            "access-control-request-headers": "X-Amz-Date, authorization",
        },
    )
    assert answer.status == 200
    assert not answer.body
    assert allow(answer) == {
        "allow-origin": "https://a.example.com",
        "allow-methods": "GET, HEAD",
        "allow-headers": "x-amz-date, authorization",
        "expose-headers": "ETag, x-amz-request-id",
        "max-age": "3000",
        "allow-credentials": "true",
    }
    assert answer.headers["vary"] == VARY


def test_preflight_of_any_origin(raw: Raw, shared: str) -> None:
    asked = {"origin": "null", "access-control-request-method": "PUT"}
    assert allow(preflight(raw, shared, asked)) == {"allow-origin": "*", "allow-methods": "PUT"}
    assert allow(preflight(raw, shared, asked, key="")) == allow(preflight(raw, shared, asked))


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 400, "BadRequest"),
        ({"origin": "http://exact"}, 400, "BadRequest"),
        ({"origin": "http://exact", "access-control-request-method": "PATCH"}, 400, "BadRequest"),
        ({"origin": "http://other", "access-control-request-method": "GET"}, 403, ""),
        ({"origin": "http://exact:80", "access-control-request-method": "GET"}, 403, ""),
        ({"origin": "http://exact", "access-control-request-method": "DELETE"}, 403, ""),
        (
            {
                "origin": "http://exact",
                "access-control-request-method": "GET",
                "access-control-request-headers": "x-other",
            },
            403,
            "",
        ),
        (
            {
                "origin": "http://any",
                "access-control-request-method": "PUT",
                "access-control-request-headers": ",".join(f"h{n}" for n in range(101)),
            },
            403,
            "",
        ),
    ],
)
def test_refused_preflight(
    raw: Raw, shared: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = preflight(raw, shared, headers)
    assert (answer.status, answer.code) == (status, code or "AccessForbidden")
    assert not allow(answer)


def test_preflight_without_rules(raw: Raw, bucket: str) -> None:
    asked = {"origin": "http://a", "access-control-request-method": "PUT"}
    for name in (bucket, "no-such-bucket"):
        answer = preflight(raw, name, asked)
        assert (answer.status, answer.code) == (403, "AccessForbidden")
        assert answer.text("ResourceType") == "OBJECT"
    answer = raw.send("OPTIONS", "/", "", {"host": raw.host, **asked})
    assert (answer.status, answer.code) == (403, "AccessForbidden")


def test_answers(raw: Raw, shared: str) -> None:
    raw("PUT", f"/{shared}/k", body=b"data")
    answer = raw("GET", f"/{shared}/k", headers={"origin": "http://exact"})
    assert answer.body == b"data"
    assert allow(answer) == {
        "allow-origin": "http://exact",
        "allow-methods": "GET, HEAD",
        "expose-headers": "ETag, x-amz-request-id",
        "max-age": "3000",
        "allow-credentials": "true",
    }
    assert answer.headers["vary"] == VARY
    # errors too, so that a page can read why
    answer = raw("GET", f"/{shared}/missing", headers={"origin": "http://exact"})
    assert (answer.status, allow(answer)["allow-origin"]) == (404, "http://exact")
    answer = raw.send("GET", f"/{shared}/k", "", {"host": raw.host, "origin": "http://exact"})
    assert (answer.status, allow(answer)["allow-origin"]) == (403, "http://exact")
    answer = raw("PUT", f"/{shared}/k", headers={"origin": "http://other"}, body=b"data")
    assert allow(answer) == {"allow-origin": "*", "allow-methods": "PUT"}
    # nothing of it to others, and no cache may mix them up
    answer = raw("GET", f"/{shared}/k", headers={"origin": "http://other"})
    assert (answer.status, allow(answer), answer.headers["vary"]) == (200, {}, VARY)
    answer = raw("GET", f"/{shared}/k")
    assert not allow(answer)
    assert "vary" not in answer.headers


def test_without_rules_nothing_is_said(raw: Raw, bucket: str) -> None:
    for path in (f"/{bucket}", "/no-such-bucket", "/", "//x"):
        answer = raw("GET", path, headers={"origin": "http://a"})
        assert not allow(answer)
        assert "vary" not in answer.headers


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("", "MalformedXML"),
        ("<AllowedOrigin>*</AllowedOrigin>", "MalformedXML"),
        ("<AllowedMethod>GET</AllowedMethod>", "MalformedXML"),
        (
            "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>OPTIONS</AllowedMethod>",
            "InvalidRequest",
        ),
        ("<AllowedOrigin>*</AllowedOrigin><AllowedMethod>get</AllowedMethod>", "InvalidRequest"),
        (
            "<AllowedOrigin>*a*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>",
            "InvalidRequest",
        ),
        (
            "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
            "<AllowedHeader>*-*</AllowedHeader>",
            "InvalidRequest",
        ),
        (
            "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
            "<ExposeHeader>x-*</ExposeHeader>",
            "InvalidRequest",
        ),
        (
            "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
            "<ExposeHeader>x&#10;y</ExposeHeader>",
            "MalformedXML",
        ),
        (
            "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
            "<MaxAgeSeconds>-1</MaxAgeSeconds>",
            "MalformedXML",
        ),
        (
            "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><Other/>",
            "MalformedXML",
        ),
    ],
)
def test_refused_documents(raw: Raw, bucket: str, rule: str, code: str) -> None:
    body = f"<CORSConfiguration><CORSRule>{rule}</CORSRule></CORSConfiguration>".encode()
    answer = raw("PUT", f"/{bucket}", "cors", {}, body)
    assert (answer.status, answer.code) == (400, code)
    assert raw("GET", f"/{bucket}", "cors").code == "NoSuchCORSConfiguration"


def test_a_hundred_rules() -> None:
    rule = "<CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>"
    rules = parse_rules(f"<CORSConfiguration>{rule * 100}</CORSConfiguration>".encode())
    assert parse_rules(rules_document(rules)) == rules
    with pytest.raises(S3Error) as refused:
        parse_rules(f"<CORSConfiguration>{rule * 101}</CORSConfiguration>".encode())
    assert refused.value.code == "InvalidRequest"


@pytest.mark.parametrize(
    ("pattern", "origin", "matches"),
    [
        ("http://a", "http://a", True),
        ("http://a", "http://A", False),
        ("*suffix", "suffix", True),
        ("*suffix", "suffix.x", False),
        ("start*end", "startend", True),
        ("start*end", "start1end", True),
        ("start*end", "0start1end", False),
        ("aa*aa", "aaa", False),
        ("prefix*", "prefix.x", True),
        ("prefix*", "a.prefix", False),
    ],
)
def test_wildcards(pattern: str, origin: str, matches: bool) -> None:
    rules = parse_rules(
        f"<CORSConfiguration><CORSRule><AllowedOrigin>{pattern}</AllowedOrigin>"
        "<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>".encode()
    )
    assert (find_rule(rules, origin, "GET") is not None) == matches
