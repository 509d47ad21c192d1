"""Composition: processes, listeners, the DATA directory, signals and shutdown."""
