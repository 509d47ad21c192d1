"""A client for every S3 server, synchronous and asynchronous; docs/client.md lists the whole API.

Rule: it stands on holdfast.auth and the standard library (awscrt for checksums), and knows nothing of
the server.
"""
