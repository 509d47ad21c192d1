"""The proof that what was acknowledged stays, whatever is killed and whenever.

`python -m tests.crash --kills 200` runs it against a real server; `--help` says the rest.
"""
