"""S3's operations that are known and not here yet: they answer 501 and change nothing.

The list, the sub-resources and the headers are AWS's API reference (116 operations). An operation
that is implemented declares itself in ops/ and leaves this table. GetBucketLifecycle and its three
deprecated siblings share the wire with their successors, so the table names each pair once and
ALIASES says so.
"""

from __future__ import annotations

from holdfast.s3.operation import BUCKET, OBJECT, SERVICE, Level, Operation, register

_UNIMPLEMENTED: tuple[tuple[str, str, Level, tuple[str, ...], str], ...] = (
    # (name, method, level, discriminating query, discriminating header)
    *(
        (f"{verb}Bucket{thing}", method, BUCKET, (key,), "")
        for thing, key, verbs in (
            ("Abac", "abac", "p"),
            ("AnalyticsConfiguration", "analytics", "p"),
            ("Encryption", "encryption", "p"),
            ("IntelligentTieringConfiguration", "intelligent-tiering", "p"),
            ("InventoryConfiguration", "inventory", "p"),
            ("LifecycleConfiguration", "lifecycle", "p"),
            ("MetricsConfiguration", "metrics", "p"),
            ("NotificationConfiguration", "notification", "p"),
            ("Replication", "replication", "p"),
        )
        for letter, verb, method in (
            ("g", "Get", "GET"),
            ("p", "Put", "PUT"),
            ("d", "Delete", "DELETE"),
        )
        if letter in verbs
    ),
    ("CreateBucketMetadataConfiguration", "POST", BUCKET, ("metadataConfiguration",), ""),
    ("CreateBucketMetadataTableConfiguration", "POST", BUCKET, ("metadataTable",), ""),
    ("CreateSession", "GET", BUCKET, ("session",), ""),
    ("DeleteObjectAnnotation", "DELETE", OBJECT, ("annotation",), ""),
    ("GetObjectAnnotation", "GET", OBJECT, ("annotation", "annotationName"), ""),
    ("GetObjectTorrent", "GET", OBJECT, ("torrent",), ""),
    ("ListDirectoryBuckets", "GET", SERVICE, ("max-directory-buckets",), ""),
    ("ListObjectAnnotations", "GET", OBJECT, ("annotation",), ""),
    ("PutObjectAnnotation", "PUT", OBJECT, ("annotation",), ""),
    ("RestoreObject", "POST", OBJECT, ("restore",), ""),
    ("SelectObjectContent", "POST", OBJECT, ("select",), ""),
    (
        "UpdateBucketMetadataAnnotationTableConfiguration",
        "PUT",
        BUCKET,
        ("metadataAnnotationTable",),
        "",
    ),
    (
        "UpdateBucketMetadataInventoryTableConfiguration",
        "PUT",
        BUCKET,
        ("metadataInventoryTable",),
        "",
    ),
    (
        "UpdateBucketMetadataJournalTableConfiguration",
        "PUT",
        BUCKET,
        ("metadataJournalTable",),
        "",
    ),
    ("UpdateObjectEncryption", "PUT", OBJECT, ("encryption",), ""),
    ("WriteGetObjectResponse", "POST", BUCKET, (), "x-amz-request-route"),
)

#: deprecated or paging names of S3 that share the wire with the operation they map to
ALIASES: dict[str, str] = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
    "ListBucketAnalyticsConfigurations": "GetBucketAnalyticsConfiguration",
    "ListBucketIntelligentTieringConfigurations": "GetBucketIntelligentTieringConfiguration",
    "ListBucketInventoryConfigurations": "GetBucketInventoryConfiguration",
    "ListBucketMetricsConfigurations": "GetBucketMetricsConfiguration",
}

_ENCRYPTION = tuple(
    f"x-amz-{prefix}server-side-encryption{suffix}"
    for prefix in ("", "copy-source-")
    for suffix in (
        "",
        "-aws-kms-key-id",
        "-bucket-key-enabled",
        "-context",
        "-customer-algorithm",
        "-customer-key",
        "-customer-key-md5",
    )
)

#: every request header that S3 gives a meaning to, beside the ones that mean the same everywhere
#: (COMMON_HEADERS): on an operation that does not take it, it is refused, never ignored
MEANINGFUL_HEADERS: frozenset[str] = frozenset(
    (
        *_ENCRYPTION,
        *(f"x-amz-checksum-{a}" for a in ("crc32", "crc32c", "crc64nvme", "md5", "sha1", "sha256")),
        *(f"x-amz-checksum-{a}" for a in ("sha512", "xxhash128", "xxhash3", "xxhash64")),
        *(f"x-amz-copy-source{s}" for s in ("", "-if-match", "-if-none-match", "-range")),
        *(f"x-amz-copy-source-if-{s}" for s in ("modified-since", "unmodified-since")),
        *(f"x-amz-grant-{g}" for g in ("full-control", "read", "read-acp", "write", "write-acp")),
        *(f"x-amz-object-lock-{n}" for n in ("event-hold", "legal-hold", "mode")),
        *(f"x-amz-object-lock-event-hold-duration-{n}" for n in ("days", "years")),
        *(f"x-amz-rename-source{s}" for s in ("", "-if-match", "-if-none-match")),
        *(f"x-amz-rename-source-if-{s}" for s in ("modified-since", "unmodified-since")),
        "x-amz-acl",
        "x-amz-bucket-namespace",
        "x-amz-bucket-object-lock-enabled",
        "x-amz-bucket-object-lock-token",
        "x-amz-bypass-governance-retention",
        "x-amz-checksum-type",
        "x-amz-client-token",
        "x-amz-confirm-remove-self-bucket-access",
        "x-amz-create-session-mode",
        "x-amz-if-match-initiated-time",
        "x-amz-if-match-last-modified-time",
        "x-amz-if-match-size",
        "x-amz-max-parts",
        "x-amz-metadata-directive",
        "x-amz-mfa",
        "x-amz-mp-object-size",
        "x-amz-object-annotation-directive",
        "x-amz-object-attributes",
        "x-amz-object-if-match",
        "x-amz-object-lock-retain-until-date",
        "x-amz-object-ownership",
        "x-amz-part-number-marker",
        "x-amz-skip-destination-validation",
        "x-amz-source-expected-bucket-owner",
        "x-amz-storage-class",
        "x-amz-tagging",
        "x-amz-tagging-directive",
        "x-amz-transition-default-minimum-object-size",
        "x-amz-website-redirect-location",
        "x-amz-write-offset-bytes",
    )
)

#: conditions: on a write that does not take one, ignoring it would overwrite or delete
WRITE_CONDITIONS: frozenset[str] = frozenset(
    ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
)

for _name, _method, _level, _query, _header in _UNIMPLEMENTED:
    register(Operation(_name, _method, _level, query=_query, header=_header))
