"""The certificate, loaded once and again whenever its files change.

Rule: a pair that does not load is never put in use. It is tried in a context of its own first; the
old pair goes on serving, and the log says why.
"""

from __future__ import annotations

import logging
import os
import ssl

#: how often the files' times are looked at
POLL_SECONDS = 2.0

_log = logging.getLogger("holdfast.tls")


class TlsError(Exception):
    """The certificate or its key can't be used; the message says why."""


class Certificate:
    """A server context whose certificate follows the files. New connections get the new pair."""

    def __init__(self, cert: str, key: str) -> None:
        """Load the pair. Raises TlsError."""
        self._cert = cert
        self._key = key
        self._seen = self._stamp()
        self.context = self._load()

    def reload_if_changed(self) -> None:
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            self.reload()

    def reload(self) -> None:
        """Put the pair in the files to use, or keep the old one and log why."""
        try:
            self._load()
            self.context.load_cert_chain(self._cert, self._key, password=lambda: "")
        except (TlsError, OSError) as error:
            _log.error("the old certificate stays in use: %s", error)
        else:
            _log.info("certificate %s loaded", self._cert)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # the password callback refuses: without it an encrypted key would ask the terminal
            context.load_cert_chain(self._cert, self._key, password=lambda: "")
        except OSError as error:  # ssl.SSLError is one
            reason = getattr(error, "reason", None) or error.strerror or error
            raise TlsError(f"{self._cert} and {self._key} can't be used: {reason}") from None
        return context

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        """What changes when a file is written or replaced; a missing file has a stamp as well."""
        stamps = []
        for path in (self._cert, self._key):
            try:
                info = os.stat(path)
                stamps.append((info.st_mtime_ns, info.st_size, info.st_ino))
            except OSError:
                stamps.append((0, 0, 0))
        return tuple(stamps)
