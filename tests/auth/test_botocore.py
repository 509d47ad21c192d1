"""botocore as the second implementation: what it signs is accepted, and nothing that differs."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from unittest import mock
from urllib.parse import quote, unquote_to_bytes, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.auth import canonical
from holdfast.auth.identity import AuthError, PayloadKind

from .support import CREDENTIAL, NOW, REGION, verify

HOST = "localhost:9000"
KEYS = st.one_of(
    st.text(alphabet="ab/.~ +%&=?#-_$ä€😀'\"", min_size=1, max_size=20),
    st.sampled_from(["..", "a//b", "/", "./x", "%2F", "a%20b", "~", "*", "k=v&w", "\x7f\x01"]),
    st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=12),
)
QUERIES = st.dictionaries(
    st.text(alphabet="abz-_.", min_size=1, max_size=6),
    st.text(alphabet="ab/.~ +%&=ä€-", max_size=8),
    max_size=4,
)
METADATA = st.dictionaries(
    st.text(alphabet=string.ascii_lowercase + "-", min_size=1, max_size=6).map(
        lambda name: "x-amz-meta-" + name
    ),
    st.text(alphabet="ab  ,:;=äà€", max_size=10),
    max_size=3,
)


@pytest.fixture(autouse=True, scope="module")
def _clock() -> Iterator[None]:
    at = datetime.fromtimestamp(NOW, UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=at):
        yield


def encode_query(query: dict[str, str]) -> str:
    return "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in query.items())


def wire_headers(signed: Any) -> dict[str, str]:
    """The headers as the server sees them: lower-case, latin-1, host added."""
    headers = {"host": HOST}
    for name, value in signed.headers.items():
        headers[name.lower()] = value.encode().decode("latin-1").strip(" ")
    return headers


def sign_with_botocore(
    method: str, key: str, query: dict[str, str], headers: dict[str, str], presign: bool
) -> tuple[str, str, dict[str, str]]:
    path = "/bucket/" + quote(key, safe="/~")
    url = f"http://{HOST}{path}"
    if query:
        url += "?" + encode_query(query)
    request = AWSRequest(method=method, url=url, headers=headers, data=b"")
    credentials = Credentials(CREDENTIAL.access_key, CREDENTIAL.secret_key)
    signer = S3SigV4QueryAuth if presign else S3SigV4Auth
    signer(credentials, "s3", REGION).add_auth(request)
    parts = urlsplit(request.url)
    return path, parts.query, wire_headers(request)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["GET", "PUT", "DELETE"]), KEYS, QUERIES, METADATA, st.booleans())
def test_what_botocore_signs_is_accepted(
    method: str, key: str, query: dict[str, str], headers: dict[str, str], presign: bool
) -> None:
    path, raw_query, sent = sign_with_botocore(method, key, query, headers, presign)
    result = verify(method, path, raw_query, sent)
    assert (result.credential, result.presigned) == (CREDENTIAL, presign)
    assert result.payload is (PayloadKind.UNSIGNED if presign else PayloadKind.SIGNED)
    with pytest.raises(AuthError):
        verify("POST", path, raw_query, sent)


def header_mutations(sent: dict[str, str]) -> st.SearchStrategy[dict[str, str]]:
    def change(name: str, position: int, character: str) -> dict[str, str]:
        value = sent[name]
        position %= len(value)
        return {**sent, name: value[:position] + character + value[position + 1 :]}

    return st.builds(
        change,
        st.sampled_from([name for name in sent if sent[name]]),
        st.integers(0, 500),
        st.sampled_from("0a/ZzÿX~"),
    )


@settings(max_examples=120, deadline=None)
@given(st.data(), st.booleans())
def test_any_changed_byte_is_refused(data: st.DataObject, presign: bool) -> None:
    path, query, sent = sign_with_botocore(
        "PUT", "dir/ä b", {"partNumber": "1", "uploadId": "x"}, {"x-amz-meta-a": "1"}, presign
    )
    verify("PUT", path, query, sent)
    changed = (path, query, sent)
    while changed == (path, query, sent):
        what = data.draw(st.sampled_from(["path", "query", "header"]))
        if what == "header":
            changed = (path, query, data.draw(header_mutations(sent)))
            continue
        old = path if what == "path" else query
        at = data.draw(st.integers(0, len(old) - 1))
        new = old[:at] + data.draw(st.sampled_from("0a/Zz~&=%")) + old[at + 1 :]
        changed = (new, query, sent) if what == "path" else (path, new, sent)
        canonical_form = canonical.canonical_path if what == "path" else canonical.query_pairs
        if canonical_form(old) == canonical_form(new):
            changed = (path, query, sent)  # another way to write the same request
    with pytest.raises(AuthError):
        verify("PUT", *changed)


@given(st.text(alphabet="aZ09-._~/%2Fe3aA7 +=&", max_size=30))
def test_the_short_way_of_canonical_forms_gives_what_the_long_one_gives(text: str) -> None:
    def slow(part: str) -> str:
        return canonical.percent_encode(unquote_to_bytes(part.replace("+", " ")))

    path = "/" + text.replace("+", "-")
    expected = canonical.percent_encode(unquote_to_bytes(path), safe="/")
    assert canonical.canonical_path(path) == expected
    pairs = []
    for piece in filter(None, text.split("&")):
        name, _, value = piece.partition("=")
        pairs.append((slow(name), slow(value)))
    assert canonical.query_pairs(text) == pairs


def test_pairs_sort_by_name_before_value() -> None:
    pairs = canonical.query_pairs("a-b=1&a=2&a=1&b")
    assert canonical.canonical_query(pairs) == "a=1&a=2&a-b=1&b="
