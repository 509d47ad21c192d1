"""What tests share: a server of their own, injected faults, conformance suites of the contracts.

`Server` is here for who writes tests; it is imported when it is asked for, because the pytest plugin
imports this package into every session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.testing.server import Server

__all__ = ["Server"]


def __getattr__(name: str) -> object:
    if name == "Server":
        from holdfast.testing.server import Server

        return Server
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
