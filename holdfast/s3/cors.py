"""Cross-origin requests: a bucket's CORS rules, and which of them a request meets.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html: the first rule counts that matches
the origin, the method and, of a preflight, every header asked for.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.http.message import Request, Response
from holdfast.meta.contract import MetaUnavailable
from holdfast.s3 import xml
from holdfast.s3.call import Services
from holdfast.s3.documents import children, number, text
from holdfast.s3.errors import S3Error
from holdfast.s3.operation import BUCKET, OBJECT, Level
from holdfast.s3.target import Target, parse_target
from holdfast.s3.xml import element

KIND = "cors"
RULES_MAX = 100
RULE_ID_CHARS_MAX = 255
DOCUMENT_BYTES_MAX = 64 * 1024
METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
#: headers that a preflight may ask for; more than that is no browser
REQUEST_HEADERS_MAX = 100

_VARY = ("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")
_NOT_ALLOWED = (
    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of "
    "Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers "
    "are not whitelisted by the resource's CORS spec."
)


class Rule(NamedTuple):
    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()  # lower-case
    expose: tuple[str, ...] = ()
    max_age_seconds: int | None = None
    id: str = ""


def parse_rules(body: bytes) -> tuple[Rule, ...]:
    """The rules of a CORSConfiguration. Raises MalformedXML, InvalidRequest."""
    tree = xml.parse(body, "CORSConfiguration")
    rows = children(tree, frozenset(), frozenset(("CORSRule",)))["CORSRule"]
    if not rows:
        raise S3Error("MalformedXML")
    if len(rows) > RULES_MAX:
        raise S3Error(
            "InvalidRequest",
            f"The number of CORS rules should not exceed allowed limit of {RULES_MAX} rules.",
        )
    rules = []
    for row in rows:
        found = children(
            row,
            frozenset(("ID", "MaxAgeSeconds")),
            frozenset(("AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader")),
        )
        texts = {
            name: tuple((n.text or "").strip() for n in nodes) for name, nodes in found.items()
        }
        rule = Rule(
            texts["AllowedOrigin"],
            texts["AllowedMethod"],
            tuple(name.lower() for name in texts["AllowedHeader"]),
            texts["ExposeHeader"],
            number(found, "MaxAgeSeconds"),
            text(found, "ID") or "",
        )
        _check(rule)
        rules.append(rule)
    return tuple(rules)


def _check(rule: Rule) -> None:
    if not rule.origins or not rule.methods or len(rule.id) > RULE_ID_CHARS_MAX:
        raise S3Error("MalformedXML")
    for method in rule.methods:
        if method not in METHODS:
            raise S3Error(
                "InvalidRequest",
                f"Found unsupported HTTP method in CORS config. Unsupported method is {method}",
            )
    for what, values in (("AllowedOrigin", rule.origins), ("AllowedHeader", rule.headers)):
        for value in values:
            if value.count("*") > 1:
                raise S3Error(
                    "InvalidRequest", f'{what} "{value}" can not have more than one wildcard.'
                )
    for name in rule.expose:
        if "*" in name:
            raise S3Error(
                "InvalidRequest",
                f'ExposeHeader "{name}" contains wildcard. We currently do not support wildcard '
                "for ExposeHeader.",
            )
    for value in (*rule.origins, *rule.headers, *rule.expose):
        # they go into headers as they are
        if not value or not value.isascii() or not value.isprintable():
            raise S3Error("MalformedXML")


def rules_document(rules: tuple[Rule, ...]) -> bytes:
    """The answer of GetBucketCors."""
    rows = "".join(
        "<CORSRule>"
        + (element("ID", rule.id) if rule.id else "")
        + "".join(element("AllowedHeader", name) for name in rule.headers)
        + "".join(element("AllowedMethod", name) for name in rule.methods)
        + "".join(element("AllowedOrigin", name) for name in rule.origins)
        + "".join(element("ExposeHeader", name) for name in rule.expose)
        + (
            ""
            if rule.max_age_seconds is None
            else element("MaxAgeSeconds", str(rule.max_age_seconds))
        )
        + "</CORSRule>"
        for rule in rules
    )
    return xml.document("CORSConfiguration", rows)


def _matches(pattern: str, value: str) -> bool:
    """`pattern` has at most one `*`, for any run of characters."""
    start, star, end = pattern.partition("*")
    if not star:
        return value == pattern
    return len(value) >= len(start) + len(end) and value.startswith(start) and value.endswith(end)


def find_rule(
    rules: tuple[Rule, ...], origin: str, method: str, headers: tuple[str, ...] = ()
) -> tuple[Rule, str] | None:
    """(the first rule that allows the request, what Access-Control-Allow-Origin says), or None.
    `headers` are lower-case."""
    for rule in rules:
        if method not in rule.methods:
            continue
        pattern = next((p for p in rule.origins if _matches(p, origin)), None)
        if pattern is None:
            continue
        if all(any(_matches(p, name) for p in rule.headers) for name in headers):
            return rule, "*" if pattern == "*" else origin
    return None


def _headers(rule: Rule, origin: str) -> list[tuple[str, str]]:
    headers = [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Methods", ", ".join(rule.methods)),
    ]
    if rule.expose:
        headers.append(("Access-Control-Expose-Headers", ", ".join(rule.expose)))
    if rule.max_age_seconds is not None:
        headers.append(("Access-Control-Max-Age", str(rule.max_age_seconds)))
    if origin != "*":
        headers.append(("Access-Control-Allow-Credentials", "true"))
    return headers


async def _rules(services: Services, bucket_name: str) -> tuple[Rule, ...] | None:
    """None when there is no such bucket or it has no rules."""
    bucket = await services.meta.bucket(bucket_name)
    if bucket is None:
        return None
    configuration = await services.configurations.of(bucket)
    return configuration.parsed(KIND, parse_rules)


async def response_headers(
    services: Services, request: Request, bucket_name: str = ""
) -> list[tuple[str, str]]:
    """What the response to a request with Origin says besides, be it a success or an error.
    `bucket_name`: when the target does not name it."""
    try:
        if not bucket_name:
            host = request.headers.get("host", "")
            bucket_name = parse_target(request.path, request.query, host, services.domains).bucket
        rules = await _rules(services, bucket_name)
    except (S3Error, MetaUnavailable):  # the response says so itself
        return []
    if rules is None:
        return []
    headers = request.headers
    method = headers.get("access-control-request-method", request.method)
    found = find_rule(rules, headers["origin"], method)
    # also where nothing matches: a cache must not give that answer to another origin
    return [*(_headers(*found) if found else ()), _VARY]


async def preflight(services: Services, target: Target, request: Request) -> Response:
    """The answer to OPTIONS, which nobody signs. Raises BadRequest, AccessForbidden.

    https://docs.aws.amazon.com/AmazonS3/latest/API/RESTOPTIONSobject.html
    """
    headers = request.headers
    origin = headers.get("origin")
    if not origin:
        raise S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    method = headers.get("access-control-request-method")
    if method not in METHODS:
        raise S3Error("BadRequest", f"Invalid Access-Control-Request-Method: {method or 'null'}")
    if target.level not in (BUCKET, OBJECT):
        raise _forbidden(_NOT_ALLOWED, method, target.level)
    asked = _asked(headers.get("access-control-request-headers", ""))
    rules = await _rules(services, target.bucket)
    if rules is None:
        raise _forbidden("CORSResponse: CORS is not enabled for this bucket.", method, target.level)
    found = None if asked is None else find_rule(rules, origin, method, asked)
    if found is None:
        raise _forbidden(_NOT_ALLOWED, method, target.level)
    answer = _headers(*found)
    if asked:
        answer.append(("Access-Control-Allow-Headers", ", ".join(asked)))
    return Response(200, [*answer, _VARY])


def _asked(value: str) -> tuple[str, ...] | None:
    """The header names of Access-Control-Request-Headers; None when they are too many."""
    names = value.lower().split(",", REQUEST_HEADERS_MAX)
    if len(names) > REQUEST_HEADERS_MAX:
        return None
    return tuple(name.strip() for name in names if name.strip())


def _forbidden(message: str, method: str, level: Level) -> S3Error:
    return S3Error("AccessForbidden", message, Method=method, ResourceType=level.name)
