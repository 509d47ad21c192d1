"""Buckets: names, making and removing them, location, and the pages of ListBuckets."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from botocore.exceptions import ClientError

from holdfast.testing.server import Server

from .conftest import make_client
from .raw import Raw

CONFIGURATION = (
    '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{}'
    "</CreateBucketConfiguration>"
)


@pytest.mark.parametrize("name", ["abc", "a-b", "a.b.c", "0-9", "a" * 63, "1.2.3.4.5", "a--b"])
def test_valid_names(raw: Raw, name: str) -> None:
    answer = raw("PUT", f"/{name}")
    assert (answer.status, answer.headers["location"]) == (200, f"/{name}")
    assert raw("DELETE", f"/{name}").status == 204


@pytest.mark.parametrize(
    "name",
    [
        "ab",
        "a" * 64,
        "Abc",
        "a_b",
        "-ab",
        "ab-",
        ".ab",
        "ab.",
        "a..b",
        "192.168.5.4",
        "xn--abc",
        "sthree-abc",
        "amzn-s3-demo-abc",
        "abc-s3alias",
        "abc--ol-s3",
        "abc.mrap",
        "abc--x-s3",
        "abc--table-s3",
        "a%20b",
        "%C3%A4bc",
        "abc%0A",
        "abc%00",
    ],
)
def test_invalid_names(raw: Raw, name: str) -> None:
    answer = raw("PUT", f"/{name}")
    assert (answer.status, answer.code) == (400, "InvalidBucketName")
    assert raw("GET", f"/{name}").code in ("NoSuchBucket", "InvalidBucketName")


def test_creating_it_twice_answers_as_aws_does_in_us_east_1(raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/kept", body=b"kept")
    assert raw("PUT", f"/{bucket}").status == 200
    assert raw("GET", f"/{bucket}/kept").body == b"kept"


def test_another_region() -> None:
    with Server(region="eu-central-1") as server, closing(make_client(server)) as s3:
        constraint = {"LocationConstraint": "eu-central-1"}
        s3.create_bucket(Bucket="here", CreateBucketConfiguration=constraint)
        with pytest.raises(ClientError, match="BucketAlreadyOwnedByYou"):
            s3.create_bucket(Bucket="here", CreateBucketConfiguration=constraint)
        assert s3.get_bucket_location(Bucket="here")["LocationConstraint"] == "eu-central-1"
        assert s3.head_bucket(Bucket="here")["BucketRegion"] == "eu-central-1"
        with pytest.raises(ClientError, match="IllegalLocationConstraintException"):
            s3.create_bucket(
                Bucket="there", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
            )
        assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["here"]


def test_location_of_us_east_1_is_empty(raw: Raw, bucket: str) -> None:
    answer = raw("GET", f"/{bucket}", "location")
    assert (answer.status, answer.xml.tag, answer.xml.text) == (200, "LocationConstraint", None)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 200, ""),
        (CONFIGURATION.format(""), 200, ""),
        (CONFIGURATION.format("<LocationConstraint>us-east-1</LocationConstraint>"), 200, ""),
        (
            CONFIGURATION.format("<LocationConstraint>eu-west-1</LocationConstraint>"),
            400,
            "IllegalLocationConstraintException",
        ),
        (CONFIGURATION.format("<Tags><Tag/></Tags>"), 501, "NotImplemented"),
        (CONFIGURATION.format("<Bucket><Type>Directory</Type></Bucket>"), 501, "NotImplemented"),
        ("<CreateBucketConfiguration>", 400, "MalformedXML"),
        ("<SomethingElse/>", 400, "MalformedXML"),
        (
            '<!DOCTYPE a [<!ENTITY x "y">]>'
            + CONFIGURATION.format("<LocationConstraint>&x;</LocationConstraint>"),
            400,
            "MalformedXML",
        ),
    ],
)
def test_configuration(raw: Raw, body: str, status: int, code: str) -> None:
    answer = raw("PUT", "/configured", body=body.encode())
    assert (answer.status, answer.code) == (status, code)
    assert raw("DELETE", "/configured").status == (204 if status == 200 else 404)


def test_a_missing_bucket(raw: Raw) -> None:
    for method, path, query in (
        ("GET", "/missing", ""),
        ("GET", "/missing", "list-type=2"),
        ("GET", "/missing", "location"),
        ("DELETE", "/missing", ""),
        ("GET", "/missing/key", ""),
        ("PUT", "/missing/key", ""),
        ("DELETE", "/missing/key", ""),
        ("POST", "/missing/key", "uploads"),
    ):
        answer = raw(method, path, query)
        assert (answer.status, answer.code) == (404, "NoSuchBucket"), (method, path, query)
        assert answer.text("BucketName") == "missing"
    head = raw("HEAD", "/missing")
    assert (head.status, head.body) == (404, b"")


def test_head_bucket(raw: Raw, bucket: str) -> None:
    answer = raw("HEAD", f"/{bucket}")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["x-amz-bucket-region"] == "us-east-1"


def test_expected_bucket_owner(raw: Raw, bucket: str) -> None:
    owner = raw("GET", "/").text("Owner/ID")
    assert len(owner) == 64
    assert raw("HEAD", f"/{bucket}", headers={"x-amz-expected-bucket-owner": owner}).status == 200
    other = {"x-amz-expected-bucket-owner": "0" * 64}
    assert raw("HEAD", f"/{bucket}", headers=other).status == 403
    assert raw("PUT", f"/{bucket}/k", headers=other, body=b"x").code == "AccessDenied"
    assert raw("GET", f"/{bucket}/k").code == "NoSuchKey"
    assert raw("DELETE", f"/{bucket}", headers=other).code == "AccessDenied"
    assert raw("HEAD", f"/{bucket}").status == 200


def test_only_an_empty_bucket_goes(s3: Any, raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/k", body=b"x")
    answer = raw("DELETE", f"/{bucket}")
    assert (answer.status, answer.code) == (409, "BucketNotEmpty")
    assert raw("GET", f"/{bucket}/k").body == b"x"
    raw("DELETE", f"/{bucket}/k")
    assert raw("DELETE", f"/{bucket}").status == 204
    assert raw("GET", f"/{bucket}").code == "NoSuchBucket"
    assert bucket not in [b["Name"] for b in s3.list_buckets()["Buckets"]]


def test_a_bucket_made_anew_shares_nothing(raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/k", body=b"x" * 100_000)
    raw("DELETE", f"/{bucket}/k")
    raw("DELETE", f"/{bucket}")
    assert raw("PUT", f"/{bucket}").status == 200
    assert raw("GET", f"/{bucket}/k").code == "NoSuchKey"
    assert raw("GET", f"/{bucket}").texts("Contents/Key") == []


def test_list_buckets_pages(s3: Any, raw: Raw, new_bucket: Callable[[], str]) -> None:
    names = sorted(f"paged-{n}" for n in range(7))
    for name in [*names, "other-paged"]:
        s3.create_bucket(Bucket=name)
    found: list[str] = []
    pages = 0
    for page in s3.get_paginator("list_buckets").paginate(
        Prefix="paged-", PaginationConfig={"PageSize": 3}
    ):
        pages += 1
        found += [b["Name"] for b in page["Buckets"]]
        assert page["Prefix"] == "paged-"
        assert all(b["BucketRegion"] == "us-east-1" for b in page["Buckets"])
    assert (found, pages) == (names, 3)
    assert raw("GET", "/", "prefix=paged-&bucket-region=eu-west-1").texts("Buckets/Bucket") == []
    full = raw("GET", "/", "prefix=paged-&max-buckets=7")
    assert (len(full.texts("Buckets/Bucket/Name")), full.text("ContinuationToken")) == (7, "")
    # a client that asks for no page gets everything, in order, with the owner
    everything = raw("GET", "/")
    all_names = everything.texts("Buckets/Bucket/Name")
    assert all_names == sorted(all_names)
    assert set(names) <= set(all_names)
    assert len(everything.text("Owner/ID")) == 64


@pytest.mark.parametrize(
    "query",
    [
        "max-buckets=0",
        "max-buckets=10001",
        "max-buckets=-1",
        "max-buckets=x",
        "max-buckets=" + "9" * 5000,
        "max-buckets=0000000019999",  # leading zeros must not get past the limit
        "max-buckets=%C2%B2",
        "continuation-token=%21%21",
    ],
)
def test_list_buckets_refuses(raw: Raw, query: str) -> None:
    answer = raw("GET", "/", query)
    assert (answer.status, answer.code) == (400, "InvalidArgument")
