"""Tests of accounts and their access keys."""
