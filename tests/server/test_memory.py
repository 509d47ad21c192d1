"""Memory is bounded by the number of uploads, not by their size."""

from __future__ import annotations

from bench.endpoint import parse_endpoint
from bench.uploads import MIB, run
from tests.conftest import ServeFactory
from tests.serving import ACCESS_KEY, SECRET_KEY

UPLOADS = 100
#: less than in `python -m bench.uploads`, which takes 64 MiB each; a server that kept bodies in
#: memory would need twice the bound
UPLOAD_BYTES = 8 * MIB
PSS_MAX = 400 * MIB


def test_a_hundred_uploads_at_once(serve_process: ServeFactory) -> None:
    keys = {"HOLDFAST_ACCESS_KEY": ACCESS_KEY, "HOLDFAST_SECRET_KEY": SECRET_KEY}
    server = serve_process("--workers", "2", env=keys)
    text = f"holdfast={server.endpoint},{ACCESS_KEY},{SECRET_KEY}"
    endpoint = parse_endpoint(text, "us-east-1", allow_remote=False)
    outcome = run(endpoint, UPLOADS, UPLOAD_BYTES, server.pid, seconds_max=120)
    assert outcome.uploads == UPLOADS
    assert not outcome.failed
    assert 0 < outcome.pss_peak < PSS_MAX
