// The AWS SDK for Go v2 at its usual work against an S3 server: each step checks what came back.
//
// Settings come from the environment, read by the SDK itself (docs/clients.md).
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

var (
	ctx    = context.Background()
	client *s3.Client
)

func main() {
	// no fault hides behind a retry
	client = newClient(must(config.LoadDefaultConfig(ctx, config.WithRetryMaxAttempts(1))))
	perform("go", "github.com/aws/aws-sdk-go-v2/service/s3", makeBucket, []step{
		{"buckets", buckets}, {"objects", objects}, {"checksums", checksums},
		{"unknown length", unknownLength}, {"ranges", ranges}, {"large objects", largeObjects},
		{"part copy", partCopy}, {"listing", listing}, {"odd keys", odd}, {"copy", copies},
		{"versions", versions}, {"tags", tags}, {"conditions", conditions},
		{"presigned", presigned}, {"delete many", deleteMany}, {"object lock", objectLock},
		{"policy", policy}, {"cors", cors}, {"errors", errorTypes},
	})
}

func newClient(loaded aws.Config) *s3.Client {
	return s3.NewFromConfig(loaded, func(o *s3.Options) { o.UsePathStyle = true })
}

func makeBucket(name string, locked bool) {
	must(client.CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: &name, ObjectLockEnabledForBucket: &locked,
	}))
}

// refused asserts that a call failed with this error code.
func refused[T any](code string) func(T, error) {
	return func(_ T, err error) {
		var api smithy.APIError
		if !errors.As(err, &api) {
			panic(fmt.Sprintf("wanted %s, got %v", code, err))
		}
		equal("error code", api.ErrorCode(), code)
	}
}

func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

func put(bucket, key, body string) *s3.PutObjectOutput {
	return must(client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: strings.NewReader(body),
	}))
}

func get(bucket, key string) string {
	answer := must(client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key}))
	return string(must(io.ReadAll(answer.Body)))
}

func head(bucket, key string) *s3.HeadObjectOutput {
	return must(client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key}))
}

func keysOf(contents []types.Object) (keys []string) {
	for _, object := range contents {
		keys = append(keys, *object.Key)
	}
	return keys
}

// putAll writes these keys, and gives them back.
func putAll(bucket string, keys []string) []string {
	writeAll(keys, func(key string) error {
		_, err := client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &bucket, Key: &key, Body: strings.NewReader("x"),
		})
		return err
	})
	return keys
}

func buckets(bucket string) {
	must(client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket}))
	listed := must(client.ListBuckets(ctx, &s3.ListBucketsInput{Prefix: &bucket}))
	equal("listed", *listed.Buckets[0].Name, bucket)
	where := must(client.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: &bucket}))
	equal("us-east-1 has no constraint", where.LocationConstraint, "")
	must(client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket}))
	_, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket})
	equal("HEAD of no bucket is NotFound", is[*types.NotFound](err), true)
}

func objects(bucket string) {
	key := "directory/file"
	stored := must(client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: strings.NewReader("content"),
		ContentType: aws.String("text/plain; charset=utf-8"),
		Metadata:    map[string]string{"colour": "blue", "two-words": "a b"},
	}))
	found := head(bucket, key)
	equal("ETag", *found.ETag, *stored.ETag)
	equal("length", *found.ContentLength, 7)
	answer := must(client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key}))
	equal("content", string(must(io.ReadAll(answer.Body))), "content")
	equal("type", *answer.ContentType, "text/plain; charset=utf-8")
	equal("metadata", fmt.Sprint(answer.Metadata), "map[colour:blue two-words:a b]")
	must(client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("empty")}))
	equal("empty object", get(bucket, "empty"), "")
	must(client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key}))
	_, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	equal("HEAD of no object is NotFound", is[*types.NotFound](err), true)
}

func checksums(bucket string) {
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte("content")))
	stored := put(bucket, "default", "content")
	equal("CRC32 by default", *stored.ChecksumCRC32, base64.StdEncoding.EncodeToString(sum))
	answer := must(client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &bucket, Key: aws.String("default"), ChecksumMode: types.ChecksumModeEnabled,
	}))
	must(io.ReadAll(answer.Body)) // fails where the checksum does not fit
	equal("CRC32 of GET", *answer.ChecksumCRC32, *stored.ChecksumCRC32)
	for _, algorithm := range []types.ChecksumAlgorithm{"CRC32C", "SHA1", "SHA256", "CRC64NVME"} {
		key := string(algorithm)
		must(client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &bucket, Key: &key, Body: strings.NewReader("content"),
			ChecksumAlgorithm: algorithm,
		}))
		equal(key, get(bucket, key), "content")
		attributes := must(client.GetObjectAttributes(ctx, &s3.GetObjectAttributesInput{
			Bucket: &bucket, Key: &key,
			ObjectAttributes: []types.ObjectAttributes{"Checksum", "ObjectSize"},
		}))
		equal("size of "+key, *attributes.ObjectSize, 7)
		sums := attributes.Checksum
		sum := map[string]*string{
			"CRC32C": sums.ChecksumCRC32C, "SHA1": sums.ChecksumSHA1,
			"SHA256": sums.ChecksumSHA256, "CRC64NVME": sums.ChecksumCRC64NVME,
		}[key]
		equal("has its "+key, sum != nil, true)
	}
	refused[*s3.PutObjectOutput]("BadDigest")(client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: aws.String("wrong"), Body: strings.NewReader("content"),
		ChecksumCRC32: aws.String("AAAAAA=="),
	}))
}

func unknownLength(bucket string) {
	transfers := transfermanager.New(client)
	must(transfers.UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: &bucket, Key: aws.String("piped"), Body: piped(large[:partBytes*2+1]),
	}))
	equal("same bytes", get(bucket, "piped") == string(large[:partBytes*2+1]), true)
	if !tls {
		return // the SDK sends a body that it can't read twice only over TLS
	}
	must(client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: aws.String("streamed"), ContentLength: aws.Int64(100_000),
		Body: piped(large[:100_000]), // can't be read twice: a trailing checksum
	}))
	equal("same bytes", get(bucket, "streamed") == string(large[:100_000]), true)
}

func ranges(bucket string) {
	put(bucket, "digits", "0123456789")
	for asked, wanted := range map[string]string{
		"bytes=2-4": "234", "bytes=7-": "789", "bytes=-2": "89", "bytes=8-100": "89",
	} {
		answer := must(client.GetObject(ctx, &s3.GetObjectInput{
			Bucket: &bucket, Key: aws.String("digits"), Range: &asked,
		}))
		equal(asked, string(must(io.ReadAll(answer.Body))), wanted)
		equal("is a range", strings.HasSuffix(*answer.ContentRange, "/10"), true)
	}
	refused[*s3.GetObjectOutput]("InvalidRange")(client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &bucket, Key: aws.String("digits"), Range: aws.String("bytes=10-"),
	}))
}

func largeObjects(bucket string) {
	transfers := transfermanager.New(client)
	uploaded := must(transfers.UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: &bucket, Key: aws.String("large"), Body: bytes.NewReader(large),
		Metadata: map[string]string{"colour": "blue"},
	}))
	equal("is multipart", strings.HasSuffix(*uploaded.ETag, "-8\""), true)
	got := must(transfers.GetObject(ctx, &transfermanager.GetObjectInput{
		Bucket: &bucket, Key: aws.String("large"),
	}))
	equal("same bytes", bytes.Equal(must(io.ReadAll(got.Body)), large), true)
	found := must(client.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: &bucket, Key: aws.String("large"), PartNumber: aws.Int32(1),
	}))
	equal("parts", *found.PartsCount, 8)
	equal("metadata", found.Metadata["colour"], "blue")
}

func partCopy(bucket string) {
	put(bucket, "source", string(large[:partBytes*2]))
	upload := must(client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &bucket, Key: aws.String("made"),
	}))
	var parts []types.CompletedPart
	for number, asked := range []string{"bytes=5242880-10485759", "bytes=0-99"} {
		part := must(client.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
			Bucket: &bucket, Key: upload.Key, UploadId: upload.UploadId,
			PartNumber: aws.Int32(int32(number + 1)), CopySourceRange: &asked,
			CopySource: aws.String(bucket + "/source"),
		}))
		parts = append(parts, types.CompletedPart{
			ETag: part.CopyPartResult.ETag, PartNumber: aws.Int32(int32(number + 1)),
		})
	}
	listed := must(client.ListParts(ctx, &s3.ListPartsInput{
		Bucket: &bucket, Key: upload.Key, UploadId: upload.UploadId,
	}))
	equal("parts listed", len(listed.Parts), 2)
	must(client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &bucket, Key: upload.Key, UploadId: upload.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}))
	wanted := string(large[partBytes:partBytes*2]) + string(large[:100])
	equal("same bytes", get(bucket, "made") == wanted, true)
}

func listing(bucket string) {
	keys := putAll(bucket, numbered("many/", keysListed))
	put(bucket, "alone", "x")
	var seen []string
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{
		Bucket: &bucket, Prefix: aws.String("many/"),
	})
	for pages.HasMorePages() {
		seen = append(seen, keysOf(must(pages.NextPage(ctx)).Contents)...)
	}
	equal("all keys in order", slices.Equal(seen, keys), true)
	root := must(client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: &bucket, Delimiter: aws.String("/"),
	}))
	equal("keys at the root", strings.Join(keysOf(root.Contents), " "), "alone")
	equal("prefixes at the root", len(root.CommonPrefixes), 1)
	equal("prefix", *root.CommonPrefixes[0].Prefix, "many/")
	older := must(client.ListObjects(ctx, &s3.ListObjectsInput{Bucket: &bucket}))
	equal("a page", len(older.Contents), 1000)
}

func odd(bucket string) {
	for _, key := range oddKeys {
		put(bucket, key, key)
		equal("content of "+key, get(bucket, key), key)
		must(client.CopyObject(ctx, &s3.CopyObjectInput{
			Bucket: &bucket, Key: aws.String("copy of " + key),
			CopySource: aws.String(bucket + "/" + strings.ReplaceAll(url.QueryEscape(key), "+", "%20")),
		}))
		equal("copy of "+key, get(bucket, "copy of "+key), key)
		must(client.DeleteObject(ctx, &s3.DeleteObjectInput{
			Bucket: &bucket, Key: aws.String("copy of " + key),
		}))
	}
	listed := keysOf(must(client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket})).Contents)
	wanted := slices.Sorted(slices.Values(oddKeys))
	equal("listed", strings.Join(listed, "\n"), strings.Join(wanted, "\n"))
}

func copies(bucket string) {
	must(client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: aws.String("one"), Metadata: map[string]string{"colour": "blue"},
	}))
	source := aws.String(bucket + "/one")
	must(client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &bucket, Key: aws.String("kept"), CopySource: source,
	}))
	equal("metadata kept", head(bucket, "kept").Metadata["colour"], "blue")
	must(client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &bucket, Key: aws.String("one"), CopySource: source,
		MetadataDirective: types.MetadataDirectiveReplace, ContentType: aws.String("text/html"),
		Metadata: map[string]string{"shape": "round"},
	}))
	found := head(bucket, "one")
	equal("metadata replaced", fmt.Sprint(found.Metadata), "map[shape:round]")
	equal("type replaced", *found.ContentType, "text/html")
	refused[*s3.CopyObjectOutput]("InvalidRequest")(client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &bucket, Key: aws.String("one"), CopySource: source,
	}))
}

func versions(bucket string) {
	must(client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket: &bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: "Enabled"},
	}))
	first, second := put(bucket, "key", "first"), put(bucket, "key", "second")
	key := aws.String("key")
	marker := must(client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: key}))
	equal("is a marker", *marker.DeleteMarker, true)
	refused[*s3.GetObjectOutput]("NoSuchKey")(
		client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: key}))
	answer := must(client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &bucket, Key: key, VersionId: first.VersionId,
	}))
	equal("first version", string(must(io.ReadAll(answer.Body))), "first")
	refused[*s3.GetObjectOutput]("MethodNotAllowed")(client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &bucket, Key: key, VersionId: marker.VersionId,
	}))
	listed := must(client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &bucket}))
	equal("versions", len(listed.Versions), 2)
	equal("newest first", *listed.Versions[0].VersionId, *second.VersionId)
	equal("markers", len(listed.DeleteMarkers), 1)
	equal("marker is latest", *listed.DeleteMarkers[0].IsLatest, true)
	for _, id := range []*string{marker.VersionId, second.VersionId} {
		must(client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: key, VersionId: id}))
	}
	equal("the first one is current", get(bucket, "key"), "first")
}

func tags(bucket string) {
	key := aws.String("key")
	must(client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: key, Tagging: aws.String("a=1&b=x%20y"),
	}))
	got := must(client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &bucket, Key: key}))
	equal("tags by header", len(got.TagSet), 2)
	tag := types.Tag{Key: aws.String("c/d"), Value: aws.String("é + ü")}
	set := &types.Tagging{TagSet: []types.Tag{tag}}
	must(client.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{
		Bucket: &bucket, Key: key, Tagging: set,
	}))
	got = must(client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &bucket, Key: key}))
	equal("tag", *got.TagSet[0].Key+"="+*got.TagSet[0].Value, "c/d=é + ü")
	must(client.DeleteObjectTagging(ctx, &s3.DeleteObjectTaggingInput{Bucket: &bucket, Key: key}))
	refused[*s3.GetBucketTaggingOutput]("NoSuchTagSet")(
		client.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: &bucket}))
	must(client.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: &bucket, Tagging: set}))
	bucketTags := must(client.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: &bucket}))
	equal("bucket tags", len(bucketTags.TagSet), 1)
}

func conditions(bucket string) {
	key := aws.String("key")
	try := func(match, noneMatch *string) (*s3.PutObjectOutput, error) {
		return client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &bucket, Key: key, Body: strings.NewReader("content"),
			IfMatch: match, IfNoneMatch: noneMatch,
		})
	}
	stored := must(try(nil, aws.String("*")))
	refused[*s3.PutObjectOutput]("PreconditionFailed")(try(nil, aws.String("*")))
	must(try(stored.ETag, nil))
	refused[*s3.PutObjectOutput]("PreconditionFailed")(try(aws.String(`"0"`), nil))
	_, err := client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &bucket, Key: key, IfNoneMatch: stored.ETag,
	})
	equal("not modified", err != nil && strings.Contains(err.Error(), "StatusCode: 304"), true)
}

func presigned(bucket string) {
	signer, browser := s3.NewPresignClient(client), httpClient(os.Getenv("AWS_CA_BUNDLE"))
	key := aws.String("signed + ü/key")
	upload := must(signer.PresignPutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: key, ContentType: aws.String("text/plain"),
	}, s3.WithPresignExpires(time.Minute)))
	request := must(http.NewRequest(upload.Method, upload.URL, strings.NewReader("content")))
	request.Header = upload.SignedHeader
	equal("status of PUT", must(browser.Do(request)).StatusCode, 200)
	download := must(signer.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: key}))
	answer := must(browser.Get(download.URL))
	equal("content", string(must(io.ReadAll(answer.Body))), "content")
	equal("type", answer.Header.Get("Content-Type"), "text/plain")
	other := strings.Replace(download.URL, "signed", "singed", 1)
	equal("status for another key", must(browser.Get(other)).StatusCode, 403)
}

func deleteMany(bucket string) {
	var named []types.ObjectIdentifier
	for _, key := range putAll(bucket, numbered("key&<>", keysDeleted)) {
		named = append(named, types.ObjectIdentifier{Key: aws.String(key)})
	}
	answer := must(client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &bucket, Delete: &types.Delete{Objects: named},
	}))
	equal("deleted", len(answer.Deleted), keysDeleted)
	equal("errors", len(answer.Errors), 0)
	left := must(client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket}))
	equal("left", *left.KeyCount, 0)
}

func objectLock(bucket string) {
	must(client.PutObjectLockConfiguration(ctx, &s3.PutObjectLockConfigurationInput{
		Bucket: &bucket,
		ObjectLockConfiguration: &types.ObjectLockConfiguration{
			ObjectLockEnabled: types.ObjectLockEnabledEnabled,
			Rule: &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{
				Mode: types.ObjectLockRetentionModeGovernance, Days: aws.Int32(1),
			}},
		},
	}))
	key, version := aws.String("key"), put(bucket, "key", "content").VersionId
	kept := must(client.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: &bucket, Key: key}))
	equal("default mode", kept.Retention.Mode, types.ObjectLockRetentionModeGovernance)
	until := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	must(client.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
		Bucket: &bucket, Key: key, Retention: &types.ObjectLockRetention{
			Mode: "GOVERNANCE", RetainUntilDate: &until,
		},
	}))
	hold := func(status types.ObjectLockLegalHoldStatus) {
		must(client.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{
			Bucket: &bucket, Key: key, LegalHold: &types.ObjectLockLegalHold{Status: status},
		}))
	}
	remove := func() (*s3.DeleteObjectOutput, error) {
		return client.DeleteObject(ctx, &s3.DeleteObjectInput{
			Bucket: &bucket, Key: key, VersionId: version,
			BypassGovernanceRetention: aws.Bool(true),
		})
	}
	hold(types.ObjectLockLegalHoldStatusOn)
	found := head(bucket, *key)
	equal("kept until", found.ObjectLockRetainUntilDate.UTC(), until)
	equal("legal hold", found.ObjectLockLegalHoldStatus, types.ObjectLockLegalHoldStatusOn)
	refused[*s3.DeleteObjectOutput]("AccessDenied")(remove())
	hold(types.ObjectLockLegalHoldStatusOff)
	must(remove())
}

func policy(bucket string) {
	refused[*s3.GetBucketPolicyOutput]("NoSuchBucketPolicy")(
		client.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &bucket}))
	text := denyDelete(bucket)
	must(client.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &text}))
	got := must(client.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &bucket}))
	equal("policy", *got.Policy, text)
	put(bucket, "kept/key", "x")
	refused[*s3.DeleteObjectOutput]("AccessDenied")(client.DeleteObject(
		ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("kept/key")}))
	must(client.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: &bucket}))
}

func cors(bucket string) {
	refused[*s3.GetBucketCorsOutput]("NoSuchCORSConfiguration")(
		client.GetBucketCors(ctx, &s3.GetBucketCorsInput{Bucket: &bucket}))
	must(client.PutBucketCors(ctx, &s3.PutBucketCorsInput{
		Bucket: &bucket, CORSConfiguration: &types.CORSConfiguration{CORSRules: []types.CORSRule{{
			AllowedMethods: []string{"GET", "PUT"}, AllowedOrigins: []string{"https://*.example.org"},
			ExposeHeaders: []string{"ETag"}, MaxAgeSeconds: aws.Int32(60),
		}}},
	}))
	rule := must(client.GetBucketCors(ctx, &s3.GetBucketCorsInput{Bucket: &bucket})).CORSRules[0]
	equal("methods", strings.Join(rule.AllowedMethods, " "), "GET PUT")
	equal("age", *rule.MaxAgeSeconds, 60)
}

func errorTypes(bucket string) {
	_, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("none")})
	equal("NoSuchKey", is[*types.NoSuchKey](err), true)
	_, err = client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("no-bucket")})
	equal("NoSuchBucket", is[*types.NoSuchBucket](err), true)
	_, err = client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &bucket, Key: aws.String("none"), UploadId: aws.String("none"),
	})
	equal("NoSuchUpload", is[*types.NoSuchUpload](err), true)
	put(bucket, "key", "x")
	refused[*s3.DeleteBucketOutput]("BucketNotEmpty")(
		client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket}))
	for code, key := range map[string]string{
		"SignatureDoesNotMatch": os.Getenv("AWS_ACCESS_KEY_ID"), "InvalidAccessKeyId": "unknown",
	} {
		loaded := must(config.LoadDefaultConfig(ctx, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(key, "wrong", ""))))
		refused[*s3.ListBucketsOutput](code)(
			newClient(loaded).ListBuckets(ctx, &s3.ListBucketsInput{}))
	}
}
