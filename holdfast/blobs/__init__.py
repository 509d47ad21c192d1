"""Where content lives that is too large for the database. Knows nothing of S3 or of metadata."""
