"""Metadata: buckets, versions, uploads, references. Knows nothing of HTTP, of S3's XML or of files."""
