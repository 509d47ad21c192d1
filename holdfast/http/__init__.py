"""HTTP/1.1 for one purpose: many small requests and few huge bodies. Knows nothing of S3."""
