"""Patterns of the policy language: `*`, `?` and `${variables}`, matched in bounded time.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: condition key in lower case -> its values in this request
Context = Mapping[str, tuple[str, ...]]

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_DEFAULTED = re.compile(r"\s*([^,\s]+)\s*,\s*'([^']*)'\s*\Z")
_LITERAL = {"*": "*", "?": "?", "$": "$"}

_ANY_RUN = "\x00*"  # tokens that no text can hold as one character
_ANY_ONE = "\x00?"


class PolicyError(ValueError):
    """A policy that is not one; the text says why, for whoever sends it."""


class Glob:
    """A pattern. `variables`: `${…}` is replaced by the request's value; a variable that the
    request does not have makes the pattern match nothing."""

    __slots__ = ("_pieces", "_plain", "_tokens", "text")

    def __init__(self, text: str, variables: bool, wildcards: bool = True) -> None:
        self.text = text
        self._pieces: list[tuple[bool, str, str | None]] = []  # (is variable, text, default)
        at = 0
        for match in _VARIABLE.finditer(text) if variables else ():
            self._add(text[at : match.start()])
            self._add_variable(match.group(1))
            at = match.end()
        self._add(text[at:])
        fixed = not any(piece[0] for piece in self._pieces)
        self._tokens = self._expand({}, wildcards) if fixed else None
        #: the text itself, where nothing in it is special
        self._plain = text if fixed and not any(c in text for c in "*?$") else None
        if not wildcards and fixed:
            self._plain = "".join(self._tokens or ())

    def _add(self, text: str) -> None:
        if text:
            self._pieces.append((False, text, None))

    def _add_variable(self, name: str) -> None:
        if name in _LITERAL:
            self._pieces.append((True, "", _LITERAL[name]))
            return
        defaulted = _DEFAULTED.match(name)
        if defaulted:
            self._pieces.append((True, defaulted.group(1).lower(), defaulted.group(2)))
        else:
            self._pieces.append((True, name.strip().lower(), None))

    def is_fixed(self) -> bool:
        """Whether it means one value: no wildcard, no variable."""
        return self._plain is not None

    def variables(self) -> frozenset[str]:
        """The condition keys that it stands for, in lower case."""
        return frozenset(text for is_variable, text, _ in self._pieces if is_variable and text)

    def _expand(self, context: Context, wildcards: bool) -> list[str] | None:
        tokens: list[str] = []
        for is_variable, text, default in self._pieces:
            if not is_variable:
                tokens += (
                    ((_ANY_RUN if c == "*" else _ANY_ONE if c == "?" else c) for c in text)
                    if wildcards
                    else text
                )
                continue
            values = context.get(text, ()) if text else ()
            value = values[0] if len(values) == 1 else default
            if value is None:
                return None
            tokens += value
        return tokens

    def matches(self, text: str, context: Context, wildcards: bool = True) -> bool:
        if self._plain is not None:
            return self._plain == text
        tokens = self._tokens or self._expand(context, wildcards)
        return tokens is not None and _match(tokens, text)


def _match(tokens: list[str], text: str) -> bool:
    """Greedy with one step back: at most len(tokens) * len(text) steps."""
    at = position = 0
    star = -1
    resume = 0
    while position < len(text):
        token = tokens[at] if at < len(tokens) else ""
        if token == _ANY_RUN:
            star, resume = at, position
            at += 1
        elif token == _ANY_ONE or token == text[position]:
            at += 1
            position += 1
        elif star >= 0:
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return all(token == _ANY_RUN for token in tokens[at:])
