"""How an operation is declared: once, here; routing, authorization, binding, the documentation's
table and the tests' list derive from it.

    class GetThingInput(Input):
        version: Annotated[str, Query("versionId")] = ""

    @operation("GetThing", "GET", OBJECT, query=("thing",), action="s3:GetThing")
    async def get_thing(call: Call, inp: GetThingInput) -> Response: ...
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from holdfast.http.message import Response

if TYPE_CHECKING:
    from holdfast.s3.call import Call


class Level(enum.Enum):
    """What the target names."""

    # a member is looked up in every request, and Enum's own hash is a call into Python
    __hash__ = object.__hash__

    SERVICE = "service"
    BUCKET = "bucket"
    OBJECT = "object"


SERVICE, BUCKET, OBJECT = Level.SERVICE, Level.BUCKET, Level.OBJECT


class Header(NamedTuple):
    """A field bound from a request header (lower-case name)."""

    name: str
    parse: Callable[[str], Any] | None = None


class HeaderPrefix(NamedTuple):
    """A field bound from all headers of a prefix: dict of the rest of the name -> value."""

    prefix: str


class Query(NamedTuple):
    """A field bound from a query parameter (decoded)."""

    name: str
    parse: Callable[[str], Any] | None = None


class Input(msgspec.Struct):
    """Base of the typed inputs. Every field has a default: absent means the default."""


class Params(NamedTuple):
    """What an input binds, compiled: wire name -> (attribute, parse)."""

    headers: Mapping[str, tuple[str, Callable[[str], Any] | None]]
    query: Mapping[str, tuple[str, Callable[[str], Any] | None]]
    prefix: tuple[str, str] | None  # (header prefix, attribute)


def _params(input_type: type[Input]) -> Params:
    headers: dict[str, tuple[str, Callable[[str], Any] | None]] = {}
    query: dict[str, tuple[str, Callable[[str], Any] | None]] = {}
    prefix: tuple[str, str] | None = None
    for attr, hint in typing.get_type_hints(input_type, include_extras=True).items():
        for mark in getattr(hint, "__metadata__", ()):
            if isinstance(mark, Header):
                headers[mark.name] = (attr, mark.parse)
            elif isinstance(mark, Query):
                query[mark.name] = (attr, mark.parse)
            elif isinstance(mark, HeaderPrefix):
                prefix = (mark.prefix, attr)
    return Params(headers, query, prefix)


OperationHandler = Callable[["Call", Any], Awaitable[Response]]
H = TypeVar("H", bound=OperationHandler)


class Operation:
    """One of S3's operations. `handler` None: known, and refused with 501."""

    __slots__ = (
        "action",
        "authorizes",
        "handler",
        "header",
        "input_type",
        "level",
        "meaningless",
        "method",
        "name",
        "params",
        "query",
        "status",
        "takes",
    )

    def __init__(
        self,
        name: str,
        method: str,
        level: Level,
        *,
        query: tuple[str, ...] = (),
        header: str = "",
        action: str = "",
        status: int = 200,
        takes: frozenset[str] = frozenset(),
        authorizes: bool = False,
        input_type: type[Input] = Input,
        handler: OperationHandler | None = None,
    ) -> None:
        self.name = name
        self.method = method
        self.level = level
        #: query keys that must be there ("key" or "key=value") for this operation to be meant
        self.query = query
        #: a header that must be there for this operation to be meant
        self.header = header
        #: the IAM action that the caller needs
        self.action = action or f"s3:{name}"
        self.status = status
        #: headers that the operation reads itself, beside those that its input binds
        self.takes = takes
        #: it learns only from the body who asks and for what, and checks that itself
        self.authorizes = authorizes
        self.input_type = input_type
        self.params = _params(input_type)
        #: names of headers that `bind` found to mean nothing to it
        self.meaningless: set[str] = set()
        self.handler = handler


#: every operation of S3 by name: ops/ registers what is implemented, catalogue.py the rest
OPERATIONS: dict[str, Operation] = {}


def register(op: Operation) -> None:
    """Refuses duplicates: two declarations of one operation would drift apart."""
    if op.name in OPERATIONS:
        raise ValueError(f"operation {op.name} is declared twice")
    OPERATIONS[op.name] = op


def operation(
    name: str,
    method: str,
    level: Level,
    *,
    query: tuple[str, ...] = (),
    header: str = "",
    action: str = "",
    status: int = 200,
    takes: frozenset[str] = frozenset(),
    authorizes: bool = False,
) -> Callable[[H], H]:
    """Declare the decorated coroutine function as S3's operation `name`."""

    def declare(handler: H) -> H:
        hints = typing.get_type_hints(handler, localns={"Call": Any})
        register(
            Operation(
                name,
                method,
                level,
                query=query,
                header=header,
                action=action,
                status=status,
                takes=takes,
                authorizes=authorizes,
                input_type=hints["inp"],
                handler=handler,
            )
        )
        return handler

    return declare
