"""S3's errors: one table of code, status and message; all that can go wrong is one of these.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html. The only code of our
own is `InsufficientStorage`: S3 has none for a full disk, and a 5xx that clients do not retry at
once (507, RFC 4918 11.5) is what they need to see.
"""

from __future__ import annotations

from typing import NamedTuple


class ErrorKind(NamedTuple):
    status: int
    message: str


ERRORS: dict[str, ErrorKind] = {
    "AccessControlListNotSupported": ErrorKind(400, "The bucket does not allow ACLs"),
    "AccessDenied": ErrorKind(403, "Access Denied"),
    "AccessForbidden": ErrorKind(403, "CORSResponse: CORS is not enabled for this bucket."),
    "AuthorizationHeaderMalformed": ErrorKind(
        400, "The authorization header that you provided is not valid."
    ),
    "AuthorizationQueryParametersError": ErrorKind(
        400, "Query-string authentication requires the X-Amz-* parameters."
    ),
    "BadDigest": ErrorKind(
        400, "The Content-MD5 or checksum value that you specified did not match what we received."
    ),
    "BadRequest": ErrorKind(400, "The request is not valid."),
    "BucketAlreadyExists": ErrorKind(
        409,
        "The requested bucket name is not available. The bucket namespace is shared by all users "
        "of the system. Please select a different name and try again.",
    ),
    "BucketAlreadyOwnedByYou": ErrorKind(
        409, "Your previous request to create the named bucket succeeded and you already own it."
    ),
    "BucketNotEmpty": ErrorKind(409, "The bucket you tried to delete is not empty."),
    "ConditionalRequestConflict": ErrorKind(
        409, "A conflicting conditional operation is in progress against this resource. Try again."
    ),
    "CrossLocationLoggingProhibited": ErrorKind(403, "Cross-location logging is not allowed."),
    "EntityTooLarge": ErrorKind(
        400, "Your proposed upload exceeds the maximum allowed object size."
    ),
    "EntityTooSmall": ErrorKind(
        400, "Your proposed upload is smaller than the minimum allowed object size."
    ),
    "IllegalLocationConstraintException": ErrorKind(
        400,
        "The specified location constraint is incompatible for the region specific endpoint "
        "this request was sent to.",
    ),
    "IllegalVersioningConfigurationException": ErrorKind(
        400, "The versioning configuration specified in the request is invalid."
    ),
    "IncompleteBody": ErrorKind(
        400, "You did not provide the number of bytes specified by the Content-Length HTTP header."
    ),
    "InsufficientStorage": ErrorKind(
        507, "The disk of the server is full. Reads, listings and deletes go on; free some space."
    ),
    "InternalError": ErrorKind(500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": ErrorKind(
        403, "The AWS Access Key Id you provided does not exist in our records."
    ),
    "InvalidArgument": ErrorKind(400, "Invalid Argument"),
    "InvalidBucketAclWithBlockPublicAccessError": ErrorKind(
        400,
        "Bucket cannot have public ACLs set with BlockPublicAccess enabled",
    ),
    "InvalidBucketAclWithObjectOwnership": ErrorKind(
        400,
        "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
    ),
    "InvalidBucketName": ErrorKind(400, "The specified bucket is not valid."),
    "InvalidBucketState": ErrorKind(
        409, "The request is not valid with the current state of the bucket."
    ),
    "InvalidChunkSizeError": ErrorKind(
        403, "Only the last chunk is allowed to have a size less than 8192 bytes"
    ),
    "InvalidDigest": ErrorKind(
        400, "The Content-MD5 or checksum value you specified is not valid."
    ),
    "InvalidLocationConstraint": ErrorKind(400, "The specified location-constraint is not valid"),
    "InvalidObjectState": ErrorKind(
        403, "The operation is not valid for the object's storage class"
    ),
    "InvalidPart": ErrorKind(
        400,
        "One or more of the specified parts could not be found. The part may not have been "
        "uploaded, or the specified entity tag may not match the part's entity tag.",
    ),
    "InvalidPartNumber": ErrorKind(416, "The requested partnumber is not satisfiable"),
    "InvalidPartOrder": ErrorKind(
        400, "The list of parts was not in ascending order. Parts must be ordered by part number."
    ),
    "InvalidPolicyDocument": ErrorKind(
        400,
        "The content of the form does not meet the conditions specified in the policy document.",
    ),
    "InvalidRange": ErrorKind(416, "The requested range is not satisfiable"),
    "InvalidRedirectLocation": ErrorKind(
        400, "The website redirect location must begin with http://, https:// or /."
    ),
    "InvalidRequest": ErrorKind(400, "Invalid Request"),
    "InvalidRetentionPeriod": ErrorKind(
        400, "Default retention period must be a positive integer value."
    ),
    "InvalidStorageClass": ErrorKind(400, "The storage class you specified is not valid"),
    "InvalidTag": ErrorKind(400, "The tag provided was not a valid tag."),
    "InvalidTargetBucketForLogging": ErrorKind(
        400,
        "The target bucket for logging does not exist, is not owned by you, or does not"
        " have the appropriate grants for the log-delivery group.",
    ),
    "InvalidToken": ErrorKind(400, "The provided token is malformed or otherwise not valid."),
    "InvalidURI": ErrorKind(400, "Couldn't parse the specified URI."),
    "KeyTooLongError": ErrorKind(400, "Your key is too long"),
    "MalformedACLError": ErrorKind(
        400,
        "The XML you provided was not well-formed or did not validate against our published schema",
    ),
    "MalformedPOSTRequest": ErrorKind(
        400,
        "The body of your POST request is not well-formed multipart/form-data.",
    ),
    "MalformedPolicy": ErrorKind(
        400,
        "Policies must be valid JSON and the first byte must be '{'",
    ),
    "MalformedTrailerError": ErrorKind(
        400,
        "The request contained trailing data that was not well-formed or did not conform to "
        "our published schema.",
    ),
    "MalformedXML": ErrorKind(
        400,
        "The XML you provided was not well-formed or did not validate against our published schema",
    ),
    "MaxMessageLengthExceeded": ErrorKind(400, "Your request was too big."),
    "MaxPostPreDataLengthExceededError": ErrorKind(
        400,
        "Your POST request fields preceding the upload file were too large.",
    ),
    "MetadataConfigurationNotFound": ErrorKind(404, "The metadata configuration was not found"),
    "MetadataTooLarge": ErrorKind(
        400, "Your metadata headers exceed the maximum allowed metadata size"
    ),
    "MethodNotAllowed": ErrorKind(
        405, "The specified method is not allowed against this resource."
    ),
    "MissingContentLength": ErrorKind(411, "You must provide the Content-Length HTTP header."),
    "MissingRequestBodyError": ErrorKind(400, "Request body is empty."),
    "MissingSecurityHeader": ErrorKind(400, "Your request was missing a required header"),
    "NoSuchBucket": ErrorKind(404, "The specified bucket does not exist"),
    "NoSuchBucketPolicy": ErrorKind(
        404,
        "The bucket policy does not exist",
    ),
    "NoSuchCORSConfiguration": ErrorKind(404, "The CORS configuration does not exist"),
    "NoSuchConfiguration": ErrorKind(404, "The specified configuration does not exist."),
    "NoSuchKey": ErrorKind(404, "The specified key does not exist."),
    "NoSuchLifecycleConfiguration": ErrorKind(404, "The lifecycle configuration does not exist"),
    "NoSuchObjectLockConfiguration": ErrorKind(
        404, "The specified object does not have a ObjectLock configuration"
    ),
    "NoSuchPublicAccessBlockConfiguration": ErrorKind(
        404,
        "The public access block configuration was not found",
    ),
    "NoSuchTagSet": ErrorKind(404, "The TagSet does not exist"),
    "NoSuchUpload": ErrorKind(
        404,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have "
        "been aborted or completed.",
    ),
    "NoSuchVersion": ErrorKind(404, "The specified version does not exist."),
    "NoSuchWebsiteConfiguration": ErrorKind(
        404,
        "The specified bucket does not have a website configuration",
    ),
    "NotImplemented": ErrorKind(
        501, "A header or query you provided implies functionality that is not implemented."
    ),
    "NotModified": ErrorKind(304, "Not Modified"),
    "ObjectLockConfigurationNotFoundError": ErrorKind(
        404, "Object Lock configuration does not exist for this bucket"
    ),
    "OwnershipControlsNotFoundError": ErrorKind(
        404,
        "The bucket ownership controls were not found",
    ),
    "PreconditionFailed": ErrorKind(
        412, "At least one of the pre-conditions you specified did not hold"
    ),
    "ReplicationConfigurationNotFoundError": ErrorKind(
        404,
        "The replication configuration was not found",
    ),
    "RequestHeaderSectionTooLarge": ErrorKind(
        400, "Your request header section exceeds the maximum allowed size."
    ),
    "RequestTimeTooSkewed": ErrorKind(
        403, "The difference between the request time and the current time is too large."
    ),
    "RequestTimeout": ErrorKind(
        400,
        "Your socket connection to the server was not read from or written to within the timeout "
        "period.",
    ),
    "ServerSideEncryptionConfigurationNotFoundError": ErrorKind(
        404,
        "The server side encryption configuration was not found",
    ),
    "ServiceUnavailable": ErrorKind(503, "Service is unable to handle request."),
    "SignatureDoesNotMatch": ErrorKind(
        403,
        "The request signature we calculated does not match the signature you provided. Check your "
        "key and signing method.",
    ),
    "SlowDown": ErrorKind(503, "Please reduce your request rate."),
    "TooManyBuckets": ErrorKind(400, "You have attempted to create more buckets than allowed"),
    "UnexpectedContent": ErrorKind(400, "This request contains unsupported content."),
    "UnresolvableGrantByEmailAddress": ErrorKind(
        400,
        "The e-mail address you provided does not match any account on record.",
    ),
    "XAmzContentChecksumMismatch": ErrorKind(
        400, "The provided checksum does not match what was computed."
    ),
    "XAmzContentSHA256Mismatch": ErrorKind(
        400, "The provided 'x-amz-content-sha256' header does not match what was computed."
    ),
}


class S3Error(Exception):
    """An answer that is an error. `fields` become further elements of the XML body, in order."""

    def __init__(self, code: str, message: str | None = None, **fields: str) -> None:
        kind = ERRORS[code]
        super().__init__(code)
        self.code = code
        self.status = kind.status
        self.message = message or kind.message
        self.fields = fields
        #: further response headers, e.g. Content-Range of a 416
        self.headers: list[tuple[str, str]] = []
