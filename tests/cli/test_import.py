"""`import` from one server to another, both in this process: what comes over, what is said of the rest,
and what is left when answers are lost, versions can't be read or the process is killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from holdfast.cli.importing import history
from holdfast.cli.main import main
from holdfast.client import ObjectStore, TransferConfig, checksums, xml
from holdfast.testing.server import Server
from tests.serving import ROOT, wait_for

MIB = 1024 * 1024
#: of an old server: no public access block, objects with ACLs
OLD: dict[str, Any] = {
    "default_object_ownership": "ObjectWriter",
    "default_public_access_block": False,
}


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    with Server(**OLD) as source, Server() as target:
        yield source, target


class Both:
    """A store at each server, and `holdfast import` from one to the other."""

    def __init__(self, source: Server, target: Server) -> None:
        self.source_server, self.target_server = source, target
        self.source, self.target = _store(source), _store(target)

    def __call__(self, *arguments: str, status: int = 0) -> Result:
        result = CliRunner().invoke(main, ["import", "old", *arguments])
        assert result.exit_code == status, f"{result.output}\n{result.exc_info}"
        assert "Traceback" not in result.output
        return result

    def json(self, *arguments: str, status: int = 0) -> list[Any]:
        lines = self(*arguments, "--json", status=status).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def bucket(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        """The account of the one bucket."""
        (found,) = [line for line in self.json(*arguments, status=status) if _is_account(line)]
        return dict(found)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "holdfast", "import", "old", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        )

    def assert_equal(self, bucket: str) -> None:
        assert everything(self.target, bucket) == everything(self.source, bucket)


def _is_account(line: dict[str, Any]) -> bool:
    return str(line["type"]) == "bucket"


def _store(server: Server) -> ObjectStore:
    return ObjectStore.connect(
        server.endpoint,
        access_key=server.access_key,
        secret_key=server.secret_key,
        transfer=TransferConfig(5 * MIB, 5 * MIB, 3),
    )


def everything(store: ObjectStore, bucket: str) -> list[tuple[object, ...]]:
    """All that a bucket holds, in its order, but for version ids and times."""
    found: list[tuple[object, ...]] = []
    for entry in store.list_versions(bucket):
        is_null = entry.version_id == "null"
        if entry.is_delete_marker:
            found.append((entry.key, is_null, entry.is_latest, "marker"))
            continue
        with store.get_object(bucket, entry.key, version_id=entry.version_id) as stream:
            content = stream.read()
            headers = {
                name: value
                for name, value in stream.info.headers.items()
                if name not in ("date", "last-modified", "x-amz-version-id")
                and not name.startswith(("x-amz-request", "x-amz-id"))
            }
        tags = store.get_tags(bucket, entry.key, version_id=entry.version_id)
        digest = hashlib.md5(content).hexdigest()
        found.append((entry.key, is_null, entry.is_latest, entry.etag, digest, headers, tags))
    return found


@pytest.fixture
def both(
    servers: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Both]:
    for name in [n for n in os.environ if n.startswith(("AWS_", "HOLDFAST_"))]:
        monkeypatch.delenv(name)
    for name in ("config", "state", "cache"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, server in zip(("old", "default"), servers, strict=True):
        arguments = ["--endpoint", server.endpoint, "--access-key", server.access_key]
        result = CliRunner().invoke(
            main, ["profile", "add", name, *arguments, "--secret-stdin"], input=server.secret_key
        )
        assert result.exit_code == 0, result.output
    made = Both(*servers)
    yield made
    made.source.close()
    made.target.close()
    for server in servers:
        server.reset()


def put_parts(store: ObjectStore, key: str, sizes: list[int], algorithm: str = "") -> None:
    """A multipart upload of parts of these sizes."""
    headers = {"content-type": "image/png", "x-amz-tagging": "a=b", "x-amz-meta-n": "1"}
    if algorithm:
        headers["x-amz-checksum-algorithm"] = algorithm
    reply = store.request("POST", "box", key, query={"uploads": ""}, headers=headers)
    upload = xml.text(xml.parse(reply.body), "UploadId")
    inner = ""
    for number, size in enumerate(sizes, 1):
        data = os.urandom(size)
        query = {"partNumber": str(number), "uploadId": upload}
        value = checksums.checksum(algorithm, data) if algorithm else ""
        said = {checksums.header(algorithm): value} if algorithm else {}
        etag = store.request("PUT", "box", key, query=query, headers=said, body=data).headers[
            "etag"
        ]
        name = f"Checksum{algorithm}"
        inner += "<Part>" + (xml.element(name, value) if algorithm else "")
        inner += xml.element("ETag", etag) + xml.element("PartNumber", str(number)) + "</Part>"
    body = xml.document("CompleteMultipartUpload", inner)
    store.request("POST", "box", key, query={"uploadId": upload}, body=body)


def put_document(store: ObjectStore, query: str, body: str | bytes) -> None:
    data = body.encode() if isinstance(body, str) else body
    store.request("PUT", "box", query={query: ""}, body=data)


def public_policy() -> str:
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::box/*",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_all_that_objects_have_comes_over(both: Both) -> None:
    store = both.source
    store.create_bucket("box", versioning=True)
    store.put_object(
        "box",
        "a/ü %&+?",
        b"one",
        metadata={"x": "y", "u": "grüße"},
        tags={"p": "v w", "s": "ä"},
        content_type="text/plain",
        cache_control="max-age=3",
        content_disposition='inline; filename="x"',
        content_language="de",
        content_encoding="x-test",
        expires=datetime(2030, 1, 1, tzinfo=UTC),
        storage_class="STANDARD_IA",
        headers={"x-amz-website-redirect-location": "/elsewhere"},
    )
    store.put_object("box", "a/ü %&+?", b"")
    for algorithm in ("CRC32", "CRC32C", "SHA1", "SHA256"):
        body = checksums.checksum(algorithm, b"abc")
        store.request(
            "PUT", "box", algorithm, headers={checksums.header(algorithm): body}, body=b"abc"
        )
    put_parts(store, "parts", [5 * MIB, 6 * MIB, 17])
    put_parts(store, "one-part", [5])
    put_parts(store, "composite", [5 * MIB, 9], "SHA256")
    put_parts(store, "whole", [5 * MIB, 9], "CRC32C")
    store.delete_object("box", "parts")
    store.delete_object("box", "never-there")
    found = both.bucket("box")
    assert (found["versions"], found["delete_markers"], found["failed"]) == (10, 2, 0)
    assert found["notes"] == {} and not found["not_brought"]  # noqa: PT018
    both.assert_equal("box")
    again = both.bucket("box")
    assert (again["versions"], again["same"]) == (0, 12)
    assert both.json("box", "--verify", "--content")[-1]["differences"] == 0


def test_null_versions_stay_null_wherever_they_are(both: Both) -> None:
    store = both.source
    store.create_bucket("box")
    for key in ("first", "replaced", "alone"):
        store.put_object("box", key, f"null {key}")
    store.set_versioning("box", True)
    for key in ("first", "last", "middle", "marker"):
        store.put_object("box", key, "1")
        store.put_object("box", key, "2")
    store.set_versioning("box", False)
    for key in ("last", "middle", "replaced"):
        store.put_object("box", key, f"suspended {key}")
    store.delete_object("box", "marker")
    store.delete_object("box", "only-marker")
    store.set_versioning("box", True)
    store.put_object("box", "middle", "3")
    store.delete_object("box", "alone")
    both("box")
    both.assert_equal("box")
    assert both.target.get_versioning("box") == "Enabled"

    store.set_versioning("box", False)
    store.put_object("box", "last", "again")
    both("box")
    both.assert_equal("box")
    assert both.target.get_versioning("box") == "Suspended"


def test_locks_come_over(both: Both) -> None:
    store = both.source
    store.create_bucket("box", object_lock=True)
    until = datetime.now(UTC) + timedelta(days=1)
    store.put_object("box", "kept", "1", lock_mode="GOVERNANCE", retain_until=until)
    store.put_object("box", "held", "1", legal_hold=True)
    store.put_object("box", "free", "1")
    soon = datetime.now(UTC) + timedelta(seconds=60)
    store.put_object("box", "ended", "1", lock_mode="GOVERNANCE", retain_until=soon)
    rule = "<DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention>"
    inner = f"<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>{rule}</Rule>"
    put_document(store, "object-lock", xml.document("ObjectLockConfiguration", inner))
    assert both.bucket("box")["configuration"] == ["default retention"]
    both.assert_equal("box")


def test_what_a_bucket_has_comes_over_and_what_is_refused_is_said(both: Both) -> None:
    store = both.source
    store.create_bucket("box")
    tags = "<TagSet><Tag><Key>team</Key><Value>blue</Value></Tag></TagSet>"
    put_document(store, "tagging", xml.document("Tagging", tags))
    rule = "<AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>"
    cors = xml.document("CORSConfiguration", f"<CORSRule>{rule}</CORSRule>")
    put_document(store, "cors", cors)
    put_document(store, "policy", public_policy())
    both.target_server.faults.fail("PutBucketCors", "NotImplemented")
    text = both("box", status=3).stdout
    assert "box: CORS: the destination refuses it:" in text
    assert "NotImplemented" in text
    assert "box: policy: it makes the bucket public" in text

    found = both.bucket("box", "--public")
    assert found["configuration"] == ["CORS", "policy"]
    assert both.target.request("GET", "box", query={"cors": ""}).body.count(b"<CORSRule>") == 1
    assert both("box", "--verify").stdout.endswith("0 differences\n")
    # what was changed at the destination stays, as long as the source's is as it was
    both.target.request("DELETE", "box", query={"cors": ""})
    assert both.bucket("box")["configuration"] == []
    lines = both.json("box", "--verify", status=1)
    assert [line["what"] for line in lines if line["type"] == "difference"] == ["configuration"]


def test_acls_of_objects(both: Both) -> None:
    store = both.source
    store.create_bucket("box")
    store.put_object("box", "public", "1", acl="public-read")
    found = both.bucket("box")
    assert found["notes"] == {"without ACL public-read, which the destination does not allow": 1}

    rule = "<Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>"
    put_document(store, "ownershipControls", xml.document("OwnershipControls", rule))
    store.put_object("box", "public", "2", acl="public-read")
    both.target.request("DELETE", "box", query={"publicAccessBlock": ""})
    assert both.bucket("box")["notes"] == {}
    grants = both.target.request("GET", "box", "public", query={"acl": ""}).body
    assert b"groups/global/AllUsers" in grants


@pytest.mark.parametrize("operation", ["PutObject", "DeleteObject", "CompleteMultipartUpload"])
def test_a_lost_answer_makes_no_second_version(both: Both, operation: str) -> None:
    store = both.source
    store.create_bucket("box", versioning=True)
    for content in ("same", "same", "same"):
        store.put_object("box", "k", content)
    store.delete_object("box", "k")
    put_parts(store, "k", [5 * MIB, 3])
    fault = both.target_server.faults.drop_answer(operation, times=1)
    found = both.bucket("box")
    assert fault.hits == 1
    assert (found["versions"], found["delete_markers"]) == (4, 1)
    both.assert_equal("box")


def test_an_error_of_the_destination_is_followed_by_a_look(both: Both) -> None:
    store = both.source
    store.create_bucket("box", versioning=True)
    store.put_object("box", "k", "1")
    fault = both.target_server.faults.fail("PutObject", "InternalError")
    both("box")
    assert fault.hits == 1
    both.assert_equal("box")


def test_a_version_that_cannot_be_read_holds_up_its_key_only(both: Both) -> None:
    store = both.source
    store.create_bucket("box", versioning=True)
    for number in range(3):
        store.put_object("box", "bad", f"bad {number}")
        store.put_object("box", "good", f"good {number}")
    faults = both.source_server.faults
    faults.fail("GetObject", "AccessDenied", key="bad")
    result = both("box", status=1)
    assert "s3://box/bad" in result.stderr
    assert "2 newer of it wait" in result.stderr
    assert [entry.key for entry in both.target.list_versions("box")] == ["good"] * 3

    faults.fail("GetObject", "AccessDenied", key="bad")
    found = both.bucket("box", "--skip-broken", status=3)
    assert (found["versions"], found["left_out"]) == (2, 1)
    assert [e.key for e in both.target.list_versions("box")] == ["bad"] * 2 + ["good"] * 3
    again = both.bucket("box", status=3)  # said again, and not tried again
    assert (again["versions"], again["same"], again["left_out"]) == (0, 5, 1)


def test_what_changes_on_its_way_is_not_written(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte that is wrong although the answer is whole: the source's checksum says so."""
    store = both.source
    store.create_bucket("box")
    store.put_object("box", "k", b"content")
    real = checksums.encoded

    def wrong(digest: bytes) -> str:
        return real(digest[::-1])

    monkeypatch.setattr(checksums, "encoded", wrong)
    assert "ChecksumMismatch" in both("box", status=1).stderr
    assert not list(both.target.list_objects("box"))


def test_a_source_that_changes(both: Both) -> None:
    store = both.source
    store.create_bucket("box", versioning=True)
    for key in ("a", "x", "c"):
        store.put_object("box", key, "1")
        store.put_object("box", key, "2")
    both("box")
    store.put_object("box", "a", "3")
    store.delete_object("box", "x")
    store.put_object("box", "new", "1")
    oldest = [entry.version_id for entry in store.list_versions("box", "c")][-1]
    store.delete_object("box", "c", version_id=oldest)
    store.put_object("box", "c", "3")
    found = both.bucket("box")
    assert (found["versions"], found["delete_markers"]) == (3, 1)
    history = {
        key: [entry.etag for entry in both.target.list_versions("box", key) if entry.key == key]
        for key in ("a", "x", "c", "new")
    }
    assert {key: len(etags) for key, etags in history.items()} == {"a": 3, "x": 3, "c": 3, "new": 1}
    lines = both.json("box", "--verify", status=1)
    assert [line["key"] for line in lines if line["type"] == "difference"] == ["c"]


def test_an_overwritten_object_of_a_bucket_without_versions(both: Both) -> None:
    both.source.create_bucket("box")
    both.source.put_object("box", "k", "1")
    both("box")
    both.source.put_object("box", "k", "2")
    assert both.bucket("box")["versions"] == 1
    both.assert_equal("box")


def test_the_destinations_own_versions_are_not_covered(both: Both) -> None:
    both.source.create_bucket("box", versioning=True)
    both.source.put_object("box", "k", "old")
    both.source.put_object("box", "other", "1")
    both.target.create_bucket("box", versioning=True)
    both.target.put_object("box", "k", "mine")
    assert "--merge" in both("box", status=1).stdout
    assert "newer than this version" in both("box", "--merge", status=1).stderr
    kept = [(entry.key, entry.size) for entry in both.target.list_versions("box")]
    assert kept == [("k", 4), ("other", 1)]
    both("box", "--merge", "--exclude", "k")


def test_a_large_object_goes_on_with_its_parts(both: Both) -> None:
    both.source.create_bucket("box", versioning=True)
    put_parts(both.source, "k", [5 * MIB] * 5 + [7])
    target = both.target_server
    target.faults.fail("CompleteMultipartUpload", "AccessDenied")
    both("box", status=1)
    target.requests.clear()
    both("box")
    assert not target.requests.find("UploadPart")
    both.assert_equal("box")
    assert not list(both.target.list_uploads("box"))


def test_a_key_of_very_many_versions_goes_through_a_file(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "VERSIONS_IN_MEMORY_MAX", 4)
    both.source.create_bucket("box", versioning=True)
    for number in range(30):
        both.source.put_object("box", "k", str(number))
        if number == 20:
            both("box")
    assert both.bucket("box")["versions"] == 9
    both.assert_equal("box")


def test_dry_run_writes_nothing(both: Both) -> None:
    both.source.create_bucket("box", versioning=True)
    both.source.put_object("box", "k", "1")
    both.source.delete_object("box", "k")
    lines = both.json("--dry-run")
    assert [(line["type"], line.get("status")) for line in lines] == [
        ("version", "planned"),
        ("delete-marker", "planned"),
        ("bucket", None),
    ]
    assert not both.target.bucket_exists("box")


def test_buckets_by_pattern_and_keys_by_filters(both: Both) -> None:
    for name in ("logs-1", "logs-2", "other"):
        both.source.create_bucket(name)
        both.source.put_object(name, "a.txt", "1")
        both.source.put_object(name, "b.tmp", "1")
    both("logs-*", "--exclude", "*.tmp")
    names = [bucket.name for bucket in both.target.list_buckets()]
    assert names == ["logs-1", "logs-2"]
    assert [entry.key for entry in both.target.list_objects("logs-1")] == ["a.txt"]


def _versions(both: Both, keys: int) -> None:
    both.source.create_bucket("box")
    both.source.put_many("box", ((f"k{n:03}", f"null {n}") for n in range(0, keys, 5)))
    both.source.set_versioning("box", True)
    for turn in range(3):
        both.source.put_many("box", ((f"k{n:03}", b"same") for n in range(turn, keys, 2)))
    for number in range(0, keys, 7):
        both.source.delete_object("box", f"k{number:03}")
    put_parts(both.source, "large", [5 * MIB, 5 * MIB, 1])


def _done(both: Both) -> int:
    return sum(len(both.target_server.requests.find(name)) for name in ("PutObject", "UploadPart"))


def _run_until(both: Both, end: Callable[[subprocess.Popen[bytes]], None], writes: int) -> None:
    both.target_server.requests.clear()
    process = both.start("box", "--parallel", "4")
    wait_for(lambda: _done(both) >= writes or process.poll() is not None)
    end(process)
    process.communicate()


def test_killed_again_and_again(both: Both) -> None:
    _versions(both, 60)
    both.target_server.faults.delay("PutObject", 0.02, times=None)
    for writes in (1, 7, 20):
        _run_until(both, subprocess.Popen.kill, writes)
    both.target_server.faults.clear()
    both("box")
    both.assert_equal("box")


def test_ctrl_c_ends_in_order_and_says_how_to_go_on(both: Both) -> None:
    _versions(both, 40)
    both.target_server.faults.delay("PutObject", 0.02, times=None)
    both.target_server.requests.clear()
    process = both.start("box", "--parallel", "4")
    wait_for(lambda: _done(both) >= 5 or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert b"run the same command again" in output
    both.target_server.faults.clear()
    assert both.bucket("box")["same"] >= 5
    both.assert_equal("box")


def test_one_import_at_a_time(both: Both) -> None:
    _versions(both, 20)
    both.target_server.faults.delay("PutObject", 0.1, times=None)
    both.target_server.requests.clear()
    process = both.start("box")
    try:
        wait_for(lambda: _done(both) >= 1 or process.poll() is not None)
        assert f"process {process.pid}" in both("box", status=1).stderr
    finally:
        process.send_signal(signal.SIGINT)  # what is on its way arrives before the next test
        process.communicate(timeout=60)


def test_the_journal_says_which_version_became_which(both: Both, tmp_path: Path) -> None:
    both.source.create_bucket("box", versioning=True)
    both.source.put_object("box", "k", "1")
    both("box", "--state", str(tmp_path / "kept"))
    (path,) = (tmp_path / "kept").rglob("box.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    (line,) = [line for line in lines if "source_version" in line]
    (source,) = list(both.source.list_versions("box"))
    (target,) = list(both.target.list_versions("box"))
    assert (line["key"], line["source_version"]) == ("k", source.version_id)
    assert line["target_version"] == target.version_id


def test_what_is_said_of_wrong_servers(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner()
    url = both.source_server.endpoint
    result = run.invoke(main, ["import", url])
    assert result.exit_code == 2
    assert "profile add" in result.stderr
    monkeypatch.setenv("HOLDFAST_SOURCE_ACCESS_KEY", both.source_server.access_key)
    monkeypatch.setenv("HOLDFAST_SOURCE_SECRET_KEY", both.source_server.secret_key)
    assert run.invoke(main, ["import", url]).exit_code == 0
    result = run.invoke(main, ["import", "old", "--to", "old"])
    assert "the same server" in result.stderr
    result = run.invoke(main, ["import", "old", "--to", "http://127.0.0.1:1"])
    assert "no server answers" in result.stderr
    assert "b, " not in both("nothing-*", status=1).stderr
    result = both("nothing", status=1)
    assert "does not exist" in result.stderr
