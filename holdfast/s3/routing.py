"""Which operation a request means: pure, out of the declarations alone, and closed.

Rule: a query key that makes a sub-resource anywhere in S3 is never passed over. A request that
carries one either means the operation that claims it, or is refused.
"""

from __future__ import annotations

from holdfast.s3.errors import S3Error
from holdfast.s3.operation import OPERATIONS, Level, Operation


def _key(discriminator: str) -> str:
    return discriminator.partition("=")[0]


class Router:
    """Built once from the declared operations."""

    def __init__(self, operations: dict[str, Operation]) -> None:
        #: query keys that name a sub-resource or a version somewhere in S3
        self.subresources: frozenset[str] = frozenset(
            _key(q) for op in operations.values() for q in op.query
        ) | {"versionId", "append"}
        self._table: dict[tuple[str, Level], list[Operation]] = {}
        for op in operations.values():
            self._table.setdefault((op.method, op.level), []).append(op)
        for ops in self._table.values():
            ops.sort(key=lambda op: (len(op.query), bool(op.header)), reverse=True)
        # what most requests are: no sub-resource, no discriminating header
        self._plain: dict[tuple[str, Level], Operation] = {
            at: op
            for at, ops in self._table.items()
            for op in ops
            if not op.query and not op.header
        }
        self._headers: dict[tuple[str, Level], tuple[str, ...]] = {
            at: tuple({op.header for op in ops if op.header}) for at, ops in self._table.items()
        }

    def find(
        self, method: str, level: Level, query: dict[str, str], headers: dict[str, str]
    ) -> Operation:
        """The operation meant. Raises MethodNotAllowed, NotImplemented or InvalidArgument."""
        at = (method, level)
        named = self.subresources.intersection(query) if query else None
        if not named:
            for name in self._headers.get(at, ()):
                if name in headers:
                    break
            else:
                plain = self._plain.get(at)
                if plain is None:
                    raise _not_allowed(method, level)
                return plain
        for op in self._table.get(at, ()):
            if op.header and op.header not in headers:
                continue
            if all(_present(q, query) for q in op.query):
                self._refuse_rest(op, named or frozenset())
                return op
        raise _not_allowed(method, level)

    def _refuse_rest(self, op: Operation, named: frozenset[str]) -> None:
        rest = named.difference(map(_key, op.query), op.params.query)
        if not rest or op.handler is None:  # refused whole anyhow
            return
        name = min(rest)
        if name == "versionId":
            raise S3Error(
                "InvalidArgument",
                "This operation does not accept a version-id.",
                ArgumentName="versionId",
            )
        if name in ("partNumber", "uploadId"):
            raise S3Error(
                "InvalidArgument", f"{op.name} does not accept {name}.", ArgumentName=name
            )
        raise S3Error("NotImplemented", f"The sub-resource {name} is not implemented here.")


def _present(discriminator: str, query: dict[str, str]) -> bool:
    name, equals, value = discriminator.partition("=")
    return name in query and (not equals or query[name] == value)


def _not_allowed(method: str, level: Level) -> S3Error:
    return S3Error("MethodNotAllowed", Method=method, ResourceType=level.name)


def make_router() -> Router:
    """The router over everything that is declared (importing ops and the catalogue declares it)."""
    import holdfast.s3.catalogue
    import holdfast.s3.ops  # noqa: F401

    return Router(OPERATIONS)
