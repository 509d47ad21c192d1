"""Load and latency measurements of S3 servers, side by side: `python -m bench --help`."""
