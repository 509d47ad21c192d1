"""The plugin in sessions of its own: found by its entry point, off until used, under xdist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.testing import Server
from holdfast.testing import server as server_module

from .session import ROOT, run_pytest

UNUSED = """
import sys
import threading


def test_nothing_is_there(pytestconfig):
    assert pytestconfig.pluginmanager.get_plugin("holdfast").__name__ == (
        "holdfast.testing.pytest_plugin"
    )
    loaded = {name for name in sys.modules if name.partition(".")[0] == "holdfast"}
    assert loaded == {"holdfast", "holdfast.testing", "holdfast.testing.pytest_plugin"}
    assert not {"boto3", "asyncio", "uvloop", "apsw"} & sys.modules.keys()
    assert threading.active_count() == 1
"""

AS_INSTALLED = """
import sys
from importlib.machinery import SourceFileLoader


def test_loaded(s3_server, pytestconfig):
    for name in ("holdfast.server.serve", "holdfast.client.store"):
        __import__(name)
        assert type(sys.modules[name].__loader__) is SourceFileLoader
    # it would have been rewritten
    assert type(sys.modules["holdfast.testing.server"].__loader__) is not SourceFileLoader
    assert "_awscrt" not in sys.modules  # 60 ms, of no use before the first CRC64
"""

WORKERS = """
import pytest

SEEN = []


@pytest.mark.parametrize("number", range(6))
def test_each_worker_has_its_own(s3_server, s3_client, s3_bucket, s3_requests, number):
    s3_client.put_object(Bucket=s3_bucket, Key="k", Body=b"x")
    assert [one["Name"] for one in s3_client.list_buckets()["Buckets"]] == [s3_bucket]
    s3_requests.assert_called("PutObject", bucket=s3_bucket, key="k", times=1)
    SEEN.append(s3_server.endpoint)
    assert len(set(SEEN)) == 1


def test_faults_end_with_the_test(s3_client, s3_bucket, s3_faults):
    s3_faults.fail("*", times=None)


def test_so_the_next_is_well(s3_client, s3_bucket):
    s3_client.put_object(Bucket=s3_bucket, Key="k", Body=b"x")


def test_even_without_asking(s3_server):
    assert len(s3_server.faults) == 0
"""

NO_BOTO3 = """
import sys

sys.modules["boto3"] = None  # as if it were not installed


def test_client(s3_client):
    raise AssertionError("never here")


def test_env(s3_env, s3_bucket):
    assert s3_env["AWS_ENDPOINT_URL_S3"].startswith("http://127.0.0.1:")
"""


def test_off_until_used(tmp_path: Path) -> None:
    session = run_pytest(tmp_path, {"test_unused.py": UNUSED}, "-p", "no:xdist", "-p", "no:asyncio")
    assert session.status == 0, session.output


def test_the_server_is_not_compiled_anew(tmp_path: Path) -> None:
    session = run_pytest(tmp_path, {"test_loaded.py": AS_INSTALLED}, "-p", "no:xdist")
    assert session.status == 0, session.output


def test_under_xdist(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    session = run_pytest(tmp_path, {"test_workers.py": WORKERS}, "-n", "2")
    assert session.status == 0, session.output
    assert session.counts()["passed"] == 9


def test_without_boto3(tmp_path: Path) -> None:
    """It says what to install; and nothing of the server is left in the end."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    files = {
        "conftest.py": f"import tempfile\ntempfile.tempdir = {str(scratch)!r}\n",
        "test_none.py": NO_BOTO3,
    }
    session = run_pytest(tmp_path, files, "-p", "no:xdist")
    assert {"passed": 1, "error": 1}.items() <= session.counts().items(), session.output
    assert "needs boto3: pip install boto3" in session.output
    assert "Traceback" not in session.output
    assert not [path for path in scratch.iterdir() if path.name.startswith("holdfast")]


def test_the_plugin_can_be_switched_off(tmp_path: Path) -> None:
    files = {"test_one.py": "def test_one(s3_bucket):\n    pass\n"}
    session = run_pytest(tmp_path, files, "-p", "no:holdfast", "-p", "no:xdist")
    assert "fixture 's3_bucket' not found" in session.output


def test_imported_when_asked_for() -> None:
    assert Server is server_module.Server
    import holdfast.testing

    with pytest.raises(AttributeError, match="Sever"):
        _ = holdfast.testing.Sever


@pytest.mark.parametrize("arguments", [["version"], ["serve", "--help"]])
def test_python_dash_m(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert "holdfast" in done.stdout.lower()


NOBODY_STOPS = """
import multiprocessing, sys, urllib.request
from holdfast.testing import Server

server = Server().__enter__()
if sys.platform != "win32":
    child = multiprocessing.get_context("fork").Process(target=int)
    child.start()
    child.join()  # what it does at its end does not touch the parent's server
assert urllib.request.urlopen(server.endpoint + "/_holdfast/ready").status == 200
print(server.settings.data)
"""


def test_a_server_that_nobody_stops_ends_with_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", NOBODY_STOPS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout
    assert not Path(done.stdout.strip()).exists()
