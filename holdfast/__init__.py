"""Holdfast: an S3-compatible object store. Nothing heavy is imported here (import budget: 60 ms);
the client's names come with their first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.client import (
        AsyncObjectStore,
        Credentials,
        ObjectStore,
        RetryConfig,
        S3Error,
        TransferConfig,
    )

__version__ = "0.1.0"
__all__ = [
    "AsyncObjectStore",
    "Credentials",
    "ObjectStore",
    "RetryConfig",
    "S3Error",
    "TransferConfig",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from holdfast import client

    return getattr(client, name)
