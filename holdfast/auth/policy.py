"""Policies: parsed once into what can be evaluated, evaluated without I/O, for buckets and users.

Rule: an explicit Deny wins, else an Allow is needed; what can't be understood is refused when the
policy is put, so that nothing in a stored policy is ever passed over.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from holdfast.auth.policy_conditions import Condition, parse_conditions
from holdfast.auth.policy_match import Context, Glob, PolicyError

POLICY_BYTES_MAX = 20 * 1024  # a bucket policy, as on AWS
STATEMENTS_MAX = 500
_VERSIONS = ("2012-10-17", "2008-10-17")
_STATEMENT_KEYS = frozenset(
    (
        "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource",
        "NotResource", "Condition",
    )
)  # fmt: skip
_RESOURCE_PREFIX = "arn:aws:s3:::"


class Verdict(enum.Enum):
    ALLOW = "allow"
    DENY = "deny"
    NONE = "none"  # nothing applies


class Principal(NamedTuple):
    """The caller. `names` are all names that a policy may mean it by: account ids and ARNs."""

    canonical_id: str  # "" for anonymous
    names: frozenset[str]


ANONYMOUS = Principal("", frozenset())


class AccessRequest(NamedTuple):
    """What is asked: an IAM action on a resource (ARN), with the condition keys in lower case."""

    principal: Principal
    action: str
    resource: str
    context: Context


class _Principals(NamedTuple):
    """Whom a statement names. `everybody`: `*`, which includes anonymous requests."""

    everybody: bool
    names: frozenset[str]
    canonical_ids: frozenset[str]

    def include(self, caller: Principal) -> bool:
        if self.everybody:
            return True
        return not self.names.isdisjoint(caller.names) or (
            bool(caller.canonical_id) and caller.canonical_id in self.canonical_ids
        )


class Statement(NamedTuple):
    effect: Verdict
    principals: _Principals | None  # None in a user's policy: whoever it is attached to
    not_principal: bool
    actions: tuple[Glob, ...]
    not_action: bool
    resources: tuple[Glob, ...]
    not_resource: bool
    conditions: tuple[Condition, ...]

    def applies(self, request: AccessRequest) -> bool:
        principals = self.principals
        if principals is not None and (principals.include(request.principal) is self.not_principal):
            return False
        action = request.action.lower()
        if any(glob.matches(action, {}) for glob in self.actions) is self.not_action:
            return False
        context = request.context
        resource = request.resource
        if any(glob.matches(resource, context) for glob in self.resources) is self.not_resource:
            return False
        return all(condition.holds(context) for condition in self.conditions)


class Policy(NamedTuple):
    statements: tuple[Statement, ...]

    def evaluate(self, request: AccessRequest) -> Verdict:
        verdict = Verdict.NONE
        for statement in self.statements:
            if statement.effect is verdict and verdict is Verdict.ALLOW:
                continue
            if statement.applies(request):
                if statement.effect is Verdict.DENY:
                    return Verdict.DENY
                verdict = Verdict.ALLOW
        return verdict

    def keys(self) -> frozenset[str]:
        """The condition keys, in lower case, that its evaluation may ask for."""
        found: set[str] = set()
        for statement in self.statements:
            globs: list[object] = [*statement.resources]
            for condition in statement.conditions:
                found.add(condition.key)
                globs += condition.wanted
            for glob in globs:
                if isinstance(glob, Glob):
                    found |= glob.variables()
        return frozenset(found)

    def is_public(self) -> bool:
        """Whether it lets in everybody, by AWS's meaning of public: an Allow whose principal is not
        fixed, and which no condition restricts to fixed values of the keys that AWS names.
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
        """
        return any(_is_public(statement) for statement in self.statements)


def evaluate_all(policies: Iterable[Policy], request: AccessRequest) -> Verdict:
    """Over several policies: any Deny wins, else any Allow."""
    verdict = Verdict.NONE
    for policy in policies:
        one = policy.evaluate(request)
        if one is Verdict.DENY:
            return one
        if one is Verdict.ALLOW:
            verdict = one
    return verdict


def _is_public(statement: Statement) -> bool:
    if statement.effect is not Verdict.ALLOW:
        return False
    principals = statement.principals
    if principals is None:
        return False
    if not (principals.everybody or statement.not_principal):
        return False
    return not any(condition.restricts() for condition in statement.conditions)


def parse_policy(document: bytes, *, bucket: str | None) -> Policy:
    """A policy document. `bucket`: it is that bucket's policy, every statement names a principal
    and resources that this bucket or its objects match; None: a user's, and no statement names a principal.

    Raises PolicyError, whose text is for the user (S3: MalformedPolicy).
    """
    if len(document) > POLICY_BYTES_MAX:
        raise PolicyError(f"Policies can have at most {POLICY_BYTES_MAX} bytes.")
    try:
        root = json.loads(document.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        text = str(error) if isinstance(error, PolicyError) else "This policy contains invalid Json"
        raise PolicyError(text) from None
    if not isinstance(root, dict):
        raise PolicyError("Policies must be valid JSON and the first byte must be '{'")
    unknown = root.keys() - {"Version", "Id", "Statement"}
    if unknown:
        raise PolicyError(f"Unknown field {min(unknown)}")
    if root.get("Version", _VERSIONS[1]) not in _VERSIONS:
        raise PolicyError("The policy must contain a valid version string")
    variables = root.get("Version") == _VERSIONS[0]
    statements = root.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise PolicyError("Missing required field Statement")
    if len(statements) > STATEMENTS_MAX:
        raise PolicyError(f"Policies can have at most {STATEMENTS_MAX} statements.")
    return Policy(tuple(_statement(one, bucket, variables) for one in statements))


def _no_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise PolicyError("A field appears twice")
    return found


def _statement(one: object, bucket: str | None, variables: bool) -> Statement:
    if not isinstance(one, dict):
        raise PolicyError("Statements must be JSON objects")
    unknown = one.keys() - _STATEMENT_KEYS
    if unknown:
        raise PolicyError(f"Unknown field {min(unknown)}")
    effect = one.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise PolicyError(
            f"Invalid effect: {effect}" if effect else "Missing required field Effect"
        )
    principals = None
    if bucket is not None:
        key = _one_of(one, "Principal", "NotPrincipal")
        principals = _principals(one[key])
        if key == "NotPrincipal" and effect == "Allow":
            raise PolicyError("Allow with NotPrincipal is not allowed")
    elif "Principal" in one or "NotPrincipal" in one:
        raise PolicyError("A policy of a user names no principal")
    action_key = _one_of(one, "Action", "NotAction")
    actions = [text.lower() for text in _texts(one[action_key], action_key)]
    for text in actions:
        if text != "*" and ":" not in text:
            raise PolicyError("Policy has invalid action")
        if bucket is not None and text != "*" and not text.startswith("s3:"):
            raise PolicyError("Policy has invalid action")
    resource_key = _one_of(one, "Resource", "NotResource")
    resources = _texts(one[resource_key], resource_key)
    for text in resources:
        _check_resource(text, bucket)
    return Statement(
        Verdict.ALLOW if effect == "Allow" else Verdict.DENY,
        principals,
        "NotPrincipal" in one,
        tuple(Glob(text, False) for text in actions),
        action_key == "NotAction",
        tuple(Glob(text, variables) for text in resources),
        resource_key == "NotResource",
        parse_conditions(one.get("Condition", {}), variables),
    )


def _one_of(one: Mapping[str, Any], key: str, negated: str) -> str:
    if (key in one) == (negated in one):
        raise PolicyError(f"A statement has exactly one of {key} and {negated}")
    return key if key in one else negated


def _texts(value: object, name: str) -> list[str]:
    """A text or a list of them."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise PolicyError(f"{name} is a string or a list of strings")
    return texts


def _check_resource(text: str, bucket: str | None) -> None:
    if bucket is None:
        if text != "*" and not text.startswith("arn:"):
            raise PolicyError("Policy has invalid resource")
        return
    rest = text.removeprefix(_RESOURCE_PREFIX)
    if rest == text or not Glob(rest.partition("/")[0], False).matches(bucket, {}):
        raise PolicyError("Policy has invalid resource")


def _principals(value: object) -> _Principals:
    if value == "*":
        return _Principals(True, frozenset(), frozenset())
    if not isinstance(value, dict) or not value:
        raise PolicyError("Invalid principal in policy")
    everybody = False
    names: set[str] = set()
    canonical: set[str] = set()
    for kind, given in value.items():
        texts = _texts(given, "Principal")
        if kind == "AWS":
            everybody = everybody or "*" in texts
            names.update(text for text in texts if text != "*")
        elif kind == "CanonicalUser":
            canonical.update(texts)
        elif kind in ("Service", "Federated"):
            # parts of AWS that do not call here: named, so never anybody who does
            names.update(f"{kind}:{text}" for text in texts)
        else:
            raise PolicyError("Invalid principal in policy")
    for name in names:
        if "*" in name:
            raise PolicyError("Invalid principal in policy")
    return _Principals(everybody, frozenset(names), frozenset(canonical))
