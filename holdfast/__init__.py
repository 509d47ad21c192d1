"""Holdfast: an S3-compatible object store. Nothing heavy is imported here (import budget: 60 ms)."""

__version__ = "0.1.0"
