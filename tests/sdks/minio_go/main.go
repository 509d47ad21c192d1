// minio-go at its usual work against an S3 server: each step checks what came back.
//
// Settings come from the environment, as docs/clients.md shows.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/cors"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/tags"
)

var (
	ctx    = context.Background()
	client = newClient(credentials.NewEnvAWS(), true)
)

func main() {
	perform("minio-go", "github.com/minio/minio-go/v7", makeBucket, []step{
		{"buckets", buckets}, {"objects", objects}, {"checksums", checksums},
		{"unknown length", unknownLength}, {"ranges", ranges}, {"large objects", largeObjects},
		{"part copy", compose}, {"listing", listing}, {"odd keys", odd}, {"copy", copies},
		{"versions", versions}, {"tags", tagging}, {"conditions", conditions},
		{"presigned", presigned}, {"form upload", form}, {"delete many", deleteMany},
		{"object lock", objectLock}, {"policy", policy}, {"cors", corsRules}, {"errors", errorTypes},
	})
}

func newClient(keys *credentials.Credentials, trailers bool) *minio.Client {
	endpoint := must(url.Parse(os.Getenv("AWS_ENDPOINT_URL")))
	return must(minio.New(endpoint.Host, &minio.Options{
		Creds:           keys,
		Secure:          endpoint.Scheme == "https",
		Region:          os.Getenv("AWS_REGION"),
		BucketLookup:    minio.BucketLookupPath,
		TrailingHeaders: trailers,
		MaxRetries:      1, // no fault hides behind a retry
	}))
}

func makeBucket(name string, locked bool) {
	options := minio.MakeBucketOptions{Region: os.Getenv("AWS_REGION"), ObjectLocking: locked}
	done(client.MakeBucket(ctx, name, options))
}

// done is for a call that has to succeed and answers nothing.
func done(err error) {
	if err != nil {
		panic(err)
	}
}

// refused asserts that a call failed with this error code.
func refused(code string, err error) {
	if err == nil {
		panic("wanted " + code + ", got no error")
	}
	equal("error code", minio.ToErrorResponse(err).Code, code)
}

func failure[T any](_ T, err error) error { return err }

func put(bucket, key, body string) minio.UploadInfo {
	return must(client.PutObject(
		ctx, bucket, key, strings.NewReader(body), int64(len(body)), minio.PutObjectOptions{}))
}

func get(bucket, key string) string {
	return getVersion(bucket, key, "")
}

func getVersion(bucket, key, version string) string {
	options := minio.GetObjectOptions{VersionID: version, Checksum: true}
	return string(must(io.ReadAll(must(client.GetObject(ctx, bucket, key, options)))))
}

func stat(bucket, key string) (minio.ObjectInfo, error) {
	return client.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
}

func keysOf(bucket string, options minio.ListObjectsOptions) (keys []string) {
	for object := range client.ListObjects(ctx, bucket, options) {
		done(object.Err)
		keys = append(keys, object.Key)
	}
	return keys
}

func putAll(bucket string, keys []string) []string {
	writeAll(keys, func(key string) error {
		_, err := client.PutObject(
			ctx, bucket, key, strings.NewReader("x"), 1, minio.PutObjectOptions{})
		return err
	})
	return keys
}

func buckets(bucket string) {
	equal("it exists", must(client.BucketExists(ctx, bucket)), true)
	listed := slices.ContainsFunc(must(client.ListBuckets(ctx)), func(info minio.BucketInfo) bool {
		return info.Name == bucket
	})
	equal("it is listed", listed, true)
	equal("location", must(client.GetBucketLocation(ctx, bucket)), os.Getenv("AWS_REGION"))
	done(client.RemoveBucket(ctx, bucket))
	equal("it is gone", must(client.BucketExists(ctx, bucket)), false)
}

func objects(bucket string) {
	key := "directory/file"
	stored := must(client.PutObject(
		ctx, bucket, key, strings.NewReader("content"), 7, minio.PutObjectOptions{
			ContentType: "text/plain", CacheControl: "no-cache",
			UserMetadata: map[string]string{"Colour": "blue", "Two-Words": "a b"},
		}))
	info := must(stat(bucket, key))
	equal("ETag", info.ETag, stored.ETag)
	equal("size", info.Size, 7)
	equal("type", info.ContentType, "text/plain")
	equal("cache control", info.Metadata.Get("Cache-Control"), "no-cache")
	equal("colour", info.UserMetadata["Colour"], "blue")
	equal("words", info.UserMetadata["Two-Words"], "a b")
	equal("content", get(bucket, key), "content")
	put(bucket, "empty", "")
	equal("empty object", get(bucket, "empty"), "")
	done(client.RemoveObject(ctx, bucket, key, minio.RemoveObjectOptions{}))
	refused("NoSuchKey", failure(stat(bucket, key)))
}

func checksums(bucket string) {
	for _, algorithm := range []minio.ChecksumType{
		minio.ChecksumCRC32, minio.ChecksumCRC32C, minio.ChecksumSHA1, minio.ChecksumSHA256,
		minio.ChecksumCRC64NVME,
	} {
		key := algorithm.String()
		stored := must(client.PutObject(
			ctx, bucket, key, strings.NewReader("content"), 7,
			minio.PutObjectOptions{Checksum: algorithm}))
		info := must(client.StatObject(ctx, bucket, key, minio.StatObjectOptions{Checksum: true}))
		sums := []string{
			info.ChecksumCRC32, info.ChecksumCRC32C, info.ChecksumSHA1, info.ChecksumSHA256,
			info.ChecksumCRC64NVME,
		}
		known := algorithm.ChecksumBytes([]byte("content"))
		equal(key+" of HEAD", slices.Contains(sums, known.Encoded()), true)
		equal("answer of PUT", stored.Size, 7)
		equal(key, get(bucket, key), "content") // verified while reading
	}
	attributes := must(client.GetObjectAttributes(
		ctx, bucket, "CRC32C", minio.ObjectAttributesOptions{}))
	equal("size", attributes.ObjectSize, 7)
	wrong := minio.PutObjectOptions{UserMetadata: map[string]string{
		"X-Amz-Checksum-Crc32": "AAAAAA==",
	}}
	refused("BadDigest", failure(client.PutObject(
		ctx, bucket, "wrong", strings.NewReader("content"), 7, wrong)))
}

func unknownLength(bucket string) {
	for key, content := range map[string][]byte{"short": large[:1000], "long": large[:17<<20]} {
		must(client.PutObject(ctx, bucket, key, piped(content), -1, minio.PutObjectOptions{
			PartSize: partBytes, ContentType: "text/plain",
		}))
		equal("same bytes", get(bucket, key) == string(content), true)
	}
	must(client.PutObject(ctx, bucket, "parallel", piped(large), -1, minio.PutObjectOptions{
		PartSize: partBytes, NumThreads: 4, ConcurrentStreamParts: true,
	}))
	equal("same bytes", get(bucket, "parallel") == string(large), true)
}

func ranges(bucket string) {
	put(bucket, "digits", "0123456789")
	for wanted, ends := range map[string][2]int64{"234": {2, 4}, "789": {7, 0}, "89": {0, -2}} {
		options := minio.GetObjectOptions{}
		done(options.SetRange(ends[0], ends[1]))
		object := must(client.GetObject(ctx, bucket, "digits", options))
		equal(fmt.Sprint(ends), string(must(io.ReadAll(object))), wanted)
	}
	object := must(client.GetObject(ctx, bucket, "digits", minio.GetObjectOptions{}))
	must(object.Seek(6, io.SeekStart))
	equal("after seek", string(must(io.ReadAll(object))), "6789")
	options := minio.GetObjectOptions{}
	done(options.SetRange(10, 0))
	beyond := must(client.GetObject(ctx, bucket, "digits", options))
	refused("InvalidRange", failure(io.ReadAll(beyond)))
}

func largeObjects(bucket string) {
	stored := must(client.PutObject(
		ctx, bucket, "large", bytes.NewReader(large), largeBytes, minio.PutObjectOptions{
			UserMetadata: map[string]string{"Colour": "blue"},
		}))
	equal("is multipart", strings.HasSuffix(stored.ETag, "-4"), true)
	equal("same bytes", get(bucket, "large") == string(large), true)
	equal("metadata", must(stat(bucket, "large")).UserMetadata["Colour"], "blue")
	plain := newClient(credentials.NewEnvAWS(), false) // its default: no checksums but SHA-256
	must(plain.PutObject(
		ctx, bucket, "plain", bytes.NewReader(large), largeBytes, minio.PutObjectOptions{}))
	equal("same bytes", get(bucket, "plain") == string(large), true)
	path := os.TempDir() + "/" + bucket
	defer os.Remove(path)
	done(client.FGetObject(ctx, bucket, "large", path, minio.GetObjectOptions{}))
	equal("same bytes in the file", bytes.Equal(must(os.ReadFile(path)), large), true)
	must(client.FPutObject(ctx, bucket, "file", path, minio.PutObjectOptions{
		PartSize: partBytes, Checksum: minio.ChecksumFullObjectCRC32C,
	}))
	equal("same bytes", get(bucket, "file") == string(large), true)
}

func compose(bucket string) {
	put(bucket, "one", string(large[:2*partBytes]))
	put(bucket, "two", "the end")
	must(client.ComposeObject(
		ctx, minio.CopyDestOptions{Bucket: bucket, Object: "made"},
		minio.CopySrcOptions{
			Bucket: bucket, Object: "one", MatchRange: true, Start: partBytes, End: 2*partBytes - 1,
		},
		minio.CopySrcOptions{Bucket: bucket, Object: "two"},
	))
	wanted := string(large[partBytes:2*partBytes]) + "the end"
	equal("same bytes", get(bucket, "made") == wanted, true)
	equal("no upload is left", len(uploads(bucket)), 0)
	core := minio.Core{Client: client}
	id := must(core.NewMultipartUpload(ctx, bucket, "begun", minio.PutObjectOptions{}))
	equal("uploads", strings.Join(uploads(bucket), " "), "begun")
	done(client.RemoveIncompleteUpload(ctx, bucket, "begun"))
	refused("NoSuchUpload", core.AbortMultipartUpload(ctx, bucket, "begun", id))
}

func uploads(bucket string) (keys []string) {
	for upload := range client.ListIncompleteUploads(ctx, bucket, "", true) {
		done(upload.Err)
		keys = append(keys, upload.Key)
	}
	return keys
}

func listing(bucket string) {
	keys := putAll(bucket, numbered("many/", keysListed))
	put(bucket, "alone", "x")
	recursive := minio.ListObjectsOptions{Prefix: "many/", Recursive: true}
	equal("all keys in order", slices.Equal(keysOf(bucket, recursive), keys), true)
	recursive.UseV1 = true
	equal("by the older call, too", slices.Equal(keysOf(bucket, recursive), keys), true)
	root := keysOf(bucket, minio.ListObjectsOptions{})
	equal("the root", strings.Join(root, " "), "alone many/")
	after := keysOf(bucket, minio.ListObjectsOptions{
		Prefix: "many/", Recursive: true, StartAfter: "many/1197",
	})
	equal("after a key", strings.Join(after, " "), "many/1198 many/1199")
}

func odd(bucket string) {
	for _, key := range oddKeys {
		put(bucket, key, key)
		equal("content of "+key, get(bucket, key), key)
		must(client.CopyObject(
			ctx, minio.CopyDestOptions{Bucket: bucket, Object: "copy of " + key},
			minio.CopySrcOptions{Bucket: bucket, Object: key}))
		equal("copy of "+key, get(bucket, "copy of "+key), key)
		done(client.RemoveObject(ctx, bucket, "copy of "+key, minio.RemoveObjectOptions{}))
	}
	listed := keysOf(bucket, minio.ListObjectsOptions{Recursive: true})
	wanted := slices.Sorted(slices.Values(oddKeys))
	equal("listed", strings.Join(listed, "\n"), strings.Join(wanted, "\n"))
}

func copies(bucket string) {
	must(client.PutObject(ctx, bucket, "one", strings.NewReader("x"), 1, minio.PutObjectOptions{
		UserMetadata: map[string]string{"Colour": "blue"}, UserTags: map[string]string{"a": "1"},
	}))
	source := minio.CopySrcOptions{Bucket: bucket, Object: "one"}
	must(client.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: "kept"}, source))
	equal("metadata kept", must(stat(bucket, "kept")).UserMetadata["Colour"], "blue")
	must(client.CopyObject(ctx, minio.CopyDestOptions{
		Bucket: bucket, Object: "one", ReplaceMetadata: true, ContentType: "text/html",
		UserMetadata: map[string]string{"Shape": "round"},
		ReplaceTags:  true, UserTags: map[string]string{"b": "2"},
	}, source))
	info := must(stat(bucket, "one"))
	equal("metadata replaced", fmt.Sprint(info.UserMetadata), "map[Shape:round]")
	equal("type replaced", info.ContentType, "text/html")
	equal("tags replaced", tagsOf(bucket, "one"), "b=2")
	refused("InvalidRequest", failure(client.CopyObject(
		ctx, minio.CopyDestOptions{Bucket: bucket, Object: "one"}, source)))
}

func versions(bucket string) {
	done(client.EnableVersioning(ctx, bucket))
	equal("state", must(client.GetBucketVersioning(ctx, bucket)).Status, "Enabled")
	first, second := put(bucket, "key", "first"), put(bucket, "key", "second")
	done(client.RemoveObject(ctx, bucket, "key", minio.RemoveObjectOptions{}))
	refused("NoSuchKey", failure(stat(bucket, "key")))
	equal("first version", getVersion(bucket, "key", first.VersionID), "first")
	var listed []minio.ObjectInfo
	for version := range client.ListObjects(ctx, bucket, minio.ListObjectsOptions{
		WithVersions: true, Recursive: true,
	}) {
		done(version.Err)
		listed = append(listed, version)
	}
	equal("versions", len(listed), 3)
	equal("the marker is the latest", listed[0].IsDeleteMarker && listed[0].IsLatest, true)
	equal("then the second", listed[1].VersionID, second.VersionID)
	refused("MethodNotAllowed", failure(client.StatObject(
		ctx, bucket, "key", minio.StatObjectOptions{VersionID: listed[0].VersionID})))
	for _, id := range []string{listed[0].VersionID, second.VersionID} {
		done(client.RemoveObject(ctx, bucket, "key", minio.RemoveObjectOptions{VersionID: id}))
	}
	equal("the first one is current", get(bucket, "key"), "first")
	done(client.SuspendVersioning(ctx, bucket))
	equal("state", must(client.GetBucketVersioning(ctx, bucket)).Status, "Suspended")
}

func tagsOf(bucket, key string) string {
	return must(client.GetObjectTagging(ctx, bucket, key, minio.GetObjectTaggingOptions{})).String()
}

func tagging(bucket string) {
	must(client.PutObject(ctx, bucket, "key", strings.NewReader("x"), 1, minio.PutObjectOptions{
		UserTags: map[string]string{"a": "1 + 2"},
	}))
	equal("tags by header", tagsOf(bucket, "key"), "a=1+%2B+2")
	set := must(tags.NewTags(map[string]string{"c/d": "e = f"}, true))
	done(client.PutObjectTagging(ctx, bucket, "key", set, minio.PutObjectTaggingOptions{}))
	equal("tags", tagsOf(bucket, "key"), set.String())
	done(client.RemoveObjectTagging(ctx, bucket, "key", minio.RemoveObjectTaggingOptions{}))
	equal("no tags", tagsOf(bucket, "key"), "")
	refused("NoSuchTagSet", failure(client.GetBucketTagging(ctx, bucket)))
	done(client.SetBucketTagging(ctx, bucket, set))
	equal("bucket tags", must(client.GetBucketTagging(ctx, bucket)).String(), set.String())
}

func conditions(bucket string) {
	try := func(options minio.PutObjectOptions) (minio.UploadInfo, error) {
		return client.PutObject(ctx, bucket, "key", strings.NewReader("x"), 1, options)
	}
	var absent, present, other minio.PutObjectOptions
	absent.SetMatchETagExcept("*")
	stored := must(try(absent))
	refused("PreconditionFailed", failure(try(absent)))
	present.SetMatchETag(stored.ETag)
	must(try(present))
	other.SetMatchETag("0")
	refused("PreconditionFailed", failure(try(other)))
	var unchanged minio.StatObjectOptions
	done(unchanged.SetMatchETagExcept(stored.ETag))
	_, err := client.StatObject(ctx, bucket, "key", unchanged)
	equal("not modified", minio.ToErrorResponse(err).StatusCode, 304)
}

func presigned(bucket string) {
	browser, key := httpClient(os.Getenv("SSL_CERT_FILE")), "signed + ü/key"
	upload := must(client.PresignedPutObject(ctx, bucket, key, time.Minute))
	request := must(http.NewRequest("PUT", upload.String(), strings.NewReader("content")))
	equal("status of PUT", must(browser.Do(request)).StatusCode, 200)
	download := must(client.PresignedGetObject(ctx, bucket, key, time.Minute, url.Values{
		"response-content-type": {"text/html"},
	}))
	answer := must(browser.Get(download.String()))
	equal("content", string(must(io.ReadAll(answer.Body))), "content")
	equal("type", answer.Header.Get("Content-Type"), "text/html")
	other := strings.Replace(download.String(), "signed", "singed", 1)
	equal("status for another key", must(browser.Get(other)).StatusCode, 403)
}

func form(bucket string) {
	policy := minio.NewPostPolicy()
	done(policy.SetBucket(bucket))
	done(policy.SetKey("uploaded"))
	done(policy.SetExpires(time.Now().Add(time.Minute)))
	done(policy.SetContentLengthRange(1, 10))
	target, fields, err := client.PresignedPostPolicy(ctx, policy)
	done(err)
	for body, wanted := range map[string]int{"content": 204, "more than that": 400} {
		var content bytes.Buffer
		writer := multipart.NewWriter(&content)
		for name, value := range fields {
			done(writer.WriteField(name, value))
		}
		io.WriteString(must(writer.CreateFormFile("file", "name")), body)
		done(writer.Close())
		answer := must(httpClient(os.Getenv("SSL_CERT_FILE")).Post(
			target.String(), writer.FormDataContentType(), &content))
		equal("status", answer.StatusCode, wanted)
	}
	equal("content", get(bucket, "uploaded"), "content")
}

func deleteMany(bucket string) {
	waiting := make(chan minio.ObjectInfo)
	keys := putAll(bucket, numbered("key&<>", keysDeleted))
	go func() {
		defer close(waiting)
		for _, key := range keys {
			waiting <- minio.ObjectInfo{Key: key}
		}
	}()
	count := 0
	for removed := range client.RemoveObjectsWithResult(
		ctx, bucket, waiting, minio.RemoveObjectsOptions{},
	) {
		done(removed.Err)
		count++
	}
	equal("deleted", count, keysDeleted)
	equal("left", len(keysOf(bucket, minio.ListObjectsOptions{Recursive: true})), 0)
}

func objectLock(bucket string) {
	mode, days, unit := minio.Governance, uint(1), minio.Days
	done(client.SetObjectLockConfig(ctx, bucket, &mode, &days, &unit))
	state, gotMode, gotDays, _, err := client.GetObjectLockConfig(ctx, bucket)
	done(err)
	equal("lock", fmt.Sprint(state, *gotMode, *gotDays), "EnabledGOVERNANCE1")
	version := put(bucket, "key", "content").VersionID
	until := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	done(client.PutObjectRetention(ctx, bucket, "key", minio.PutObjectRetentionOptions{
		Mode: &mode, RetainUntilDate: &until,
	}))
	keptMode, kept, err := client.GetObjectRetention(ctx, bucket, "key", version)
	done(err)
	equal("mode", *keptMode, minio.Governance)
	equal("kept until", kept.UTC(), until)
	hold := func(status minio.LegalHoldStatus) {
		options := minio.PutObjectLegalHoldOptions{Status: &status}
		done(client.PutObjectLegalHold(ctx, bucket, "key", options))
		got := must(client.GetObjectLegalHold(ctx, bucket, "key", minio.GetObjectLegalHoldOptions{}))
		equal("legal hold", *got, status)
	}
	remove := func(bypass bool) error {
		return client.RemoveObject(ctx, bucket, "key", minio.RemoveObjectOptions{
			VersionID: version, GovernanceBypass: bypass,
		})
	}
	hold(minio.LegalHoldEnabled)
	refused("AccessDenied", remove(true))
	hold(minio.LegalHoldDisabled)
	refused("AccessDenied", remove(false))
	done(remove(true))
}

func policy(bucket string) {
	equal("no policy", must(client.GetBucketPolicy(ctx, bucket)), "")
	done(client.SetBucketPolicy(ctx, bucket, denyDelete(bucket)))
	equal("policy", must(client.GetBucketPolicy(ctx, bucket)), denyDelete(bucket))
	put(bucket, "kept/key", "x")
	refused("AccessDenied", client.RemoveObject(
		ctx, bucket, "kept/key", minio.RemoveObjectOptions{}))
	done(client.SetBucketPolicy(ctx, bucket, ""))
}

func corsRules(bucket string) {
	equal("no rules", must(client.GetBucketCors(ctx, bucket)) == nil, true)
	done(client.SetBucketCors(ctx, bucket, cors.NewConfig([]cors.Rule{{
		AllowedMethod: []string{"GET", "PUT"}, AllowedOrigin: []string{"https://*.example.org"},
		ExposeHeader: []string{"ETag"}, MaxAgeSeconds: 60,
	}})))
	rule := must(client.GetBucketCors(ctx, bucket)).CORSRules[0]
	equal("methods", strings.Join(rule.AllowedMethod, " "), "GET PUT")
	equal("age", rule.MaxAgeSeconds, 60)
	done(client.SetBucketCors(ctx, bucket, nil))
}

func errorTypes(bucket string) {
	object := must(client.GetObject(ctx, bucket, "none", minio.GetObjectOptions{}))
	refused("NoSuchKey", failure(io.ReadAll(object)))
	refused("NoSuchBucket", failure(client.GetBucketTagging(ctx, "no-bucket")))
	put(bucket, "key", "x")
	refused("BucketNotEmpty", client.RemoveBucket(ctx, bucket))
	for code, key := range map[string]string{
		"SignatureDoesNotMatch": os.Getenv("AWS_ACCESS_KEY_ID"), "InvalidAccessKeyId": "unknown",
	} {
		stranger := newClient(credentials.NewStaticV4(key, "wrong", ""), true)
		refused(code, failure(stranger.ListBuckets(ctx)))
	}
}
