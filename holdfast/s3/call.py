"""One request on its way through the operations, and the services they may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from holdfast.auth.identity import Authenticated
from holdfast.blobs.contract import BlobStore
from holdfast.http.message import Request, Response
from holdfast.iam.directory import Directory
from holdfast.meta.contract import MetaStore
from holdfast.meta.records import Bucket
from holdfast.s3.configuration import Configurations
from holdfast.s3.errors import S3Error
from holdfast.s3.leases import ReadLeases
from holdfast.s3.operation import Operation
from holdfast.s3.ownership import TODAYS_DEFAULTS, Defaults
from holdfast.s3.part_lists import PartLayouts
from holdfast.s3.xml import XML_TYPE


@dataclass(slots=True)
class Services:
    """What the operations stand on, one in each worker. `now` gives seconds since the epoch."""

    meta: MetaStore
    blobs: BlobStore
    #: the accounts and their access keys
    directory: Directory
    now: Callable[[], float]
    region: str = "us-east-1"
    domains: tuple[str, ...] = ()
    website_domains: tuple[str, ...] = ()
    inline_bytes_max: int = 32 * 1024
    new_buckets: Defaults = TODAYS_DEFAULTS
    leases: ReadLeases = field(default_factory=ReadLeases)
    #: the buckets' configuration documents, kept parsed
    configurations: Configurations = field(init=False)
    part_layouts: PartLayouts = field(init=False)

    def __post_init__(self) -> None:
        self.configurations = Configurations(self.meta)
        self.part_layouts = PartLayouts(self.meta)


class Call:
    """A routed, authenticated request. Operations get it with their typed input."""

    __slots__ = (
        "_bucket",
        "auth",
        "bucket_name",
        "charged",
        "key",
        "op",
        "query",
        "request",
        "services",
        "source",
    )

    def __init__(
        self,
        request: Request,
        services: Services,
        op: Operation,
        bucket_name: str,
        key: bytes,
        query: dict[str, str],
        auth: Authenticated,
    ) -> None:
        self.request = request
        self.services = services
        self.op = op
        self.bucket_name = bucket_name
        self.key = key
        self.query = query
        self.auth = auth
        self._bucket: Bucket | None = None
        #: the bucket that a copy reads from
        self.source: Bucket | None = None
        #: whether the caller pays for it, as Requester Pays has it
        self.charged = False

    @property
    def account_id(self) -> str:
        """The canonical user id of the caller; "" when anonymous."""
        credential = self.auth.credential
        return "" if credential is None else credential.account_id

    async def bucket(self) -> Bucket:
        """The bucket that the target names. Raises NoSuchBucket, and AccessDenied when
        x-amz-expected-bucket-owner names somebody else."""
        if self._bucket is not None:
            return self._bucket
        bucket = await self.services.meta.bucket(self.bucket_name)
        if bucket is None:
            raise S3Error("NoSuchBucket", BucketName=self.bucket_name)
        expected = self.request.headers.get("x-amz-expected-bucket-owner")
        if expected is not None and expected != bucket.owner:
            raise S3Error("AccessDenied")
        self._bucket = bucket
        return bucket

    def xml(self, body: bytes) -> Response:
        return Response(self.op.status, [XML_TYPE], body)

    def empty(self, headers: list[tuple[str, str]] | None = None) -> Response:
        return Response(self.op.status, headers or [])
