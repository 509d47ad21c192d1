"""Accounts: who they are, their access keys, and what names policies may call them by."""
