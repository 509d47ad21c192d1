"""Websites: the documents, and the endpoint as a browser sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from botocore.exceptions import ClientError

from holdfast.config import ConfigError, load
from holdfast.s3.errors import S3Error
from holdfast.s3.website import parse_website, website_document
from holdfast.testing.server import Server

from .conftest import make_client
from .raw import Answer, Raw

DOMAIN = "web.example.test"
BUCKET = "site"


@pytest.fixture(scope="module")
def site_server() -> Iterator[Server]:
    with Server(domain=("s3.web.example.test",), website_domain=(DOMAIN,)) as server:
        yield server


@pytest.fixture(scope="module")
def web(site_server: Server) -> Iterator[Any]:
    with closing(make_client(site_server)) as client:
        client.create_bucket(Bucket=BUCKET)
        allow_everybody(client, BUCKET, "s3:GetObject", "/*")
        for key, body in (
            ("index.html", "home"),
            ("docs/index.html", "docs"),
            ("docs/a.html", "a"),
            ("error.html", "sorry"),
            ("größe.html", "big"),
        ):
            client.put_object(Bucket=BUCKET, Key=key, Body=body.encode(), ContentType="text/html")
        client.put_object(
            Bucket=BUCKET, Key="moved", Body=b"", WebsiteRedirectLocation="/docs/a.html"
        )
        yield client


def allow_everybody(client: Any, bucket: str, action: str, below: str) -> None:
    client.delete_public_access_block(Bucket=bucket)
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": action,
        "Resource": f"arn:aws:s3:::{bucket}{below}",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


class Browser:
    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    def __call__(
        self,
        path: str,
        method: str = "GET",
        query: str = "",
        headers: dict[str, str] | None = None,
        bucket: str = BUCKET,
    ) -> Answer:
        host = {"host": f"{bucket}.{DOMAIN}:1", **(headers or {})}
        return self.raw.send(method, path, query, host)


@pytest.fixture(scope="module")
def browser(site_server: Server) -> Iterator[Browser]:
    with Raw(site_server) as raw:
        yield Browser(raw)


@pytest.fixture
def configured(web: Any) -> Any:
    def configure(**more: Any) -> None:
        web.put_bucket_website(
            Bucket=BUCKET,
            WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}, **more},
        )

    configure()
    return configure


def test_index_documents(browser: Browser, configured: Any) -> None:
    for path, body in (
        ("/", b"home"),
        ("/index.html", b"home"),
        ("/docs/", b"docs"),
        ("/docs/a.html", b"a"),
        ("/gr%C3%B6%C3%9Fe.html", b"big"),
    ):
        answer = browser(path, query="a=b&acl")
        assert (answer.status, answer.body) == (200, body), path
        assert answer.headers["content-type"] == "text/html"
        assert answer.headers["x-amz-request-id"]
        head = browser(path, "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(body))


def test_conditions_and_ranges(browser: Browser, configured: Any) -> None:
    etag = browser("/").headers["etag"]
    assert browser("/", headers={"if-none-match": etag}).status == 304
    answer = browser("/", headers={"range": "bytes=1-2"})
    assert (answer.status, answer.body) == (206, b"om")


def test_redirects_of_objects_and_folders(browser: Browser, configured: Any) -> None:
    answer = browser("/moved")
    assert (answer.status, answer.headers["location"], answer.body) == (301, "/docs/a.html", b"")
    answer = browser("/docs")
    assert (answer.status, answer.headers["location"]) == (302, "/docs/")


def test_errors_are_pages(browser: Browser, web: Any, configured: Any) -> None:
    # who may not list learns nothing of what is not there
    answer = browser("/missing<b>")
    assert answer.status == 403
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["x-amz-error-code"] == "AccessDenied"
    assert b"<h1>403 Forbidden</h1>" in answer.body
    assert b"<b>" not in answer.body
    assert browser("/missing", "HEAD").body == b""
    answer = browser("/", bucket="no-such-bucket")
    assert (answer.status, answer.headers["x-amz-error-code"]) == (404, "NoSuchBucket")
    web.create_bucket(Bucket="no-site")
    answer = browser("/", bucket="no-site")
    assert answer.headers["x-amz-error-code"] == "NoSuchWebsiteConfiguration"
    for method in ("PUT", "POST", "DELETE"):
        answer = browser("/index.html", method, headers={"content-length": "0"})
        assert (answer.status, answer.headers["x-amz-error-code"]) == (405, "MethodNotAllowed")
    assert browser("/").body == b"home"


def test_a_signature_opens_nothing(browser: Browser, web: Any) -> None:
    """The endpoint knows nobody: what not everybody may read, it does not serve."""
    web.create_bucket(Bucket="closed")
    web.put_object(Bucket="closed", Key="index.html", Body=b"secret")
    web.put_bucket_website(
        Bucket="closed", WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}}
    )
    raw = browser.raw
    signed = raw.sign("GET", "/", headers={"host": f"closed.{DOMAIN}"})
    assert raw.send("GET", "/", "", signed).status == 403
    assert browser("/", bucket="closed").status == 403


def test_error_document(browser: Browser, web: Any, configured: Any) -> None:
    configured(ErrorDocument={"Key": "error.html"})
    answer = browser("/missing", headers={"range": "bytes=0-1", "if-none-match": "*"})
    assert (answer.status, answer.body) == (403, b"sorry")
    assert answer.headers["content-type"] == "text/html"
    assert "etag" not in answer.headers
    configured(ErrorDocument={"Key": "absent.html"})
    answer = browser("/missing")
    assert answer.status == 403
    assert b"Custom Error Document" in answer.body


def test_redirect_all(browser: Browser, web: Any) -> None:
    everything = {"HostName": "other.example", "Protocol": "https"}
    web.put_bucket_website(
        Bucket=BUCKET, WebsiteConfiguration={"RedirectAllRequestsTo": everything}
    )
    assert web.get_bucket_website(Bucket=BUCKET)["RedirectAllRequestsTo"] == everything
    answer = browser("/a%20b/c", query="x=1")
    assert answer.status == 301
    assert answer.headers["location"] == "https://other.example/a%20b/c?x=1"


def test_routing_rules(browser: Browser, configured: Any, web: Any) -> None:
    rules = [
        {
            "Condition": {"KeyPrefixEquals": "old/"},
            "Redirect": {"ReplaceKeyPrefixWith": "docs/", "HttpRedirectCode": "302"},
        },
        {
            "Condition": {"KeyPrefixEquals": "exact"},
            "Redirect": {
                "ReplaceKeyWith": "index.html",
                "HostName": "other.example",
                "Protocol": "https",
                "HttpRedirectCode": "301",
            },
        },
        {
            "Condition": {"HttpErrorCodeReturnedEquals": "403", "KeyPrefixEquals": "gone/"},
            "Redirect": {"ReplaceKeyPrefixWith": "", "HttpRedirectCode": "307"},
        },
    ]
    configured(RoutingRules=rules)
    assert web.get_bucket_website(Bucket=BUCKET)["RoutingRules"] == rules
    for path, status, location in (
        ("/old/a.html", 302, f"http://{BUCKET}.{DOMAIN}:1/docs/a.html"),
        ("/exact/more", 301, "https://other.example/index.html"),
        ("/gone/%C3%BC", 307, f"http://{BUCKET}.{DOMAIN}:1/%C3%BC"),
    ):
        answer = browser(path)
        assert (answer.status, answer.headers.get("location")) == (status, location), path
    assert browser("/docs/a.html").body == b"a"
    assert browser("/other").status == 403


def test_cors(browser: Browser, configured: Any, web: Any) -> None:
    web.put_bucket_cors(
        Bucket=BUCKET,
        CORSConfiguration={"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]},
    )
    answer = browser("/", headers={"origin": "http://a"})
    assert answer.headers["access-control-allow-origin"] == "*"
    asked = {"origin": "http://a", "access-control-request-method": "GET"}
    assert browser("/x", "OPTIONS", headers=asked).status == 200


def test_which_endpoint_a_host_means(site_server: Server, web: Any, configured: Any) -> None:
    with Raw(site_server) as raw:
        for host in (raw.host, f"{BUCKET}.s3.{DOMAIN}", DOMAIN):
            answer = raw.send("GET", "/missing", "", {"host": host})
            assert answer.headers["content-type"] == "application/xml", host


def test_documents(web: Any) -> None:
    web.create_bucket(Bucket="documents")
    with pytest.raises(ClientError) as missing:
        web.get_bucket_website(Bucket="documents")
    assert missing.value.response["Error"]["Code"] == "NoSuchWebsiteConfiguration"
    whole = {
        "IndexDocument": {"Suffix": "i"},
        "ErrorDocument": {"Key": "e/e"},
        "RoutingRules": [{"Redirect": {"HostName": "h", "HttpRedirectCode": "308"}}],
    }
    web.put_bucket_website(Bucket="documents", WebsiteConfiguration=whole)
    answer = web.get_bucket_website(Bucket="documents")
    del answer["ResponseMetadata"]
    assert answer == whole
    web.delete_bucket_website(Bucket="documents")
    with pytest.raises(ClientError):
        web.get_bucket_website(Bucket="documents")


INDEX = "<IndexDocument><Suffix>i</Suffix></IndexDocument>"
ALL = "<RedirectAllRequestsTo><HostName>h</HostName></RedirectAllRequestsTo>"


def rules(inner: str) -> str:
    return f"{INDEX}<RoutingRules><RoutingRule>{inner}</RoutingRule></RoutingRules>"


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ("", "InvalidArgument"),
        ("<IndexDocument><Suffix></Suffix></IndexDocument>", "InvalidArgument"),
        ("<IndexDocument><Suffix>a/b</Suffix></IndexDocument>", "InvalidArgument"),
        (f"{INDEX}<ErrorDocument><Key/></ErrorDocument>", "InvalidArgument"),
        (f"{INDEX}<Other/>", "MalformedXML"),
        (f"{INDEX}{INDEX}", "MalformedXML"),
        (f"{INDEX}{ALL}", "InvalidRequest"),
        ("<RedirectAllRequestsTo/>", "MalformedXML"),
        (ALL.replace(">h<", ">h&#10;x: y<"), "MalformedXML"),
        (ALL.replace("</HostName>", "</HostName><Protocol>ftp</Protocol>"), "InvalidRequest"),
        (rules(""), "MalformedXML"),
        (rules("<Redirect/>"), "MalformedXML"),
        (rules("<Condition/><Redirect><HostName>h</HostName></Redirect>"), "InvalidRequest"),
        (rules("<Redirect><HttpRedirectCode>300</HttpRedirectCode></Redirect>"), "InvalidRequest"),
        (rules("<Redirect><HttpRedirectCode>200</HttpRedirectCode></Redirect>"), "InvalidRequest"),
        (
            rules(
                "<Redirect><ReplaceKeyWith>a</ReplaceKeyWith>"
                "<ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith></Redirect>"
            ),
            "InvalidRequest",
        ),
        (
            rules(
                "<Condition><HttpErrorCodeReturnedEquals>200</HttpErrorCodeReturnedEquals>"
                "</Condition><Redirect><HostName>h</HostName></Redirect>"
            ),
            "InvalidRequest",
        ),
    ],
)
def test_refused_documents(inner: str, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        parse_website(f"<WebsiteConfiguration>{inner}</WebsiteConfiguration>".encode())
    assert refused.value.code == code


def test_fifty_rules() -> None:
    rule = "<RoutingRule><Redirect><HostName>h</HostName></Redirect></RoutingRule>"
    body = "<WebsiteConfiguration>{}<RoutingRules>{}</RoutingRules></WebsiteConfiguration>"
    site = parse_website(body.format(INDEX, rule * 50).encode())
    assert parse_website(website_document(site)) == site
    with pytest.raises(S3Error):
        parse_website(body.format(INDEX, rule * 51).encode())


def test_a_domain_is_for_one_thing() -> None:
    with pytest.raises(ConfigError):
        load({"domain": ("a.b",), "website_domain": ("a.b",)}, environ={})
