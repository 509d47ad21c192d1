"""The bench of listings knows what each page must hold, fills once and leaves nothing behind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner, Result

from bench.endpoint import EndpointError
from bench.listings import Plan, main
from holdfast.testing.server import Server
from tests.bench.far_end import far_end, response


def bench(server: Server, *arguments: str) -> Result:
    target = f"hf={server.endpoint},{server.access_key},{server.secret_key}"
    common = ("--keys", "100", "--page", "5", "--seconds", "0.02", "--repeat", "1")
    return CliRunner().invoke(main, ["--endpoint", target, *common, *arguments])


def test_every_kind_of_page_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.listings.NONCURRENT_VERSIONS", 10)
    file = tmp_path / "figures.json"
    with Server() as server:
        first = bench(server)
        assert first.exit_code == 0, first.output
        assert len(re.findall("putting", first.output)) == 4
        client = boto3.client("s3", **server.client_arguments())
        page = client.list_object_versions(Bucket="holdfast-bench-versions")
        assert len(page["Versions"]) == 200 + 100 * 4
        again = bench(server, "--clean", "--json", str(file))
        assert again.exit_code == 0, again.output
        assert "putting" not in again.output, "what is there is used again"
        assert client.list_buckets()["Buckets"] == []
        client.close()
    rows = json.loads(file.read_text())["rows"]
    assert {row["request"] for row in rows} == {row.title for row in Plan("b", 100, 5).rows()}
    for row in rows:
        assert len(row["p50_ms"]) == 1
        assert all(0 < p50 <= p99 for p50, p99 in zip(row["p50_ms"], row["p99_ms"], strict=True))


def test_a_page_of_other_names_is_refused() -> None:
    row = Plan("b", 1000, 20).rows()[0]
    with (
        far_end(lambda *_: response(200, b"<Key>00000/00000001</Key>")) as endpoint,
        pytest.raises(EndpointError, match="other names"),
    ):
        row.check(endpoint)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--page", "500", "--keys", "1000"], "at least 1500 --keys"),
        (["--pid", "other=1"], "want NAME=PID"),
        (["--endpoint", "hf=http://192.0.2.1:9,a,b"], "not this machine"),
    ],
)
def test_wrong_usage_says_what_to_write(arguments: list[str], hint: str) -> None:
    if arguments[0] != "--endpoint":
        arguments = ["--endpoint", "hf=http://127.0.0.1:9,a,b", *arguments]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert hint in " ".join(result.output.split())


def test_a_server_that_is_not_there() -> None:
    with far_end(lambda *_: response(200)) as endpoint:
        pass
    target = f"far=http://{endpoint.host},access,secret"
    result = CliRunner().invoke(main, ["--endpoint", target])
    assert result.exit_code == 1
    assert "Is the server running?" in result.output
