"""Tag sets: what is a valid one, in XML and in x-amz-tagging."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from holdfast.s3.errors import S3Error
from holdfast.s3.tags import parse_tag_document, parse_tag_header, tag_document

from .raw import Raw


def document(*pairs: tuple[str, str]) -> bytes:
    rows = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in pairs)
    return f"<Tagging><TagSet>{rows}</TagSet></Tagging>".encode()


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"k": "v"},
        {"k": ""},
        {"b": "1", "a": "2"},
        {"+- =._:/@": "+- =._:/@"},
        {"Größe": "東京 ٣"},
        {"k" * 128: "v" * 256},
        {"\U0001d400" * 64: "\U0001d400" * 128},  # two code units each
    ],
    ids=str,
)
def test_valid(tags: dict[str, str]) -> None:
    assert parse_tag_document(tag_document(tags)) == tags
    query = "&".join(
        f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in tags.items()
    )
    assert parse_tag_header(query) == tags
    assert list(parse_tag_header(query.replace("%20", "+"))) == list(tags)


@pytest.mark.parametrize(
    ("pairs", "code"),
    [
        ([("", "v")], "InvalidTag"),
        ([("k" * 129, "v")], "InvalidTag"),
        ([("k", "v" * 257)], "InvalidTag"),
        ([("\U0001d400" * 65, "v")], "InvalidTag"),
        ([("k", "\U0001d400" * 129)], "InvalidTag"),
        ([("aws:k", "v")], "InvalidTag"),
        ([("AWS:k", "v")], "InvalidTag"),
        ([("k;", "v")], "InvalidTag"),
        ([("k", "v\t")], "InvalidTag"),
        ([(f"k{n}", "v") for n in range(11)], "InvalidTag"),
    ],
)
def test_invalid(pairs: list[tuple[str, str]], code: str) -> None:
    with pytest.raises(S3Error) as refused:
        parse_tag_document(document(*pairs))
    assert refused.value.code == code
    with pytest.raises(S3Error) as refused:
        parse_tag_header("&".join(f"{quote(key)}={quote(value)}" for key, value in pairs))
    assert refused.value.code == code


def test_a_key_counts_once() -> None:
    with pytest.raises(S3Error) as refused:
        parse_tag_document(document(("a", "1"), ("a", "2")))
    assert refused.value.code == "InvalidTag"


@pytest.mark.parametrize("text", ["a=1&a=2", "&", "a=1&", "a=%ff", "a=1&&b=2", "k=\xff"])
def test_a_malformed_header(text: str) -> None:
    with pytest.raises(S3Error) as refused:
        parse_tag_header(text)
    assert refused.value.code == "InvalidArgument"


def test_a_header_without_values() -> None:
    assert parse_tag_header("a&b=") == {"a": "", "b": ""}
    assert parse_tag_header("a=b=c") == {"a": "b=c"}


def test_a_bucket_has_fifty() -> None:
    pairs = [(f"k{n}", "v") for n in range(51)]
    assert len(parse_tag_document(document(*pairs[:50]), bucket=True)) == 50
    with pytest.raises(S3Error) as refused:
        parse_tag_document(document(*pairs), bucket=True)
    assert refused.value.code == "InvalidTag"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<Tagging/>",
        b"<TagSet/>",
        b"<Tagging><TagSet/><TagSet/></Tagging>",
        b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value><Key>b</Key></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Other><Key>a</Key><Value>1</Value></Other></TagSet></Tagging>",
    ],
)
def test_malformed_documents(body: bytes) -> None:
    with pytest.raises(S3Error) as refused:
        parse_tag_document(body)
    assert refused.value.code == "MalformedXML"


def test_bucket_tagging(s3: Any, raw: Raw, bucket: str) -> None:
    tags = [{"Key": "b", "Value": "x/y"}, {"Key": "a", "Value": ""}]
    answer = s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    # refused whole, the old ones stay
    for refused in (document(("aws:x", "1")), document(("a", "1"), ("a", "2"))):
        assert raw("PUT", f"/{bucket}", "tagging", {}, refused).code == "InvalidTag"
    too_many = document(*((f"k{n}", "v") for n in range(51)))
    assert raw("PUT", f"/{bucket}", "tagging", {}, too_many).code == "InvalidTag"
    assert raw("PUT", f"/{bucket}", "tagging").code == "MissingRequestBodyError"
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket=bucket)
    assert raw("GET", f"/{bucket}", "tagging").code == "NoSuchTagSet"


def test_a_bucket_made_anew_has_no_tags(s3: Any, bucket: str) -> None:
    tags = {"TagSet": [{"Key": "k", "Value": "v"}]}
    s3.put_bucket_tagging(Bucket=bucket, Tagging=tags)
    s3.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)
    with pytest.raises(ClientError):
        s3.get_bucket_tagging(Bucket=bucket)
