"""Static websites: a bucket's website configuration, and the endpoint that acts on it.

`<bucket>.<website domain>` answers GET and HEAD as a web server does: index documents, redirects,
error documents, errors in HTML. Nobody signs there, so only what anybody may read is served.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/WebsiteHosting.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

from holdfast.http.message import ClientDisconnected, FileBody, Request, Response
from holdfast.s3 import cors, xml
from holdfast.s3.call import Services
from holdfast.s3.documents import children, text
from holdfast.s3.errors import S3Error
from holdfast.s3.faults import as_s3_error
from holdfast.s3.metadata import REDIRECT_HEADER
from holdfast.s3.server_log import Seen
from holdfast.s3.target import Target, parse_target, virtual_host_bucket
from holdfast.s3.xml import element

KIND = "website"
RULES_MAX = 50
KEY_CHARS_MAX = 1024
PROTOCOLS = ("http", "https")
#: GET or HEAD of a key, as anybody: (a request of that method, bucket, key) -> the answer; raises
#: what the operation raises
Fetch = Callable[[Request, str, bytes], Awaitable[Response]]


class Redirect(NamedTuple):
    """ "" leaves the request's own; `code` is 3xx."""

    host: str = ""
    protocol: str = ""
    code: int = 301
    #: None: the key stays, or only its prefix is replaced
    key: str | None = None
    key_prefix: str | None = None


class Rule(NamedTuple):
    redirect: Redirect
    prefix: str | None = None
    status: int = 0  # of the error that it is for; 0: before anything is looked up
    has_condition: bool = False


class Website(NamedTuple):
    suffix: str = ""
    error_key: str = ""
    rules: tuple[Rule, ...] = ()
    #: redirect everything: (host, protocol)
    redirect_all: tuple[str, str] | None = None


# --- the document ----------------------------------------------------------------------------


def parse_website(body: bytes) -> Website:
    """Raises MalformedXML, InvalidRequest, InvalidArgument."""
    names = ("ErrorDocument", "IndexDocument", "RedirectAllRequestsTo", "RoutingRules")
    found = children(xml.parse(body, "WebsiteConfiguration"), frozenset(names))
    if found["RedirectAllRequestsTo"]:
        if any(found[name] for name in names if name != "RedirectAllRequestsTo"):
            raise S3Error(
                "InvalidRequest",
                "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.",
            )
        fields = children(found["RedirectAllRequestsTo"][0], frozenset(("HostName", "Protocol")))
        host = _visible(text(fields, "HostName"))
        if not host:
            raise S3Error("MalformedXML")
        return Website(redirect_all=(host, _protocol(text(fields, "Protocol"))))
    if not found["IndexDocument"]:
        raise S3Error(
            "InvalidArgument",
            "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
            ArgumentName="IndexDocument",
        )
    suffix = text(children(found["IndexDocument"][0], frozenset(("Suffix",))), "Suffix")
    if not suffix or "/" in suffix or len(suffix) > KEY_CHARS_MAX:
        raise S3Error(
            "InvalidArgument",
            "The IndexDocument Suffix is not well formed",
            ArgumentName="IndexDocument",
            ArgumentValue=suffix or "",
        )
    error_key = ""
    if found["ErrorDocument"]:
        error_key = text(children(found["ErrorDocument"][0], frozenset(("Key",))), "Key") or ""
        if not error_key or len(error_key) > KEY_CHARS_MAX:
            raise S3Error(
                "InvalidArgument",
                "The ErrorDocument Key is not well formed",
                ArgumentName="ErrorDocument",
                ArgumentValue=error_key,
            )
    rows: list[ElementTree.Element] = []
    if found["RoutingRules"]:
        rows = children(found["RoutingRules"][0], frozenset(), frozenset(("RoutingRule",)))[
            "RoutingRule"
        ]
    if len(rows) > RULES_MAX:
        raise S3Error(
            "InvalidRequest",
            f"The number of routing rules exceeds the allowed limit of {RULES_MAX} rules.",
        )
    return Website(suffix, error_key, tuple(_rule(row) for row in rows))


def _rule(row: ElementTree.Element) -> Rule:
    found = children(row, frozenset(("Condition", "Redirect")))
    if not found["Redirect"]:
        raise S3Error("MalformedXML")
    redirect = _redirect(found["Redirect"][0])
    if not found["Condition"]:
        return Rule(redirect)
    condition = children(
        found["Condition"][0], frozenset(("HttpErrorCodeReturnedEquals", "KeyPrefixEquals"))
    )
    prefix, code = (
        text(condition, "KeyPrefixEquals"),
        text(condition, "HttpErrorCodeReturnedEquals"),
    )
    if prefix is None and code is None:
        raise S3Error(
            "InvalidRequest",
            "Condition cannot be empty. To redirect all requests without a condition, the "
            "condition element shouldn't be present.",
        )
    if code is not None and not (len(code) == 3 and code.isdigit() and code[0] in "45"):
        raise S3Error(
            "InvalidRequest",
            f"The provided HTTP error code ({code}) is not valid. Valid codes are 4XX or 5XX.",
        )
    return Rule(redirect, prefix, int(code or 0), True)


def _redirect(node: ElementTree.Element) -> Redirect:
    names = ("HostName", "HttpRedirectCode", "Protocol", "ReplaceKeyPrefixWith", "ReplaceKeyWith")
    found = children(node, frozenset(names))
    if not any(found.values()):
        raise S3Error("MalformedXML")
    code = text(found, "HttpRedirectCode")
    if code is not None and not (
        len(code) == 3 and code.isascii() and code.isdigit() and code[0] == "3" and code != "300"
    ):
        raise S3Error(
            "InvalidRequest",
            f"The provided HTTP redirect code ({code}) is not valid. Valid codes are 3XX except "
            "300.",
        )
    key, prefix = text(found, "ReplaceKeyWith"), text(found, "ReplaceKeyPrefixWith")
    if key is not None and prefix is not None:
        raise S3Error(
            "InvalidRequest", "You can only define ReplaceKeyPrefix or ReplaceKey but not both."
        )
    return Redirect(
        _visible(text(found, "HostName")),
        _protocol(text(found, "Protocol")),
        int(code or 301),
        key,
        prefix,
    )


def _protocol(value: str | None) -> str:
    if value is not None and value not in PROTOCOLS:
        raise S3Error(
            "InvalidRequest",
            "Invalid protocol, protocol can be http or https. If not defined the protocol will be "
            "selected automatically.",
        )
    return value or ""


def _visible(host: str | None) -> str:
    """A host goes into a header as it is."""
    if host and not (host.isascii() and host.isprintable() and " " not in host):
        raise S3Error("MalformedXML")
    return host or ""


def website_document(site: Website) -> bytes:
    """The answer of GetBucketWebsite."""
    if site.redirect_all is not None:
        host, protocol = site.redirect_all
        return xml.document(
            "WebsiteConfiguration",
            f"<RedirectAllRequestsTo>{element('HostName', host)}"
            f"{element('Protocol', protocol) if protocol else ''}</RedirectAllRequestsTo>",
        )
    inner = f"<IndexDocument>{element('Suffix', site.suffix)}</IndexDocument>"
    if site.error_key:
        inner += f"<ErrorDocument>{element('Key', site.error_key)}</ErrorDocument>"
    if site.rules:
        inner += f"<RoutingRules>{''.join(map(_rule_element, site.rules))}</RoutingRules>"
    return xml.document("WebsiteConfiguration", inner)


def _rule_element(rule: Rule) -> str:
    condition = ""
    if rule.has_condition:
        status = element("HttpErrorCodeReturnedEquals", str(rule.status)) if rule.status else ""
        prefix = "" if rule.prefix is None else element("KeyPrefixEquals", rule.prefix)
        condition = f"<Condition>{prefix}{status}</Condition>"
    redirect = rule.redirect
    fields = (
        ("Protocol", redirect.protocol or None),
        ("HostName", redirect.host or None),
        ("ReplaceKeyPrefixWith", redirect.key_prefix),
        ("ReplaceKeyWith", redirect.key),
        ("HttpRedirectCode", str(redirect.code)),
    )
    inner = "".join(element(name, value) for name, value in fields if value is not None)
    return f"<RoutingRule>{condition}<Redirect>{inner}</Redirect></RoutingRule>"


# --- the endpoint ----------------------------------------------------------------------------


def website_bucket(host: str, services: Services) -> str:
    """The bucket whose website a Host names, "" for none. Where a domain of the S3 endpoint lies
    below a website domain, the longer one counts."""
    bucket = virtual_host_bucket(host, services.website_domains)
    inner = virtual_host_bucket(host, services.domains)
    return "" if inner and len(inner) < len(bucket) else bucket


async def respond(request: Request, services: Services, seen: Seen, fetch: Fetch) -> Response:
    """Answer a request to the website of `seen.bucket`."""
    try:
        target = parse_target(f"/{seen.bucket}{request.path}", "", "", ())
        seen.key = target.key
        if request.method == "OPTIONS":
            return await cors.preflight(services, target, request)
        if request.method not in ("GET", "HEAD"):
            raise S3Error(
                "MethodNotAllowed", Method=request.method.upper(), ResourceType=target.level.name
            )
        response = await _serve(request, services, target, fetch)
    except ClientDisconnected:
        raise
    except Exception as error:  # noqa: BLE001 - as in the pipeline: faults become answers
        known = as_s3_error(request, error)
        seen.error = known.code
        response = error_page(request, known)
    if "origin" in request.headers and request.method != "OPTIONS":
        response.headers += await cors.response_headers(services, request, seen.bucket)
    return response


async def _serve(request: Request, services: Services, target: Target, fetch: Fetch) -> Response:
    bucket = await services.meta.bucket(target.bucket)
    if bucket is None:
        raise S3Error("NoSuchBucket", BucketName=target.bucket)
    site = (await services.configurations.of(bucket)).parsed(KIND, parse_website)
    if site is None:
        raise S3Error("NoSuchWebsiteConfiguration", BucketName=target.bucket)
    if site.redirect_all is not None:
        host, protocol = site.redirect_all
        return _to(request, Redirect(host, protocol), request.path[1:])
    key = target.key.decode("utf-8")
    redirected = _routed(request, site, key, 0)
    if redirected is not None:
        return redirected
    wanted = key + site.suffix if not key or key.endswith("/") else key
    try:
        response = await fetch(request, bucket.name, wanted.encode())
    except S3Error as error:
        if error.status < 400:
            raise
        return await _failed(request, site, target, error, fetch)
    location = next((value for name, value in response.headers if name == REDIRECT_HEADER), "")
    if location:
        _close(response)
        return Response(301, [("Location", location)])
    return response


async def _failed(
    request: Request, site: Website, target: Target, error: S3Error, fetch: Fetch
) -> Response:
    """The key can't be served: a folder, a redirect, the error document, or what went wrong."""
    key = target.key.decode()
    if key and not key.endswith("/"):
        try:
            folder = f"{key}/{site.suffix}".encode()
            _close(await fetch(_plain(request, "HEAD"), target.bucket, folder))
        except S3Error:
            pass
        else:
            return Response(302, [("Location", f"/{quote(key)}/")])
    redirected = _routed(request, site, key, error.status)
    if redirected is not None:
        return redirected
    if not site.error_key:
        return error_page(request, error)
    try:
        page = await fetch(_plain(request), target.bucket, site.error_key.encode())
    except S3Error as missing:
        return error_page(request, error, missing)
    kept = ("etag", "accept-ranges", "content-range")
    headers = [(name, value) for name, value in page.headers if name.lower() not in kept]
    return Response(error.status, [*headers, *_error_headers(error)], page.body)


def _plain(request: Request, method: str = "") -> Request:
    """The same without its conditions and ranges, which were for another key."""
    return Request(
        method or request.method,
        request.path,
        "",
        {name: request.headers[name] for name in ("host", "referer") if name in request.headers},
        request.body,
        request.peer,
        request.secure,
        request.received_at,
        request.id,
    )


def _routed(request: Request, site: Website, key: str, status: int) -> Response | None:
    """The first rule's redirect that is for this key and status; None when none is."""
    for rule in site.rules:
        if rule.status == status and (rule.prefix is None or key.startswith(rule.prefix)):
            redirect = rule.redirect
            if redirect.key is not None:
                key = redirect.key
            elif redirect.key_prefix is not None:
                key = redirect.key_prefix + key[len(rule.prefix or "") :]
            return _to(request, redirect, quote(key, safe="/-_.~"))
    return None


def _to(request: Request, redirect: Redirect, path: str) -> Response:
    """`path` as it goes on the wire, without its first slash."""
    protocol = redirect.protocol or ("https" if request.secure else "http")
    host = redirect.host or request.headers.get("host", "")
    query = f"?{request.query}" if request.query else ""
    return Response(redirect.code, [("Location", f"{protocol}://{host}/{path}{query}")])


def _close(response: Response) -> None:
    """The body is not sent."""
    if isinstance(response.body, FileBody):
        response.body.close()


def _error_headers(error: S3Error) -> list[tuple[str, str]]:
    return [("x-amz-error-code", error.code), ("x-amz-error-message", _line(error.message))]


def _line(value: str) -> str:
    return "".join(char if 32 <= ord(char) < 127 else "?" for char in value)


def error_page(request: Request, error: S3Error, missing: S3Error | None = None) -> Response:
    """S3's error as a page. `missing`: why the error document could not be served."""
    if error.status == 304:
        return Response(304, error.headers)
    title = f"{error.status} {HTTPStatus(error.status).phrase}"
    rows = {"Code": error.code, "Message": error.message, **error.fields, "RequestId": request.id}
    items = "".join(f"<li>{escape(name)}: {escape(value)}</li>\n" for name, value in rows.items())
    more = ""
    if missing is not None:
        more = (
            "<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>\n"
            f"<ul>\n<li>Code: {missing.code}</li>\n<li>Message: {escape(missing.message)}</li>\n"
            "</ul>\n"
        )
    body = (
        f"<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n"
        f"<ul>\n{items}</ul>\n{more}<hr/>\n</body>\n</html>\n"
    )
    headers = [("Content-Type", "text/html; charset=utf-8"), *_error_headers(error)]
    return Response(error.status, [*error.headers, *headers], body.encode("utf-8", "replace"))
