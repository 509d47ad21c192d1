// The AWS SDK for JavaScript v3 at its usual work against an S3 server: each step checks what came
// back.
//
// Settings come from the environment, read by the SDK itself (docs/clients.md). Prints one line a
// step, "ok NAME" or "FAIL NAME: why", and ends with status 1 after a failure.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { crc32 } from "node:zlib";

import * as s3 from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const PART_BYTES = 5 * 1024 ** 2;
const KEYS_LISTED = 1200;
const KEYS_DELETED = 1000;
const WRITERS = 16;
const ODD_KEYS = [
  "a b",
  "a+b",
  "a%20b",
  "a%2Fb",
  "ünïcødé/世界",
  "dots/../up",
  "./here",
  "a//b",
  "dir/",
  "q?x=1&y=2#z",
  "'quoted' (1) [2] {3}",
  '~!@$^*,;:=|<>"\\`',
];

const settings = { forcePathStyle: true, maxAttempts: 1 }; // no fault hides behind a retry
const client = new s3.S3Client(settings);
const large = randomBytes(64 * 1024 ** 2);

// send("GetObject", {...}) in place of client.send(new s3.GetObjectCommand({...}))
const send = (name, input) => client.send(new s3[`${name}Command`](input));

function randomBytes(count) {
  const words = new Uint32Array(count / 4);
  for (let i = 0, x = 1; i < words.length; i++) words[i] = x = (x * 1664525 + 1013904223) >>> 0;
  return Buffer.from(words.buffer);
}

async function get(Bucket, Key, more = {}) {
  const answer = await send("GetObject", { Bucket, Key, ...more });
  return Buffer.from(await answer.Body.transformToByteArray());
}

const text = async (...where) => (await get(...where)).toString();

function same(got, wanted) {
  assert.ok(Buffer.compare(got, wanted) === 0, "other bytes came back");
}

// That the call is refused by an error of this class or with this code.
async function refused(kind, call) {
  const error = await call.then(
    () => assert.fail(`wanted ${kind.name ?? kind}, and it was done`),
    (error) => error,
  );
  if (typeof kind === "string") assert.equal(error.name, kind, error.message);
  else assert.ok(error instanceof kind, `wanted ${kind.name}, got ${error.name}`);
}

async function putAll(Bucket, prefix, count) {
  const keys = Array.from({ length: count }, (_, i) => prefix + String(i).padStart(4, "0"));
  const waiting = [...keys];
  const write = async () => {
    for (let Key; (Key = waiting.pop());) await send("PutObject", { Bucket, Key, Body: "x" });
  };
  await Promise.all(Array.from({ length: WRITERS }, write));
  return keys;
}

// A stream that knows neither its length nor how to start again.
function piped(content, pieceBytes = 100_000) {
  return Readable.from(
    (function* () {
      for (let i = 0; i < content.length; i += pieceBytes)
        yield content.subarray(i, i + pieceBytes);
    })(),
    { objectMode: false },
  );
}

const steps = {
  buckets: async (Bucket) => {
    await send("HeadBucket", { Bucket });
    const listed = await send("ListBuckets", { Prefix: Bucket });
    assert.deepEqual(
      listed.Buckets.map((bucket) => bucket.Name),
      [Bucket],
    );
    const where = await send("GetBucketLocation", { Bucket });
    assert.equal(where.LocationConstraint || undefined, undefined);
    await send("DeleteBucket", { Bucket });
    await refused(s3.NotFound, send("HeadBucket", { Bucket }));
    await s3.waitUntilBucketNotExists({ client, maxWaitTime: 60 }, { Bucket });
  },

  objects: async (Bucket) => {
    const Key = "directory/file";
    const Metadata = { colour: "blue", "two-words": "a b" };
    const ContentType = "text/plain; charset=utf-8";
    const stored = await send("PutObject", { Bucket, Key, Body: "content", Metadata, ContentType });
    const head = await send("HeadObject", { Bucket, Key });
    assert.equal(head.ETag, stored.ETag);
    assert.equal(head.ContentLength, 7);
    assert.deepEqual(head.Metadata, Metadata);
    assert.equal(head.ContentType, ContentType);
    assert.equal(await text(Bucket, Key), "content");
    await send("PutObject", { Bucket, Key: "empty" });
    assert.equal(await text(Bucket, "empty"), "");
    await send("DeleteObject", { Bucket, Key });
    await refused(s3.NotFound, send("HeadObject", { Bucket, Key }));
  },

  checksums: async (Bucket) => {
    const Body = "content";
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(Body));
    const ChecksumCRC32 = sum.toString("base64");
    const stored = await send("PutObject", { Bucket, Key: "default", Body });
    assert.equal(stored.ChecksumCRC32, ChecksumCRC32);
    const ChecksumMode = "ENABLED";
    assert.equal(await text(Bucket, "default", { ChecksumMode }), Body); // verified while reading
    for (const ChecksumAlgorithm of ["CRC32C", "SHA1", "SHA256", "CRC64NVME"]) {
      const Key = ChecksumAlgorithm;
      await send("PutObject", { Bucket, Key, Body, ChecksumAlgorithm });
      assert.equal(await text(Bucket, Key, { ChecksumMode }), Body);
      const ObjectAttributes = ["Checksum", "ObjectSize"];
      const attributes = await send("GetObjectAttributes", { Bucket, Key, ObjectAttributes });
      assert.equal(attributes.ObjectSize, 7);
      assert.ok(attributes.Checksum[`Checksum${Key}`], `no ${Key}`);
    }
    const wrong = send("PutObject", { Bucket, Key: "wrong", Body, ChecksumCRC32: "AAAAAA==" });
    await refused("BadDigest", wrong);
  },

  "unknown length": async (Bucket) => {
    const content = large.subarray(0, 2 * PART_BYTES + 1);
    const upload = new Upload({ client, params: { Bucket, Key: "piped", Body: piped(content) } });
    await upload.done();
    same(await get(Bucket, "piped"), content);
    const short = { Bucket, Key: "streamed", Body: piped(content), ContentLength: content.length };
    await send("PutObject", short); // one request with a trailing checksum
    same(await get(Bucket, "streamed"), content);
  },

  ranges: async (Bucket) => {
    const Key = "digits";
    await send("PutObject", { Bucket, Key, Body: "0123456789" });
    const asked = { "bytes=2-4": "234", "bytes=7-": "789", "bytes=-2": "89", "bytes=8-99": "89" };
    for (const [Range, wanted] of Object.entries(asked)) {
      const answer = await send("GetObject", { Bucket, Key, Range });
      assert.equal(await answer.Body.transformToString(), wanted);
      assert.match(answer.ContentRange, /^bytes \d-\d\/10$/);
    }
    await refused("InvalidRange", send("GetObject", { Bucket, Key, Range: "bytes=10-" }));
  },

  "large objects": async (Bucket) => {
    for (const ChecksumAlgorithm of [undefined, "CRC64NVME", "SHA256"]) {
      const Key = `large-${ChecksumAlgorithm}`;
      const params = { Bucket, Key, Body: large, ChecksumAlgorithm, Metadata: { colour: "blue" } };
      const upload = new Upload({ client, params, queueSize: 4, partSize: 2 * PART_BYTES });
      const stored = await upload.done();
      assert.match(stored.ETag, /-7"$/);
      same(await get(Bucket, Key, { ChecksumMode: "ENABLED" }), large);
      const head = await send("HeadObject", { Bucket, Key, PartNumber: 7 });
      assert.equal(head.PartsCount, 7);
      assert.equal(head.ContentLength, large.length - 12 * PART_BYTES);
      assert.equal(head.Metadata.colour, "blue");
    }
  },

  "part copy": async (Bucket) => {
    await send("PutObject", { Bucket, Key: "source", Body: large.subarray(0, 2 * PART_BYTES) });
    const Key = "made";
    const { UploadId } = await send("CreateMultipartUpload", { Bucket, Key });
    const Parts = [];
    for (const CopySourceRange of ["bytes=5242880-10485759", "bytes=0-99"]) {
      const PartNumber = Parts.length + 1;
      const source = { CopySource: `${Bucket}/source`, CopySourceRange };
      const part = await send("UploadPartCopy", { Bucket, Key, UploadId, PartNumber, ...source });
      Parts.push({ PartNumber, ETag: part.CopyPartResult.ETag });
    }
    const listed = await send("ListParts", { Bucket, Key, UploadId });
    assert.deepEqual(
      listed.Parts.map((part) => part.Size),
      [PART_BYTES, 100],
    );
    const uploads = await send("ListMultipartUploads", { Bucket });
    assert.deepEqual(
      uploads.Uploads.map((upload) => upload.Key),
      [Key],
    );
    const MultipartUpload = { Parts };
    await send("CompleteMultipartUpload", { Bucket, Key, UploadId, MultipartUpload });
    const wanted = [large.subarray(PART_BYTES, 2 * PART_BYTES), large.subarray(0, 100)];
    same(await get(Bucket, Key), Buffer.concat(wanted));
  },

  listing: async (Bucket) => {
    const keys = await putAll(Bucket, "many/", KEYS_LISTED);
    await send("PutObject", { Bucket, Key: "alone", Body: "x" });
    const seen = [];
    for await (const page of s3.paginateListObjectsV2({ client }, { Bucket, Prefix: "many/" }))
      seen.push(...page.Contents.map((object) => object.Key));
    assert.deepEqual(seen, keys);
    const root = await send("ListObjectsV2", { Bucket, Delimiter: "/" });
    assert.deepEqual(
      root.Contents.map((object) => object.Key),
      ["alone"],
    );
    assert.deepEqual(root.CommonPrefixes, [{ Prefix: "many/" }]);
    const older = await send("ListObjects", { Bucket, Marker: "many/1197" });
    assert.deepEqual(
      older.Contents.map((object) => object.Key),
      ["many/1198", "many/1199"],
    );
  },

  "odd keys": async (Bucket) => {
    for (const Key of ODD_KEYS) {
      await send("PutObject", { Bucket, Key, Body: Key });
      assert.equal(await text(Bucket, Key), Key);
      const copy = { Bucket, Key: `copy of ${Key}` };
      await send("CopyObject", { ...copy, CopySource: `${Bucket}/${encodeURIComponent(Key)}` });
      assert.equal(await text(Bucket, copy.Key), Key);
      await send("DeleteObject", copy);
    }
    const listed = (await send("ListObjectsV2", { Bucket })).Contents.map((object) => object.Key);
    const byBytes = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));
    assert.deepEqual(listed, ODD_KEYS.toSorted(byBytes));
  },

  copy: async (Bucket) => {
    const Key = "one";
    await send("PutObject", { Bucket, Key, Body: "content", Metadata: { colour: "blue" } });
    const CopySource = `${Bucket}/${Key}`;
    await send("CopyObject", { Bucket, Key: "kept", CopySource });
    const kept = await send("HeadObject", { Bucket, Key: "kept" });
    assert.deepEqual(kept.Metadata, { colour: "blue" });
    const replaced = { Metadata: { shape: "round" }, ContentType: "text/html" };
    const MetadataDirective = "REPLACE";
    await send("CopyObject", { Bucket, Key, CopySource, MetadataDirective, ...replaced });
    const head = await send("HeadObject", { Bucket, Key });
    assert.deepEqual([head.Metadata, head.ContentType], [{ shape: "round" }, "text/html"]);
    await refused("InvalidRequest", send("CopyObject", { Bucket, Key, CopySource }));
  },

  versions: async (Bucket) => {
    const VersioningConfiguration = { Status: "Enabled" };
    await send("PutBucketVersioning", { Bucket, VersioningConfiguration });
    assert.equal((await send("GetBucketVersioning", { Bucket })).Status, "Enabled");
    const Key = "key";
    const first = await send("PutObject", { Bucket, Key, Body: "first" });
    const second = await send("PutObject", { Bucket, Key, Body: "second" });
    const marker = await send("DeleteObject", { Bucket, Key });
    assert.equal(marker.DeleteMarker, true);
    await refused(s3.NoSuchKey, get(Bucket, Key));
    assert.equal(await text(Bucket, Key, { VersionId: first.VersionId }), "first");
    await refused("MethodNotAllowed", get(Bucket, Key, { VersionId: marker.VersionId }));
    const listed = await send("ListObjectVersions", { Bucket });
    const ids = listed.Versions.map((version) => version.VersionId);
    assert.deepEqual(ids, [second.VersionId, first.VersionId]);
    assert.equal(listed.DeleteMarkers[0].VersionId, marker.VersionId);
    assert.equal(listed.DeleteMarkers[0].IsLatest, true);
    for (const { VersionId } of [marker, second])
      await send("DeleteObject", { Bucket, Key, VersionId });
    assert.equal(await text(Bucket, Key), "first");
  },

  tags: async (Bucket) => {
    const Key = "key";
    await send("PutObject", { Bucket, Key, Body: "x", Tagging: "a=1&b=x%20y" });
    const tagsOf = async () => (await send("GetObjectTagging", { Bucket, Key })).TagSet;
    assert.deepEqual(await tagsOf(), [
      { Key: "a", Value: "1" },
      { Key: "b", Value: "x y" },
    ]);
    const Tagging = { TagSet: [{ Key: "c/d", Value: "é + ü" }] };
    await send("PutObjectTagging", { Bucket, Key, Tagging });
    assert.deepEqual(await tagsOf(), Tagging.TagSet);
    await send("DeleteObjectTagging", { Bucket, Key });
    assert.equal((await tagsOf())?.length ?? 0, 0);
    await refused("NoSuchTagSet", send("GetBucketTagging", { Bucket }));
    await send("PutBucketTagging", { Bucket, Tagging });
    assert.deepEqual((await send("GetBucketTagging", { Bucket })).TagSet, Tagging.TagSet);
  },

  conditions: async (Bucket) => {
    const write = (conditions) =>
      send("PutObject", { Bucket, Key: "key", Body: "content", ...conditions });
    const stored = await write({ IfNoneMatch: "*" });
    await refused("PreconditionFailed", write({ IfNoneMatch: "*" }));
    await write({ IfMatch: stored.ETag });
    await refused("PreconditionFailed", write({ IfMatch: '"0"' }));
    await refused("NoSuchKey", send("PutObject", { Bucket, Key: "none", IfMatch: stored.ETag }));
    const unchanged = get(Bucket, "key", { IfNoneMatch: stored.ETag });
    await assert.rejects(unchanged, (error) => error.$metadata.httpStatusCode === 304);
  },

  presigned: async (Bucket) => {
    const Key = "signed + ü/key";
    // else the SDK signs the checksum of the empty body that it has, and S3 refuses any other
    const requestChecksumCalculation = "WHEN_REQUIRED";
    const signer = new s3.S3Client({ ...settings, requestChecksumCalculation });
    const upload = new s3.PutObjectCommand({ Bucket, Key, ContentType: "text/plain" });
    const target = await getSignedUrl(signer, upload, { expiresIn: 60 });
    const headers = { "content-type": "text/plain" };
    const put = await fetch(target, { method: "PUT", body: "content", headers });
    assert.equal(put.status, 200, await put.text());
    const url = await getSignedUrl(signer, new s3.GetObjectCommand({ Bucket, Key }));
    const answer = await fetch(url);
    assert.equal(await answer.text(), "content");
    assert.equal(answer.headers.get("content-type"), "text/plain");
    assert.equal((await fetch(url.replace("signed", "singed"))).status, 403);
  },

  "delete many": async (Bucket) => {
    const Objects = (await putAll(Bucket, "key&<>", KEYS_DELETED)).map((Key) => ({ Key }));
    const answer = await send("DeleteObjects", { Bucket, Delete: { Objects } });
    assert.equal(answer.Deleted.length, KEYS_DELETED);
    assert.equal(answer.Errors, undefined);
    assert.equal((await send("ListObjectsV2", { Bucket })).KeyCount, 0);
  },

  "object lock": async (Bucket) => {
    const DefaultRetention = { Mode: "GOVERNANCE", Days: 1 };
    const ObjectLockConfiguration = { ObjectLockEnabled: "Enabled", Rule: { DefaultRetention } };
    await send("PutObjectLockConfiguration", { Bucket, ObjectLockConfiguration });
    const got = await send("GetObjectLockConfiguration", { Bucket });
    assert.deepEqual(got.ObjectLockConfiguration, ObjectLockConfiguration);
    const Key = "key";
    const { VersionId } = await send("PutObject", { Bucket, Key, Body: "content" });
    const kept = await send("GetObjectRetention", { Bucket, Key });
    assert.equal(kept.Retention.Mode, "GOVERNANCE");
    const day = 24 * 3600 * 1000;
    const RetainUntilDate = new Date(Math.trunc(Date.now() / 1000) * 1000 + 2 * day);
    const Retention = { Mode: "GOVERNANCE", RetainUntilDate };
    await send("PutObjectRetention", { Bucket, Key, Retention });
    await send("PutObjectLegalHold", { Bucket, Key, LegalHold: { Status: "ON" } });
    const head = await send("HeadObject", { Bucket, Key });
    assert.deepEqual(head.ObjectLockRetainUntilDate, RetainUntilDate);
    assert.equal(head.ObjectLockLegalHoldStatus, "ON");
    const version = { Bucket, Key, VersionId };
    const bypassing = { ...version, BypassGovernanceRetention: true };
    await refused("AccessDenied", send("DeleteObject", bypassing));
    await send("PutObjectLegalHold", { Bucket, Key, LegalHold: { Status: "OFF" } });
    await refused("AccessDenied", send("DeleteObject", version));
    await send("DeleteObject", bypassing);
  },

  policy: async (Bucket) => {
    await refused("NoSuchBucketPolicy", send("GetBucketPolicy", { Bucket }));
    const Resource = `arn:aws:s3:::${Bucket}/kept/*`;
    const Statement = [{ Effect: "Deny", Principal: "*", Action: "s3:DeleteObject", Resource }];
    const Policy = JSON.stringify({ Version: "2012-10-17", Statement });
    await send("PutBucketPolicy", { Bucket, Policy });
    assert.equal((await send("GetBucketPolicy", { Bucket })).Policy, Policy);
    await send("PutObject", { Bucket, Key: "kept/key", Body: "x" });
    await refused("AccessDenied", send("DeleteObject", { Bucket, Key: "kept/key" }));
    await send("DeleteBucketPolicy", { Bucket });
  },

  cors: async (Bucket) => {
    await refused("NoSuchCORSConfiguration", send("GetBucketCors", { Bucket }));
    const AllowedOrigins = ["https://*.example.org"];
    const rule = { AllowedMethods: ["GET", "PUT"], AllowedOrigins, MaxAgeSeconds: 60 };
    await send("PutBucketCors", { Bucket, CORSConfiguration: { CORSRules: [rule] } });
    assert.deepEqual((await send("GetBucketCors", { Bucket })).CORSRules, [rule]);
    const origin = { origin: "https://www.example.org" };
    const answer = await fetch(`${process.env.AWS_ENDPOINT_URL}/${Bucket}/key`, {
      method: "OPTIONS",
      headers: { ...origin, "access-control-request-method": "PUT" },
    });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get("access-control-allow-origin"), origin.origin);
  },

  errors: async (Bucket) => {
    await refused(s3.NoSuchKey, get(Bucket, "none"));
    await refused(s3.NoSuchBucket, send("ListObjectsV2", { Bucket: "no-bucket" }));
    const upload = { Bucket, Key: "none", UploadId: "none" };
    await refused(s3.NoSuchUpload, send("AbortMultipartUpload", upload));
    await send("PutObject", { Bucket, Key: "key", Body: "x" });
    await refused("BucketNotEmpty", send("DeleteBucket", { Bucket }));
    const accessKeyId = process.env.AWS_ACCESS_KEY_ID;
    for (const [code, key] of [
      ["SignatureDoesNotMatch", accessKeyId],
      ["InvalidAccessKeyId", "unknown"],
    ]) {
      const credentials = { accessKeyId: key, secretAccessKey: "wrong" };
      const stranger = new s3.S3Client({ ...settings, credentials });
      await refused(code, stranger.send(new s3.ListBucketsCommand({})));
    }
  },
};

const manifest = new URL("node_modules/@aws-sdk/client-s3/package.json", import.meta.url);
console.log(`version ${JSON.parse(readFileSync(manifest)).version}`);
for (const [number, [name, run]] of Object.entries(steps).entries()) {
  const Bucket = `js-${number}`;
  try {
    const ObjectLockEnabledForBucket = name === "object lock";
    await send("CreateBucket", { Bucket, ObjectLockEnabledForBucket });
    await run(Bucket);
    console.log(`ok ${name}`);
  } catch (problem) {
    console.log(`FAIL ${name}: ${String(problem).replaceAll("\n", " ").slice(0, 500)}`);
    process.exitCode = 1;
  }
}
