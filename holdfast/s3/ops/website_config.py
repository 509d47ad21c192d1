"""GetBucketWebsite, PutBucketWebsite, DeleteBucketWebsite; what acts on them is s3/website.py."""

from __future__ import annotations

from holdfast.http.message import Response
from holdfast.s3.call import Call
from holdfast.s3.checksums import HEADERS
from holdfast.s3.documents import answer_document, remove_document, store_document
from holdfast.s3.operation import BUCKET, Input, operation
from holdfast.s3.website import KIND, parse_website, website_document


@operation("GetBucketWebsite", "GET", BUCKET, query=("website",))
async def get_bucket_website(call: Call, inp: Input) -> Response:
    return await answer_document(call, KIND, "NoSuchWebsiteConfiguration")


@operation("PutBucketWebsite", "PUT", BUCKET, query=("website",), takes=HEADERS)
async def put_bucket_website(call: Call, inp: Input) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketWebsite.html"""
    return await store_document(call, KIND, lambda body: website_document(parse_website(body)))


@operation("DeleteBucketWebsite", "DELETE", BUCKET, query=("website",), status=204)
async def delete_bucket_website(call: Call, inp: Input) -> Response:
    return await remove_document(call, KIND)
