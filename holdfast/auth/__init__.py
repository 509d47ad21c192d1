"""Authentication and authorization as pure functions: no I/O, no clock of their own, no S3 types."""
