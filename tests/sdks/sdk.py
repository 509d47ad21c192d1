"""The SDKs: what each needs, how its program is built, and how it is run.

Rule: a program takes its settings from the environment variables that its section of
docs/clients.md exports, so that the page can't go stale. Nothing is built inside the repository:
the program's directory is copied first; what registries send goes to their clients' own caches.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.clients.settings import environment

PROGRAMS = Path(__file__).parent
TRUST_STORE_PASSWORD = "changeit"
#: building, the first time with everything fetched; and one run of a program
BUILD_SECONDS_MAX = 1800
RUN_SECONDS_MAX = 900

Command = tuple[str, ...]


class SdkError(Exception):
    """A program could not be built or run; the text says why."""


@dataclass(frozen=True)
class Sdk:
    name: str
    directory: str
    #: its section of docs/clients.md
    section: str
    #: toolchain programs, and what to install when they are missing
    tools: tuple[str, ...]
    toolchain: str
    build: tuple[Command, ...]
    run: Command
    #: the variable that makes it trust a certificate, and its value from the certificate's path
    trusted_by: str
    trust: Callable[[Path], str] = str
    #: files of other directories that it is built with
    shared: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        return [tool for tool in self.tools if shutil.which(tool) is None]

    def prepare(self, work: Path) -> Path:
        """Build the program below `work`; where it now lies. Raises SdkError with what the build
        said last."""
        place = work / self.name
        shutil.copytree(PROGRAMS / self.directory, place)
        for shared in self.shared:
            shutil.copy(PROGRAMS / shared, place)
        for command in self.build:
            with _started(command, place, dict(os.environ)) as process:
                try:
                    output, _ = process.communicate(timeout=BUILD_SECONDS_MAX)
                except subprocess.TimeoutExpired:
                    raise SdkError(f"{' '.join(command)}: took too long") from None
            if process.returncode != 0:
                raise SdkError(f"{' '.join(command)}\n{output[-5000:]}")
        return place

    def environ(self, endpoint: str, certificate: Path | None) -> dict[str, str]:
        """What the page exports for this SDK, for the server at `endpoint`."""
        environ = environment(self.section, endpoint)
        environ["AWS_ENDPOINT_URL"] = endpoint  # the page's is without TLS
        return (
            environ if certificate is None else environ | {self.trusted_by: self.trust(certificate)}
        )

    def lines(self, place: Path, environ: dict[str, str]) -> Iterator[str]:
        """Run the program; what it says, line by line. Raises SdkError when it ends with another
        status than 0 or 1, which it says itself."""
        with _started(self.run, place, environ) as process:
            assert process.stdout is not None
            limit = threading.Timer(RUN_SECONDS_MAX, _end, (process,))
            limit.start()
            try:
                for line in process.stdout:
                    yield line.rstrip("\n")
                process.wait()
            finally:
                limit.cancel()
            if process.returncode not in (0, 1):
                raise SdkError(f"ended with status {process.returncode}")


@contextmanager
def _started(
    command: Command, cwd: Path, environ: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Run it in a process group of its own, of which nothing is left afterwards."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _java_trust(certificate: Path) -> str:
    store = certificate.with_name("trust.p12")
    if not store.exists():
        subprocess.run(
            (
                *("keytool", "-importcert", "-noprompt", "-alias", "holdfast"),
                *("-file", str(certificate), "-keystore", str(store)),
                *("-storepass", TRUST_STORE_PASSWORD),
            ),
            check=True,
            capture_output=True,
        )
    return (
        f"-Djavax.net.ssl.trustStore={store} "
        f"-Djavax.net.ssl.trustStorePassword={TRUST_STORE_PASSWORD}"
    )


_GO_BUILD: Command = ("go", "build", "-mod=mod", "-o", "program", ".")

SDKS = (
    Sdk(
        name="go",
        directory="go",
        section="AWS SDK for Go",
        tools=("go",),
        toolchain="Go 1.25 or newer",
        build=(_GO_BUILD,),
        run=("./program",),
        trusted_by="AWS_CA_BUNDLE",
    ),
    Sdk(
        name="minio-go",
        directory="minio_go",
        section="minio-go",
        tools=("go",),
        toolchain="Go 1.26 or newer",
        build=(_GO_BUILD,),
        run=("./program",),
        trusted_by="SSL_CERT_FILE",
        shared=("go/steps.go",),
    ),
    Sdk(
        name="java",
        directory="java",
        section="AWS SDK for Java",
        tools=("java", "mvn", "keytool"),
        toolchain="a JDK 17 or newer and Maven 3.8",
        build=(("mvn", "-B", "-q", "compile", "dependency:copy-dependencies"),),
        run=("java", "-cp", "target/classes:target/libraries/*", "Program"),
        trusted_by="JDK_JAVA_OPTIONS",
        trust=_java_trust,
    ),
    Sdk(
        name="js",
        directory="js",
        section="AWS SDK for JavaScript",
        tools=("node", "npm"),
        toolchain="Node.js 20 or newer with npm",
        build=(("npm", "install", "--no-package-lock", "--no-audit", "--no-fund"),),
        run=("node", "program.js"),
        trusted_by="NODE_EXTRA_CA_CERTS",
    ),
)
