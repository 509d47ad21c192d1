"""Every refusal: S3's code, its message and its extra elements; and what must not be refused."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from holdfast.auth import canonical, sigv4
from holdfast.auth.identity import AuthError, Credential, PayloadKind
from holdfast.auth.presign import presign_url, sign_headers

from .support import AMZ_DATE, CREDENTIAL, EMPTY, NOW, REGION, SCOPE, verify

HOST = "localhost:9000"
PATH = "/bucket/key"
URL = f"http://{HOST}{PATH}"
SIGNER = {
    "access_key": CREDENTIAL.access_key,
    "secret_key": CREDENTIAL.secret_key,
    "region": REGION,
}


def signed(
    headers: dict[str, str] | None = None,
    *,
    query: str = "",
    payload: str = EMPTY,
    now: float = NOW,
    **changed: str,
) -> dict[str, str]:
    signer = {**SIGNER, **changed}
    given = {"host": HOST, **(headers or {})}
    return sign_headers("GET", PATH, query, given, payload=payload, now=now, **signer)


def presigned(
    headers: dict[str, str] | None = None, expires_seconds: int = 60, **changed: str
) -> str:
    """The query of a presigned URL."""
    url = presign_url(
        "GET",
        URL,
        now=NOW,
        expires_seconds=expires_seconds,
        headers=headers,
        **{**SIGNER, **changed},
    )
    return urlsplit(url).query


def refusal(
    headers: dict[str, str], query: str = "", now: float = NOW, path: str = PATH
) -> AuthError:
    with pytest.raises(AuthError) as refused:
        verify("GET", path, query, headers, now)
    return refused.value


# --- the header ------------------------------------------------------------------------------

CREDENTIAL_TEXT = f"{CREDENTIAL.access_key}/{SCOPE}"
MALFORMED = "AuthorizationHeaderMalformed"
START = "The authorization header is malformed; "
V4 = "AWS4-HMAC-SHA256"
REST = f"SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={'0' * 64}"

# authorization, code, message
HEADERS: list[tuple[str, str, str]] = [
    ("AWS AKID:frJIUN8DYpKDtOLCwo//yllqDzg=", "InvalidRequest", sigv4._USE_SIGV4),
    (f"AWS4-ECDSA-P256-SHA256 Credential=x, {REST}", "NotImplemented", sigv4._NO_SIGV4A),
    ("Bearer secret", "InvalidArgument", "Unsupported Authorization Type"),
    ("Basic YTpi", "InvalidArgument", "Unsupported Authorization Type"),
    (
        "nonsense",
        "InvalidArgument",
        "Authorization header is invalid -- one and only one ' ' (space) required.",
    ),
    (
        "",
        "InvalidArgument",
        "Authorization header is invalid -- one and only one ' ' (space) required.",
    ),
    (f"{V4} Credential={CREDENTIAL_TEXT}", MALFORMED, START + "missing Signature."),
    (f"{V4} {REST}", MALFORMED, START + "missing Credential."),
    (
        f"{V4} Credential={CREDENTIAL_TEXT}, Signature=0",
        MALFORMED,
        START + "missing SignedHeaders.",
    ),
    (
        f"{V4} Credential={CREDENTIAL_TEXT}, Extra=1, {REST}",
        MALFORMED,
        START + "the authorization header requires three components: "
        "Credential, SignedHeaders, and Signature.",
    ),
    (f"{V4} Credential=AKID, {REST}", MALFORMED, START + sigv4._BAD_CREDENTIAL),
    (f"{V4} Credential=/{SCOPE}, {REST}", MALFORMED, START + sigv4._BAD_CREDENTIAL),
    (f"{V4} Credential=A/B/{SCOPE}, {REST}", MALFORMED, START + sigv4._BAD_CREDENTIAL),
    (
        f"{V4} Credential=A/2013-5-4/us-east-1/s3/aws4_request, {REST}",
        MALFORMED,
        START + 'incorrect date format "2013-5-4". '
        'This date in the credential must be in the format "yyyyMMdd".',
    ),
    (
        f"{V4} Credential=A/20130524/us-east-1/ec2/aws4_request, {REST}",
        MALFORMED,
        START + 'incorrect service "ec2". This endpoint belongs to "s3".',
    ),
    (
        f"{V4} Credential=A/20130524/us-east-1/s3/aws5, {REST}",
        MALFORMED,
        START + 'incorrect terminal "aws5". This endpoint uses "aws4_request".',
    ),
    (
        f"{V4} Credential=A/20130523/us-east-1/s3/aws4_request, {REST}",
        MALFORMED,
        START + "Invalid credential date. Date is not the same as X-Amz-Date.",
    ),
    (
        f"{V4} Credential={CREDENTIAL_TEXT}, SignedHeaders=Host, Signature=0",
        MALFORMED,
        START + "SignedHeaders must be lower-case names, sorted, each of them once.",
    ),
    (
        f"{V4} Credential={CREDENTIAL_TEXT}, SignedHeaders=x-amz-date;host, Signature=0",
        MALFORMED,
        START + "SignedHeaders must be lower-case names, sorted, each of them once.",
    ),
]


@pytest.mark.parametrize(("authorization", "code", "message"), HEADERS)
def test_malformed_header(authorization: str, code: str, message: str) -> None:
    error = refusal({**signed(), "authorization": authorization})
    assert (error.code, error.message) == (code, message)
    if code == "InvalidArgument":  # never the secret of another scheme
        assert error.fields == {
            "ArgumentName": "Authorization",
            "ArgumentValue": authorization.split(" ")[0],
        }


def test_wrong_region_names_the_right_one() -> None:
    error = refusal(signed(region="eu-west-1"))
    assert (error.code, error.fields) == (MALFORMED, {"Region": REGION})
    assert error.message == START + "the region 'eu-west-1' is wrong; expecting 'us-east-1'"


def test_unknown_access_key() -> None:
    error = refusal(signed(access_key="NOBODY"))
    assert (error.code, error.fields) == ("InvalidAccessKeyId", {"AWSAccessKeyId": "NOBODY"})


def test_wrong_secret_says_what_was_signed() -> None:
    error = refusal(signed({"x-amz-meta-a": "\u00c3\u00a4"}, secret_key="guess"))
    assert error.code == "SignatureDoesNotMatch"
    fields = error.fields
    assert set(fields) == {
        "AWSAccessKeyId",
        "StringToSign",
        "SignatureProvided",
        "StringToSignBytes",
        "CanonicalRequest",
        "CanonicalRequestBytes",
    }
    assert bytes.fromhex(fields["StringToSignBytes"]).decode() == fields["StringToSign"]
    assert bytes.fromhex(fields["CanonicalRequestBytes"]).decode() == fields["CanonicalRequest"]
    assert "x-amz-meta-a:ä\n" in fields["CanonicalRequest"]
    assert CREDENTIAL.secret_key not in str(fields)


@pytest.mark.parametrize("signature", ["", "0" * 64, "é" * 64, "F" * 64, "0" * 10_000])
def test_signature_of_any_shape_is_refused(signature: str) -> None:
    headers = signed()
    prefix = headers["authorization"].rpartition("=")[0]
    headers["authorization"] = f"{prefix}={signature}"
    assert refusal(headers).code == "SignatureDoesNotMatch"


def test_upper_case_signature_is_refused() -> None:
    headers = signed()
    prefix, _, signature = headers["authorization"].rpartition("=")
    headers["authorization"] = f"{prefix}={signature.upper()}"
    assert refusal(headers).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("skew", [-900, 900])
def test_skew_of_fifteen_minutes_is_allowed(skew: int) -> None:
    noon = NOW + 12 * 3600
    assert verify("GET", PATH, "", signed(now=noon), noon + skew).credential is CREDENTIAL


@pytest.mark.parametrize("skew", [-901, 901])
def test_more_skew_is_refused(skew: int) -> None:
    noon = NOW + 12 * 3600
    error = refusal(signed(now=noon), now=noon + skew)
    assert error.code == "RequestTimeTooSkewed"
    assert error.fields == {
        "RequestTime": "20130524T120000Z",
        "ServerTime": "2013-05-24T12:15:01Z" if skew > 0 else "2013-05-24T11:44:59Z",
        "MaxAllowedSkewMilliseconds": "900000",
    }


@pytest.mark.parametrize(
    "date", ["", "20130524T000000", "20131324T000000Z", "now", "2013", "x" * 99]
)
def test_bad_x_amz_date_does_not_fall_back_to_date(date: str) -> None:
    headers = {**signed(), "x-amz-date": date, "date": "Fri, 24 May 2013 00:00:00 GMT"}
    error = refusal(headers)
    assert error.code == "AccessDenied"
    assert error.message == "AWS authentication requires a valid Date or x-amz-date header"


def signed_by_date(date: str) -> dict[str, str]:
    """A request with no x-amz-date, signed with the time of its Date header."""
    headers = {"date": date, "host": HOST, "x-amz-content-sha256": EMPTY}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = canonical.canonical_request("GET", PATH, "", lines, names, EMPTY)
    text = canonical.string_to_sign(AMZ_DATE, SCOPE, request)
    signature = canonical.signing_key(CREDENTIAL.secret_key, "20130524", REGION).sign(text)
    headers["authorization"] = (
        f"{V4} Credential={CREDENTIAL_TEXT}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


@pytest.mark.parametrize(
    "date",
    [
        "Fri, 24 May 2013 00:00:00 GMT",
        "Fri, 24 May 2013 02:00:00 +0200",
        "Fri May 24 00:00:00 2013",
        AMZ_DATE,
    ],
)
def test_date_stands_in_for_x_amz_date(date: str) -> None:
    result = verify("GET", PATH, "", signed_by_date(date))
    assert (result.credential, result.amz_date) == (CREDENTIAL, AMZ_DATE)


@pytest.mark.parametrize("date", ["Fri, 99 May 2013", "Fri, ", "24 May 2013 00:00:00 GMT", "0"])
def test_bad_date_is_refused(date: str) -> None:
    assert refusal(signed_by_date(date)).code == "AccessDenied"


# --- headers that must be there --------------------------------------------------------------


def test_x_amz_content_sha256_is_required() -> None:
    headers = signed()
    del headers["x-amz-content-sha256"]
    error = refusal(headers)
    assert error.code == "InvalidRequest"
    assert error.message == "Missing required header for this request: x-amz-content-sha256"


@pytest.mark.parametrize("value", ["", "UNSIGNED", "z" * 64, EMPTY[:63], " " + EMPTY[1:], "é" * 64])
def test_bad_x_amz_content_sha256(value: str) -> None:
    for headers in (signed(payload=value), {"host": HOST, "x-amz-content-sha256": value}):
        error = refusal(headers)
        assert error.code == "InvalidArgument"
        assert error.fields["ArgumentName"] == "x-amz-content-sha256"


def test_sigv4a_payloads_are_not_implemented() -> None:
    for end in ("", "-TRAILER"):
        payload = f"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD{end}"
        assert refusal(signed(payload=payload)).code == "NotImplemented"


@pytest.mark.parametrize("kind", [kind for kind in PayloadKind if kind is not PayloadKind.SIGNED])
def test_payload_kinds(kind: PayloadKind) -> None:
    result = verify("GET", PATH, "", signed(payload=kind.value))
    assert (result.payload, result.sha256) == (kind, None)


def test_security_token_of_permanent_keys_is_refused() -> None:
    assert refusal(signed({"x-amz-security-token": "t"})).code == "InvalidToken"
    assert refusal({"host": HOST}, presigned() + "&X-Amz-Security-Token=t").code == "InvalidToken"


def test_every_x_amz_header_must_be_signed() -> None:
    headers = {**signed(), "x-amz-acl": "public-read", "x-amz-meta-a": "1", "range": "bytes=0-1"}
    error = refusal(headers)
    assert (error.code, error.fields) == (
        "AccessDenied",
        {"HeadersNotSigned": "x-amz-acl, x-amz-meta-a"},
    )
    assert error.message == "There were headers present in the request which were not signed"


def test_other_headers_need_no_signature() -> None:
    extra = {
        "content-md5": "x",
        "content-type": "y",
        "x-amzn-trace-id": "z",
        "x-forwarded-for": "1",
    }
    assert verify("GET", PATH, "", {**signed(), **extra}).credential is CREDENTIAL


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    """`headers`, signed anew with `name` left out of the signed ones but sent."""
    names = sorted(set(headers) - {name, "authorization"})
    lines = "".join(f"{each}:{headers[each]}\n" for each in names)
    listed = ";".join(names)
    payload = headers.get("x-amz-content-sha256", EMPTY)
    request = canonical.canonical_request("GET", PATH, "", lines, listed, payload)
    text = canonical.string_to_sign(AMZ_DATE, SCOPE, request)
    signature = canonical.signing_key(CREDENTIAL.secret_key, "20130524", REGION).sign(text)
    start = f"{V4} Credential={CREDENTIAL_TEXT}"
    return {
        **headers,
        "authorization": f"{start}, SignedHeaders={listed}, Signature={signature}",
    }


def test_host_must_be_signed() -> None:
    error = refusal(without(signed(), "host"))
    assert (error.code, error.fields) == ("AccessDenied", {"HeadersNotSigned": "host"})


def test_x_amz_date_must_be_signed() -> None:
    error = refusal(without(signed(), "x-amz-date"))
    assert (error.code, error.fields) == ("AccessDenied", {"HeadersNotSigned": "x-amz-date"})


def test_older_curl_does_not_sign_the_content_hash_header() -> None:
    headers = without(signed(), "x-amz-content-sha256")
    assert verify("GET", PATH, "", headers).payload is PayloadKind.SIGNED
    headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
    assert refusal(headers).code == "SignatureDoesNotMatch"


def test_whatever_is_listed_is_signed() -> None:
    extra = {"content-length": "5", "expect": "100-continue", "user-agent": "a (b)  c", "a%s": "1"}
    headers = signed(extra)
    assert verify("GET", PATH, "", headers).credential is CREDENTIAL
    assert refusal({**headers, "content-length": "6"}).code == "SignatureDoesNotMatch"
    del headers["expect"]
    assert refusal(headers).code == "SignatureDoesNotMatch"


def test_a_listed_header_that_is_missing_counts_as_empty() -> None:
    headers = signed({"content-type": ""})
    del headers["content-type"]
    assert verify("GET", PATH, "", headers).credential is CREDENTIAL


def test_spaces_in_values_are_collapsed_but_other_blanks_kept() -> None:
    headers = signed({"x-amz-meta-a": "a b \xa0 c"})
    assert verify("GET", PATH, "", {**headers, "x-amz-meta-a": " a   b \xa0  c "})
    assert refusal({**headers, "x-amz-meta-a": "a b c"}).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("value", [" a", "a ", "\ta", "a\t", "  a"])
def test_blanks_around_values_are_trimmed(value: str) -> None:
    headers = {**signed({"x-amz-meta-a": "a"}), "x-amz-meta-a": value}
    assert verify("GET", PATH, "", headers).credential is CREDENTIAL
    kept = {**signed({"x-amz-meta-a": "\xa0a"}), "x-amz-meta-a": value.replace("a", "\xa0a")}
    assert verify("GET", PATH, "", kept).credential is CREDENTIAL
    assert refusal({**kept, "x-amz-meta-a": value}).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(("before", "after"), [(", ", ","), (", ", ",   "), ("256 C", "256   C")])
def test_spaces_in_the_header_are_optional(before: str, after: str) -> None:
    headers = signed()
    headers["authorization"] = headers["authorization"].replace(before, after)
    assert verify("GET", PATH, "", headers).credential is CREDENTIAL


def test_a_changed_secret_takes_effect_at_once() -> None:
    headers = signed()
    assert verify("GET", PATH, "", headers).credential is CREDENTIAL
    renewed = CREDENTIAL._replace(secret_key="renewed")

    def lookup(access_key: str) -> Credential:
        return renewed

    with pytest.raises(AuthError) as refused:
        sigv4.authenticate("GET", PATH, "", headers, now=NOW, region=REGION, lookup=lookup)
    assert refused.value.code == "SignatureDoesNotMatch"


def test_caches_are_bounded() -> None:
    for cached in (sigv4._parse_header, sigv4._parse_query, sigv4._parse_date):
        assert cached.cache_info().maxsize == sigv4.PARSED_MAX
    assert canonical.signing_key.cache_info().maxsize == canonical.SIGNING_KEYS_MAX
    before = sigv4._parse_header.cache_info().currsize
    long_names = {f"x-amz-meta-{n:04}": "1" for n in range(200)}
    assert verify("GET", PATH, "", signed(long_names)).credential is CREDENTIAL
    assert sigv4._parse_header.cache_info().currsize == before


# --- the path and the query ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "same"),
    [
        ("/b/%C3%A4", "/b/%c3%a4"),
        ("/b/%C3%A4", "/b/\u00c3\u00a4"),
        ("/b/a%20b", "/b/a b"),
        ("/b/a~b", "/b/a%7Eb"),
        ("/b/a%2Bb", "/b/a+b"),
        ("/b//../c/.", "/b/%2F../c/%2e"),
        ("/b/100%25", "/b/100%"),
    ],
)
def test_a_path_may_be_encoded_in_other_ways(sent: str, same: str) -> None:
    headers = sign_headers("GET", sent, "", {"host": HOST}, now=NOW, payload=EMPTY, **SIGNER)
    for path in (sent, same):
        assert verify("GET", path, "", headers).credential is CREDENTIAL


@pytest.mark.parametrize("path", ["/b/c", "/b/a/../c", "/b//c/", "/b/%252Fc"])
def test_a_path_is_never_normalized(path: str) -> None:
    headers = sign_headers("GET", "/b//c", "", {"host": HOST}, now=NOW, payload=EMPTY, **SIGNER)
    assert refusal(headers, path=path).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("query", ["prefix=a%20b&acl", "acl=&prefix=a+b", "&prefix=a b&acl&&"])
def test_a_query_may_be_written_in_other_ways(query: str) -> None:
    headers = signed(query="acl&prefix=a%20b")
    assert verify("GET", PATH, query, headers).credential is CREDENTIAL


@pytest.mark.parametrize("query", ["", "acl", "acl&prefix=a%2Bb", "acl&acl&prefix=a%20b"])
def test_a_query_is_signed_whole(query: str) -> None:
    assert refusal(signed(query="acl&prefix=a%20b"), query).code == "SignatureDoesNotMatch"


# --- presigned -------------------------------------------------------------------------------


def test_presigned_with_signed_headers() -> None:
    query = presigned({"x-amz-acl": "private"})
    headers = {"host": HOST, "x-amz-acl": "private"}
    assert verify("GET", PATH, query, headers).presigned
    assert refusal({**headers, "x-amz-acl": "public-read"}, query).code == "SignatureDoesNotMatch"
    error = refusal({**headers, "x-amz-content-sha256": EMPTY}, query)
    assert error.fields == {"HeadersNotSigned": "x-amz-content-sha256"}


@pytest.mark.parametrize("where", ["query", "header", "both"])
def test_presigned_content_hash(where: str) -> None:
    payload = PayloadKind.STREAMING_UNSIGNED_TRAILER.value
    headers = {"host": HOST}
    query = f"X-Amz-Algorithm={V4}&X-Amz-Credential={CREDENTIAL_QUERY}"
    if where != "header":
        query += f"&X-Amz-Content-Sha256={payload}"
    if where != "query":
        headers["x-amz-content-sha256"] = payload
    names = ";".join(headers)
    query += f"&X-Amz-Date={AMZ_DATE}&X-Amz-Expires=60&X-Amz-SignedHeaders={names}"
    query = query.replace(";", "%3B")
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical_query = "&".join(sorted(query.split("&")))
    request = canonical.canonical_request("GET", PATH, canonical_query, lines, names, payload)
    text = canonical.string_to_sign(AMZ_DATE, SCOPE, request)
    signature = canonical.signing_key(CREDENTIAL.secret_key, "20130524", REGION).sign(text)
    query += f"&X-Amz-Signature={signature}"
    assert verify("GET", PATH, query, headers).payload.value == payload
    error = refusal({**headers, "x-amz-content-sha256": EMPTY}, query)
    assert error.code == ("SignatureDoesNotMatch" if where == "header" else "InvalidRequest")


def test_presigned_expires() -> None:
    query = presigned(expires_seconds=60)
    assert verify("GET", PATH, query, {"host": HOST}, NOW + 60).presigned
    error = refusal({"host": HOST}, query, NOW + 61)
    assert (error.code, error.message) == ("AccessDenied", "Request has expired")
    assert error.fields == {
        "X-Amz-Expires": "60",
        "Expires": "2013-05-24T00:01:00Z",
        "ServerTime": "2013-05-24T00:01:01Z",
    }


def test_presigned_in_the_future() -> None:
    assert verify("GET", PATH, presigned(), {"host": HOST}, NOW - 900).presigned
    error = refusal({"host": HOST}, presigned(), NOW - 901)
    assert (error.code, error.message) == ("AccessDenied", "Request is not valid yet")


QUERY_ERROR = "AuthorizationQueryParametersError"
PARSING = "Error parsing the X-Amz-Credential parameter; "
CREDENTIAL_QUERY = "%2F".join(
    (CREDENTIAL.access_key, "20130524", "us-east-1", "s3", "aws4_request")
)

# in the query of a good presigned URL: what to replace, by what, the answer's message
PRESIGNED: list[tuple[str, str, str]] = [
    ("X-Amz-Expires=60", "X-Amz-Expires=a", "X-Amz-Expires should be a number"),
    ("X-Amz-Expires=60", "X-Amz-Expires=1_0", "X-Amz-Expires should be a number"),
    ("X-Amz-Expires=60", "X-Amz-Expires=-1", "X-Amz-Expires must be non-negative"),
    (
        "X-Amz-Expires=60",
        "X-Amz-Expires=604801",
        "X-Amz-Expires must be less than a week (in seconds); "
        "that is, the given X-Amz-Expires must be less than 604800 seconds",
    ),
    (
        "X-Amz-Expires=60",
        "X-Amz-Expires=" + "9" * 5000,
        "X-Amz-Expires must be less than a week (in seconds); "
        "that is, the given X-Amz-Expires must be less than 604800 seconds",
    ),
    ("&X-Amz-Expires=60", "", sigv4._QUERY_REQUIRES),
    ("X-Amz-Algorithm=AWS4-HMAC-SHA256&", "", sigv4._QUERY_REQUIRES),
    ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=", sigv4._QUERY_REQUIRES),
    ("X-Amz-Signature=", "X-Amz-Signature=&x=", sigv4._QUERY_REQUIRES),
    ("HMAC-SHA256", "HMAC-SHA1", 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"'),
    (
        "X-Amz-Expires=60",
        "X-Amz-Expires=60&X-Amz-Expires=61",
        "X-Amz-Expires must not be given more than once",
    ),
    (
        "X-Amz-Date=20130524T000000Z",
        "X-Amz-Date=2013-05-24",
        "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
    ),
    (
        "X-Amz-Date=20130524T",
        "X-Amz-Date=20130525T",
        'Invalid credential date "20130524". This date is not the same as X-Amz-Date: "20130525".',
    ),
    (CREDENTIAL_QUERY, "AKID", PARSING + sigv4._BAD_CREDENTIAL),
    ("us-east-1", "eu-west-1", PARSING + "the region 'eu-west-1' is wrong; expecting 'us-east-1'"),
    ("s3%2F", "ec2%2F", PARSING + 'incorrect service "ec2". This endpoint belongs to "s3".'),
]


@pytest.mark.parametrize(("old", "new", "message"), PRESIGNED)
def test_malformed_presigned_url(old: str, new: str, message: str) -> None:
    query = presigned()
    assert old in query
    error = refusal({"host": HOST}, query.replace(old, new))
    assert (error.code, error.message) == (QUERY_ERROR, message)


def test_presigned_sigv4a_is_not_implemented() -> None:
    query = presigned().replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")
    assert refusal({"host": HOST}, query).code == "NotImplemented"


@pytest.mark.parametrize(
    "query",
    [
        "AWSAccessKeyId=A&Signature=s%3D&Expires=1",
        "%41WSAccessKeyId=A",
        "Signature=x",
    ],
)
def test_presigned_sigv2_is_refused(query: str) -> None:
    error = refusal({"host": HOST}, query)
    assert (error.code, error.message) == ("InvalidRequest", sigv4._USE_SIGV4)


def test_encoded_names_do_not_hide_a_signature() -> None:
    query = presigned().replace("X-Amz-Signature", "%58-Amz-Signature")
    assert verify("GET", PATH, query, {"host": HOST}).presigned


@pytest.mark.parametrize("extra", ["X-Amz-Signature=0", "Signature=0", "X-Amz-Algorithm=x"])
def test_only_one_mechanism(extra: str) -> None:
    error = refusal(signed(query=extra), extra)
    assert (error.code, error.message) == ("InvalidArgument", sigv4._ONE_MECHANISM)


# --- anonymous -------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "list-type=2&prefix=X-Amz-Signature", "Expires=1"])
def test_anonymous(query: str) -> None:
    result = verify("GET", PATH, query, {"host": HOST})
    assert (result.credential, result.payload) == (None, PayloadKind.UNSIGNED)


def test_anonymous_payloads() -> None:
    def payload(value: str) -> PayloadKind:
        return verify("PUT", PATH, "", {"host": HOST, "x-amz-content-sha256": value}).payload

    assert payload(EMPTY) is PayloadKind.SIGNED
    kind = PayloadKind.STREAMING_UNSIGNED_TRAILER
    assert payload(kind.value) is kind
    for kind in (PayloadKind.STREAMING_SIGNED, PayloadKind.STREAMING_SIGNED_TRAILER):
        error = refusal({"host": HOST, "x-amz-content-sha256": kind.value})
        assert error.code == "InvalidRequest"
