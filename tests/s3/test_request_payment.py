"""Requester Pays: others say in each request that they will be charged, or are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .raw import Raw
from .users import Nobody, User, allow, open_up, policy

PAYS = {"x-amz-request-payer": "requester"}
CHARGED = "x-amz-request-charged"


def set_payer(owner: Raw, bucket: str, payer: str) -> None:
    document = f"<RequestPaymentConfiguration><Payer>{payer}</Payer></RequestPaymentConfiguration>"
    answer = owner("PUT", f"/{bucket}", "requestPayment", body=document.encode())
    assert answer.status == 200


@pytest.fixture
def paid(alice: User, alices_buckets: Callable[[], str]) -> str:
    """A bucket of alice's, with an object `k`, open to everybody who pays."""
    bucket = alices_buckets()
    open_up(alice, bucket)
    everything = policy(allow("s3:*", bucket), allow("s3:*", f"{bucket}/*"))
    assert alice("PUT", f"/{bucket}", "policy", body=everything).status == 204
    set_payer(alice, bucket, "Requester")
    return bucket


#: method, what follows the bucket, query, body, status
REQUESTS = [
    ("GET", "/k", "", b"", 200),
    ("HEAD", "/k", "", b"", 200),
    ("GET", "/k", "acl", b"", 200),
    ("GET", "/k", "tagging", b"", 200),
    ("PUT", "/k", "", b"new", 200),
    ("POST", "/new", "uploads", b"", 200),
    ("DELETE", "/k", "", b"", 204),
    ("GET", "", "", b"", 200),
    ("GET", "", "list-type=2", b"", 200),
    ("GET", "", "versions", b"", 200),
    ("GET", "", "uploads", b"", 200),
]


@pytest.mark.parametrize(("method", "key", "query", "body", "status"), REQUESTS)
def test_others_must_say_that_they_pay(
    alice: User, bob: User, nobody: Nobody, paid: str, method: str, key: str, query: str,
    body: bytes, status: int,
) -> None:  # fmt: skip
    path = f"/{paid}{key}"
    refused = [
        bob(method, path, query, body=body),
        bob(method, path, query, {"x-amz-request-payer": "owner"}, body),
        nobody(method, path, query, PAYS, body),
    ]
    for answer in refused:
        assert answer.status == 403
        assert method == "HEAD" or answer.code == "AccessDenied"
        assert CHARGED not in answer.headers
    assert alice("GET", f"/{paid}/k").body == b"data"
    answer = bob(method, path, query, PAYS, body)
    assert (answer.status, answer.headers[CHARGED]) == (status, "requester")


def test_the_owner_is_not_asked(alice: User, paid: str) -> None:
    for headers in ({}, PAYS):
        answer = alice("GET", f"/{paid}/k", headers=headers)
        assert answer.status == 200
        assert CHARGED not in answer.headers


def test_batches_are_refused_whole(alice: User, bob: User, paid: str) -> None:
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    answer = bob("POST", f"/{paid}", "delete", body=body)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert alice("HEAD", f"/{paid}/k").status == 200
    answer = bob("POST", f"/{paid}", "delete", PAYS, body)
    assert (answer.status, answer.headers[CHARGED]) == (200, "requester")
    assert alice("HEAD", f"/{paid}/k").status == 404


def test_the_source_of_a_copy(bob: User, paid: str) -> None:
    assert bob("PUT", f"/own-of-{paid}").status == 200
    path = f"/own-of-{paid}/copy"
    source = {"x-amz-copy-source": f"/{paid}/k"}
    answer = bob("PUT", path, headers=source)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    answer = bob("PUT", path, headers={**source, **PAYS})
    assert (answer.status, answer.headers[CHARGED]) == (200, "requester")
    answer = bob("GET", path)
    assert answer.body == b"data"
    assert CHARGED not in answer.headers


def test_presigned_urls_say_it_in_the_query(bob: User, paid: str) -> None:
    host = {"host": bob.host}
    path, query = bob.presign("GET", f"/{paid}/k")
    assert bob.send("GET", path, query, host).code == "AccessDenied"
    path, query = bob.presign("GET", f"/{paid}/k", "x-amz-request-payer=requester")
    answer = bob.send("GET", path, query, host)
    assert (answer.body, answer.headers[CHARGED]) == (b"data", "requester")


def test_paying_allows_nothing_by_itself(alice: User, bob: User, paid: str) -> None:
    assert alice("DELETE", f"/{paid}", "policy").status == 204
    answer = bob("GET", f"/{paid}/k", headers=PAYS)
    assert (answer.status, answer.code) == (403, "AccessDenied")


def test_configurations_are_not_charged(bob: User, paid: str) -> None:
    """S3 has no way to say there who pays."""
    answer = bob("GET", f"/{paid}", "requestPayment")
    assert (answer.text("Payer"), CHARGED in answer.headers) == ("Requester", False)


def test_when_the_owner_pays_again(alice: User, bob: User, paid: str) -> None:
    set_payer(alice, paid, "BucketOwner")
    for headers in ({}, PAYS):
        answer = bob("GET", f"/{paid}/k", headers=headers)
        assert answer.body == b"data"
        assert CHARGED not in answer.headers
