"""DeleteObjects: a batch of single deletes, each whole or not at all."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from xml.sax.saxutils import escape

import pytest

from .raw import Answer, Raw, target

BOMB = (
    '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    "<Delete><Object><Key>&c;</Key></Object></Delete>"
)
EXTERNAL = (
    '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    "<Delete><Object><Key>&x;</Key></Object></Delete>"
)


def delete(raw: Raw, bucket: str, document: str | bytes, **headers: str) -> Answer:
    body = document.encode() if isinstance(document, str) else document
    headers.setdefault("content-md5", base64.b64encode(hashlib.md5(body).digest()).decode())
    return raw("POST", f"/{bucket}", "delete", headers, body)


def request(*keys: str, quiet: bool = False) -> str:
    objects = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
    mode = "<Quiet>true</Quiet>" if quiet else ""
    return f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{mode}{objects}</Delete>'


@pytest.mark.parametrize("quiet", [False, True])
def test_a_batch(raw: Raw, bucket: str, quiet: bool) -> None:
    keys = ["a", "b/c", "d e+f", "ä", "<&>", "big", "tab\tline\n"]
    for key in keys:
        raw("PUT", target(bucket, key), body=b"x" * (100_000 if key == "big" else 1))
    raw("PUT", f"/{bucket}/kept", body=b"kept")
    named = [key for key in keys if "\t" not in key]
    answer = delete(raw, bucket, request(*named, "never there", quiet=quiet))
    assert (answer.status, answer.xml.tag) == (200, "DeleteResult")
    deleted = [] if quiet else [*named, "never there"]
    assert answer.texts("Deleted/Key") == deleted
    assert answer.texts("Error") == []
    listed = raw("GET", f"/{bucket}").texts("Contents/Key")
    assert listed == ["kept", "tab\tline\n"]


def test_boto3_with_its_defaults(s3: Any, bucket: str) -> None:
    keys = [f"k{n:04}" for n in range(1000)]
    for key in keys[:20]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    assert sorted(entry["Key"] for entry in done["Deleted"]) == keys
    assert "Errors" not in done
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_each_entry_for_itself(s3: Any, raw: Raw, bucket: str) -> None:
    etags = {key: raw("PUT", f"/{bucket}/{key}", body=b"x").headers["etag"] for key in "abcd"}
    done = s3.delete_objects(
        Bucket=bucket,
        Delete={
            "Objects": [
                {"Key": "a", "ETag": etags["a"]},
                {"Key": "b", "ETag": "0" * 32},
                {"Key": "c", "VersionId": "abc"},
                {"Key": "d", "VersionId": "null"},
                {"Key": "e", "ETag": "0" * 32},
                {"Key": "x" * 1025},
                {"Key": "b", "Size": 2},
            ]
        },
    )
    assert sorted(entry["Key"] for entry in done["Deleted"]) == ["a", "d"]
    assert sorted((entry["Key"][:3], entry["Code"]) for entry in done["Errors"]) == [
        ("b", "PreconditionFailed"),
        ("b", "PreconditionFailed"),
        ("c", "InvalidArgument"),
        ("e", "NoSuchKey"),
        ("xxx", "KeyTooLongError"),
    ]
    assert raw("GET", f"/{bucket}").texts("Contents/Key") == ["b", "c"]


@pytest.mark.parametrize("tag", ["ETag", "Size", "LastModifiedTime"])
def test_an_empty_condition_is_not_none(raw: Raw, bucket: str, tag: str) -> None:
    raw("PUT", f"/{bucket}/k", body=b"kept")
    for value in ("", '""' if tag == "ETag" else "x"):
        entry = f"<Object><Key>k</Key><{tag}>{value}</{tag}></Object>"
        answer = delete(raw, bucket, f"<Delete>{entry}</Delete>")
        assert answer.text("Error/Code") == "InvalidArgument"
    assert raw("GET", f"/{bucket}/k").body == b"kept"


def test_the_same_key_twice(raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/k", body=b"x")
    answer = delete(raw, bucket, request("k", "k"))
    assert answer.texts("Deleted/Key") == ["k", "k"]


@pytest.mark.parametrize(
    "document",
    [
        "<Delete>",
        "not xml",
        "<Delete></Delete>",
        "<Delete><Object></Object></Delete>",
        "<Delete><Object><Key></Key></Object></Delete>",
        "<Other><Object><Key>k</Key></Object></Other>",
        "<Delete><Object><Key>k</Key></Object></Delete><Delete/>",
        "<Delete><Object><Key>k&undefined;</Key></Object></Delete>",
        "<Delete><Object><Key>k&#0;</Key></Object></Delete>",
        BOMB,
        EXTERNAL,
        BOMB.replace("<!DOCTYPE", "\n\t<!DOCTYPE"),
        '<?xml version="1.0"?>' + BOMB,
        b"<Delete><Object><Key>k\xff</Key></Object></Delete>",
        BOMB.encode("utf-16"),
        "<Delete><Object><Key>k</Key></Object></Delete>".encode("utf-16"),
        b'<?xml version="1.0" encoding="utf-7"?><Delete><Object><Key>+AGs-</Key></Object></Delete>'
        b"\xff",
        request(*(f"k{n}" for n in range(1001))),
        "<a>" * 200_000,
        "<Delete>" * 100_000 + "</Delete>" * 100_000,
    ],
    ids=lambda document: ascii(document[:40]),
)
def test_what_is_not_a_batch(raw: Raw, bucket: str, document: str | bytes) -> None:
    raw("PUT", f"/{bucket}/k", body=b"kept")
    answer = delete(raw, bucket, document)
    assert (answer.status, answer.code) == (400, "MalformedXML")
    assert raw("GET", f"/{bucket}/k").body == b"kept"


def test_bounds_and_promises(raw: Raw, bucket: str) -> None:
    raw("PUT", f"/{bucket}/k", body=b"kept")
    assert raw("POST", f"/{bucket}", "delete").code == "MissingRequestBodyError"
    padded = request("k") + " " * (2 * 1024 * 1024)
    assert delete(raw, bucket, padded).code in ("EntityTooLarge", "MaxMessageLengthExceeded")
    document = request("k").encode()
    wrong = base64.b64encode(hashlib.md5(b"").digest()).decode()
    assert delete(raw, bucket, document, **{"content-md5": wrong}).code == "BadDigest"
    wrong_crc = {"x-amz-checksum-crc32": "AAAAAA=="}
    assert raw("POST", f"/{bucket}", "delete", wrong_crc, document).code == "BadDigest"
    answer = raw("POST", f"/{bucket}", "delete", body=document, payload="0" * 64)
    assert answer.code == "XAmzContentSHA256Mismatch"
    for header in ("x-amz-mfa", "if-match"):
        assert raw("POST", f"/{bucket}", "delete", {header: "true"}, document).status == 501
    assert raw("GET", f"/{bucket}/k").body == b"kept"
    assert raw("POST", "/missing-bucket", "delete", body=document).code == "NoSuchBucket"
