"""The bench's signatures: AWS's own examples, and agreement with botocore."""

from __future__ import annotations

import re

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench.sign import EMPTY_SHA256, Signer, canonical_query

_NOW = 1369353600.0  # 20130524T000000Z


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        # https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
        ([("lifecycle", "")], "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            [("prefix", "J"), ("max-keys", "2")],
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_examples_of_aws(query: list[tuple[str, str]], signature: str) -> None:
    signer = Signer(
        "examplebucket.s3.amazonaws.com",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "us-east-1",
        _NOW,
    )
    headers = signer.headers("GET", "/", canonical_query(query), EMPTY_SHA256)
    assert headers["Authorization"].endswith(f"Signature={signature}")


def test_agrees_with_botocore() -> None:
    signer = Signer("127.0.0.1:9000", "access", "secret", "eu-west-1")
    query = canonical_query([("start-after", "a/ü b+c"), ("list-type", "2")])
    headers = signer.headers("PUT", "/bucket/a%20key", query, "0" * 64)
    request = AWSRequest("PUT", f"http://127.0.0.1:9000/bucket/a%20key?{query}")
    auth = S3SigV4Auth(Credentials("access", "secret"), "s3", "eu-west-1")
    request.context["timestamp"] = headers["x-amz-date"]
    request.headers["X-Amz-Date"] = headers["x-amz-date"]
    request.headers["X-Amz-Content-SHA256"] = "0" * 64
    canonical = auth.canonical_request(request)
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    assert headers["Authorization"].endswith(f"Signature={signature}")


def test_a_head_is_a_whole_request_but_for_the_body() -> None:
    head = Signer("h:1", "access", "secret", "us-east-1").head("PUT", "/b/k", "x=1", "0" * 64, 7)
    lines = head.decode().split("\r\n")
    assert lines[0] == "PUT /b/k?x=1 HTTP/1.1"
    assert lines[-3:] == ["Content-Length: 7", "", ""]
    assert re.search(r"^Host: h:1$", head.decode().replace("\r", ""), re.MULTILINE)
