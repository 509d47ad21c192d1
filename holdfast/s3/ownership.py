"""What a bucket's documents say of who owns its objects and what may be public.

Rule: without a document the bucket is as closed as AWS makes a new one today: ACLs disabled
(BucketOwnerEnforced) and all public access blocked. Removing a configuration therefore leaves a
document that says so, and a bucket made under an older default gets its documents at once.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from holdfast.s3.configuration import Configuration

OWNERSHIP_KIND = "ownership"
BLOCK_KIND = "public-access-block"

ENFORCED = "BucketOwnerEnforced"
PREFERRED = "BucketOwnerPreferred"
WRITER = "ObjectWriter"
OWNERSHIPS = (ENFORCED, PREFERRED, WRITER)
#: the document of a bucket whose ownership controls were removed: as ObjectWriter, and no answer
OWNERSHIP_REMOVED = b"removed"


class PublicAccessBlock(msgspec.Struct, frozen=True, array_like=True):
    """`removed`: nothing is configured, and GetPublicAccessBlock says so."""

    block_acls: bool
    ignore_acls: bool
    block_policy: bool
    restrict: bool
    removed: bool = False


ALL_BLOCKED = PublicAccessBlock(True, True, True, True)
NOTHING_BLOCKED = PublicAccessBlock(False, False, False, False)
BLOCK_REMOVED = PublicAccessBlock(False, False, False, False, True)


class Defaults(NamedTuple):
    """What a new bucket gets."""

    ownership: str = ENFORCED
    block_public: bool = True


TODAYS_DEFAULTS = Defaults()


def ownership_configured(configuration: Configuration) -> str:
    """ "" when the ownership controls were removed."""
    body = configuration.document(OWNERSHIP_KIND)
    if body is None:
        return ENFORCED
    return "" if body == OWNERSHIP_REMOVED else body.decode("ascii")


def object_ownership(configuration: Configuration) -> str:
    """The rule in force."""
    return ownership_configured(configuration) or WRITER


def public_access_block(configuration: Configuration) -> PublicAccessBlock:
    return configuration.parsed(BLOCK_KIND, _decode_block) or ALL_BLOCKED


def encode_block(block: PublicAccessBlock) -> bytes:
    return msgspec.json.encode(block)


def _decode_block(body: bytes) -> PublicAccessBlock:
    return msgspec.json.decode(body, type=PublicAccessBlock)
