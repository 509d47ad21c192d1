"""Random histories of writes over two workers, compared with a model: `python -m tests.histories`."""
