"""Authentication and authorization as pure functions: no I/O, no clock, no S3 types."""
