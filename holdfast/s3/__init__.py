"""The S3 protocol: what a request means, and S3's own answer. Start reading at pipeline.py."""
