"""Presigned URLs and forms: addresses that carry a signature. Nothing is sent.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from holdfast.auth.canonical import (
    ALGORITHM,
    SERVICE,
    TERMINAL,
    amz_date_of,
    percent_encode,
    signing_key,
)
from holdfast.auth.presign import presign_url
from holdfast.client.address import PRESIGN_SECONDS_MAX, Addresser
from holdfast.client.credentials import Credentials
from holdfast.client.errors import CredentialsNotFound, InvalidRequest
from holdfast.client.models import PresignedPost


def _keys(addresser: Addresser, expires: int) -> Credentials:
    if not 1 <= expires <= PRESIGN_SECONDS_MAX:
        raise InvalidRequest(message="expires is 1 second to 7 days (604800)")
    keys = addresser.credentials()
    if keys is None:
        raise CredentialsNotFound(message="an anonymous store can't sign")
    return keys


def presign(
    addresser: Addresser,
    method: str,
    bucket: str,
    key: str,
    expires: int,
    query: list[tuple[str, str]],
    headers: Mapping[str, str],
) -> str:
    """Raises InvalidRequest, CredentialsNotFound."""
    keys = _keys(addresser, expires)
    target, path = addresser.locate(bucket, key)
    if keys.session_token:
        query = [*query, ("X-Amz-Security-Token", keys.session_token)]
    pairs = [f"{percent_encode(n.encode())}={percent_encode(v.encode())}" for n, v in query]
    url = f"{target.scheme}://{target.authority}{path}"
    return presign_url(
        method,
        f"{url}?{'&'.join(pairs)}" if pairs else url,
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        region=addresser.region_of(bucket),
        now=addresser.now(),
        expires_seconds=expires,
        headers={name.lower(): value for name, value in headers.items()},
    )


def presigned_post(
    addresser: Addresser,
    bucket: str,
    key: str,
    expires: int,
    fields: Mapping[str, str],
    conditions: Iterable[object],
    size_range: tuple[int, int] | None,
) -> PresignedPost:
    """Raises InvalidRequest, CredentialsNotFound."""
    keys = _keys(addresser, expires)
    now = addresser.now()
    amz_date, region = amz_date_of(now), addresser.region_of(bucket)
    signed = {
        "x-amz-algorithm": ALGORITHM,
        "x-amz-credential": f"{keys.access_key}/{amz_date[:8]}/{region}/{SERVICE}/{TERMINAL}",
        "x-amz-date": amz_date,
    }
    if keys.session_token:
        signed["x-amz-security-token"] = keys.session_token
    rules: list[object] = [{"bucket": bucket}, *conditions]
    if key.endswith("${filename}"):
        rules.append(["starts-with", "$key", key.removesuffix("${filename}")])
    else:
        rules.append({"key": key})
    if size_range is not None:
        rules.append(["content-length-range", *size_range])
    rules += [{name: value} for name, value in (*fields.items(), *signed.items())]
    until = datetime.fromtimestamp(now + expires, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    text = json.dumps({"expiration": until, "conditions": rules})
    policy = base64.b64encode(text.encode()).decode("ascii")
    signature = signing_key(keys.secret_key, amz_date[:8], region).sign(policy)
    target, _ = addresser.locate(bucket, "")
    virtual = target.host.startswith(f"{bucket}.")
    url = f"{target.scheme}://{target.authority}/{'' if virtual else bucket}"
    everything = {**fields, **signed, "key": key, "policy": policy, "x-amz-signature": signature}
    return PresignedPost(url, everything)
