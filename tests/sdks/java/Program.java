import static software.amazon.awssdk.services.s3.model.ObjectLockRetentionMode.GOVERNANCE;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.async.AsyncRequestBody;
import software.amazon.awssdk.core.async.AsyncResponseTransformer;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.core.util.VersionInfo;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.S3ClientBuilder;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.*;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;
import software.amazon.awssdk.transfer.s3.S3TransferManager;

/**
 * The AWS SDK for Java v2 at its usual work against an S3 server: each step checks what came back.
 *
 * <p>Settings come from the environment, read by the SDK itself (docs/clients.md).
 */
public final class Program extends Steps {
  // no fault hides behind a retry
  private static final S3Client client = builder().build();
  private static final S3AsyncClient parallel =
      S3AsyncClient.builder()
          .forcePathStyle(true)
          .multipartEnabled(true)
          .overrideConfiguration(o -> o.retryStrategy(r -> r.maxAttempts(1)))
          .build();

  public static void main(String[] arguments) {
    System.out.println("version " + VersionInfo.SDK_VERSION);
    Map<String, Step> steps = new LinkedHashMap<>();
    steps.put("buckets", Program::buckets);
    steps.put("objects", Program::objects);
    steps.put("checksums", Program::checksums);
    steps.put("unknown length", Program::unknownLength);
    steps.put("ranges", Program::ranges);
    steps.put("large objects", Program::largeObjects);
    steps.put("part copy", Program::partCopy);
    steps.put("listing", Program::listing);
    steps.put("odd keys", Program::oddKeys);
    steps.put("copy", Program::copy);
    steps.put("versions", Program::versions);
    steps.put("tags", Program::tags);
    steps.put("conditions", Program::conditions);
    steps.put("presigned", Program::presigned);
    steps.put("delete many", Program::deleteMany);
    steps.put("object lock", Program::objectLock);
    steps.put("policy", Program::policy);
    steps.put("cors", Program::cors);
    steps.put("errors", Program::errors);
    perform("java", Program::makeBucket, steps);
  }

  private static void makeBucket(String name, boolean locked) {
    client.createBucket(b -> b.bucket(name).objectLockEnabledForBucket(locked));
  }

  private static S3ClientBuilder builder() {
    return S3Client.builder()
        .forcePathStyle(true)
        .overrideConfiguration(o -> o.retryStrategy(r -> r.maxAttempts(1)));
  }

  private static PutObjectResponse put(String bucket, String key, String body) {
    return client.putObject(b -> b.bucket(bucket).key(key), RequestBody.fromString(body));
  }

  private static byte[] bytes(String bucket, String key) {
    return client.getObjectAsBytes(b -> b.bucket(bucket).key(key)).asByteArray();
  }

  private static String get(String bucket, String key) {
    return new String(bytes(bucket, key), StandardCharsets.UTF_8);
  }

  private static HeadObjectResponse head(String bucket, String key) {
    return client.headObject(b -> b.bucket(bucket).key(key));
  }

  /** Writes this many keys "prefix0000" and on, several at a time. */
  private static List<String> putAll(String bucket, String prefix, int count) {
    List<String> keys =
        IntStream.range(0, count).mapToObj(n -> "%s%04d".formatted(prefix, n)).toList();
    keys.stream()
        .map(
            key ->
                parallel.putObject(
                    b -> b.bucket(bucket).key(key), AsyncRequestBody.fromString("x")))
        .toList()
        .forEach(future -> future.join());
    return keys;
  }

  private static Consumer<CopyObjectRequest.Builder> copying(
      String bucket, String from, String to) {
    return b -> b.sourceBucket(bucket).sourceKey(from).destinationBucket(bucket).destinationKey(to);
  }

  private static List<String> keys(List<S3Object> objects) {
    return objects.stream().map(S3Object::key).toList();
  }

  private static void buckets(String bucket) {
    client.headBucket(b -> b.bucket(bucket));
    List<Bucket> listed = client.listBuckets(b -> b.prefix(bucket)).buckets();
    equal("it is listed", listed.stream().anyMatch(b -> b.name().equals(bucket)), true);
    String where = client.getBucketLocation(b -> b.bucket(bucket)).locationConstraintAsString();
    equal("us-east-1 has no constraint", where == null ? "" : where, "");
    client.deleteBucket(b -> b.bucket(bucket));
    failure(NoSuchBucketException.class, () -> client.headBucket(b -> b.bucket(bucket)));
    client.waiter().waitUntilBucketNotExists(b -> b.bucket(bucket));
  }

  private static void objects(String bucket) {
    String key = "directory/file";
    Map<String, String> metadata = Map.of("colour", "blue", "two-words", "a b");
    PutObjectResponse stored =
        client.putObject(
            b -> b.bucket(bucket).key(key).metadata(metadata).contentType("text/plain"),
            RequestBody.fromString("content"));
    HeadObjectResponse head = head(bucket, key);
    equal("ETag", head.eTag(), stored.eTag());
    equal("length", head.contentLength(), 7L);
    equal("type", head.contentType(), "text/plain");
    equal("metadata", head.metadata(), metadata);
    equal("content", get(bucket, key), "content");
    put(bucket, "empty", "");
    equal("empty object", get(bucket, "empty"), "");
    client.deleteObject(b -> b.bucket(bucket).key(key));
    failure(NoSuchKeyException.class, () -> head(bucket, key));
  }

  private static void checksums(String bucket) {
    String wanted = crc32("content");
    equal("CRC32 by default", put(bucket, "default", "content").checksumCRC32(), wanted);
    GetObjectResponse answer =
        client
            .getObjectAsBytes(b -> b.bucket(bucket).key("default").checksumMode("ENABLED"))
            .response(); // verified while reading
    equal("CRC32 of GET", answer.checksumCRC32(), wanted);
    for (ChecksumAlgorithm algorithm :
        List.of(ChecksumAlgorithm.CRC32_C, ChecksumAlgorithm.SHA1, ChecksumAlgorithm.SHA256)) {
      String key = algorithm.toString();
      client.putObject(
          b -> b.bucket(bucket).key(key).checksumAlgorithm(algorithm),
          RequestBody.fromString("content"));
      equal(key, get(bucket, key), "content");
      GetObjectAttributesResponse attributes =
          client.getObjectAttributes(
              b ->
                  b.bucket(bucket)
                      .key(key)
                      .objectAttributes(ObjectAttributes.CHECKSUM, ObjectAttributes.OBJECT_SIZE));
      equal("size", attributes.objectSize(), 7L);
      equal("has its " + key, attributes.checksum().toString().contains("Checksum" + key), true);
    }
    Consumer<PutObjectRequest.Builder> wrong =
        b -> b.bucket(bucket).key("wrong").checksumCRC32("AAAAAA==");
    refused("BadDigest", () -> client.putObject(wrong, RequestBody.fromString("content")));
  }

  private static void unknownLength(String bucket) {
    byte[] content = Arrays.copyOf(large, 3 * PART_BYTES + 1);
    var body = AsyncRequestBody.forBlockingInputStream(null);
    var stored = parallel.putObject(b -> b.bucket(bucket).key("piped"), body);
    body.writeInputStream(new ByteArrayInputStream(content));
    stored.join();
    same(bytes(bucket, "piped"), content);
    client.putObject(
        b -> b.bucket(bucket).key("streamed"),
        RequestBody.fromContentProvider(
            () -> new ByteArrayInputStream(content), "application/octet-stream"));
    same(bytes(bucket, "streamed"), content);
  }

  private static void ranges(String bucket) {
    put(bucket, "digits", "0123456789");
    Map.of("bytes=2-4", "234", "bytes=7-", "789", "bytes=-2", "89", "bytes=8-99", "89")
        .forEach(
            (asked, wanted) -> {
              var got = client.getObjectAsBytes(b -> b.bucket(bucket).key("digits").range(asked));
              equal(asked, got.asUtf8String(), wanted);
              equal("is a range", got.response().contentRange().endsWith("/10"), true);
            });
    refused(
        "InvalidRange",
        () -> client.getObjectAsBytes(b -> b.bucket(bucket).key("digits").range("bytes=10-")));
  }

  private static void largeObjects(String bucket) throws IOException {
    Path source = Files.write(Path.of("source"), large); // of the program's own directory
    Path target = Path.of("target", bucket);
    try (S3TransferManager transfers = S3TransferManager.builder().s3Client(parallel).build()) {
      var stored =
          transfers
              .uploadFile(
                  u ->
                      u.source(source)
                          .putObjectRequest(
                              p -> p.bucket(bucket).key("large").metadata(Map.of("a", "1"))))
              .completionFuture()
              .join();
      equal("is multipart", stored.response().eTag().endsWith("-8\""), true);
      transfers
          .downloadFile(
              d -> d.destination(target).getObjectRequest(g -> g.bucket(bucket).key("large")))
          .completionFuture()
          .join();
      same(Files.readAllBytes(target), large);
      transfers
          .copy(c -> c.copyObjectRequest(copying(bucket, "large", "copy")))
          .completionFuture()
          .join();
    }
    same(bytes(bucket, "copy"), large);
    HeadObjectResponse head = client.headObject(b -> b.bucket(bucket).key("large").partNumber(8));
    equal("parts", head.partsCount(), 8);
    equal("metadata", head.metadata(), Map.of("a", "1"));
    var memory = AsyncResponseTransformer.<GetObjectResponse>toBytes();
    same(
        parallel.getObject(b -> b.bucket(bucket).key("large"), memory).join().asByteArray(), large);
  }

  private static void partCopy(String bucket) {
    byte[] source = Arrays.copyOf(large, 2 * PART_BYTES);
    client.putObject(b -> b.bucket(bucket).key("source"), RequestBody.fromBytes(source));
    String id = client.createMultipartUpload(b -> b.bucket(bucket).key("made")).uploadId();
    List<CompletedPart> parts = new ArrayList<>();
    for (String range : List.of("bytes=5242880-10485759", "bytes=0-99")) {
      int number = parts.size() + 1;
      String etag =
          client
              .uploadPartCopy(
                  b ->
                      b.sourceBucket(bucket)
                          .sourceKey("source")
                          .copySourceRange(range)
                          .destinationBucket(bucket)
                          .destinationKey("made")
                          .uploadId(id)
                          .partNumber(number))
              .copyPartResult()
              .eTag();
      parts.add(CompletedPart.builder().partNumber(number).eTag(etag).build());
    }
    var listed = client.listParts(b -> b.bucket(bucket).key("made").uploadId(id)).parts();
    equal("sizes", listed.stream().map(Part::size).toList(), List.of((long) PART_BYTES, 100L));
    client.completeMultipartUpload(
        b -> b.bucket(bucket).key("made").uploadId(id).multipartUpload(m -> m.parts(parts)));
    byte[] wanted = Arrays.copyOfRange(large, PART_BYTES, 2 * PART_BYTES + 100);
    System.arraycopy(large, 0, wanted, PART_BYTES, 100);
    same(bytes(bucket, "made"), wanted);
  }

  private static void listing(String bucket) {
    List<String> keys = putAll(bucket, "many/", KEYS_LISTED);
    put(bucket, "alone", "x");
    var pages = client.listObjectsV2Paginator(b -> b.bucket(bucket).prefix("many/"));
    equal("all keys", keys(pages.contents().stream().toList()), keys);
    var root = client.listObjectsV2(b -> b.bucket(bucket).delimiter("/"));
    equal("keys at the root", keys(root.contents()), List.of("alone"));
    equal("prefixes", root.commonPrefixes().get(0).prefix(), "many/");
    var older = client.listObjects(b -> b.bucket(bucket).marker("many/1197"));
    equal("after a key", keys(older.contents()), List.of("many/1198", "many/1199"));
  }

  private static void oddKeys(String bucket) {
    for (String key : ODD_KEYS) {
      String copied = "copy of " + key;
      put(bucket, key, key);
      equal("content", get(bucket, key), key);
      client.copyObject(copying(bucket, key, copied));
      equal("copy", get(bucket, copied), key);
      client.deleteObject(b -> b.bucket(bucket).key(copied));
    }
    List<String> listed = keys(client.listObjectsV2(b -> b.bucket(bucket)).contents());
    equal("listed", listed, ODD_KEYS.stream().sorted().toList());
  }

  private static void copy(String bucket) {
    client.putObject(
        b -> b.bucket(bucket).key("one").metadata(Map.of("colour", "blue")),
        RequestBody.fromString("content"));
    client.copyObject(copying(bucket, "one", "kept"));
    equal("metadata kept", head(bucket, "kept").metadata(), Map.of("colour", "blue"));
    client.copyObject(
        copying(bucket, "one", "one")
            .andThen(
                b ->
                    b.metadataDirective(MetadataDirective.REPLACE)
                        .metadata(Map.of("shape", "round"))
                        .contentType("text/html")));
    equal("metadata replaced", head(bucket, "one").metadata(), Map.of("shape", "round"));
    equal("type replaced", head(bucket, "one").contentType(), "text/html");
    refused("InvalidRequest", () -> client.copyObject(copying(bucket, "one", "one")));
  }

  private static void versions(String bucket) {
    client.putBucketVersioning(
        b -> b.bucket(bucket).versioningConfiguration(v -> v.status("Enabled")));
    String first = put(bucket, "key", "first").versionId();
    String second = put(bucket, "key", "second").versionId();
    var marker = client.deleteObject(b -> b.bucket(bucket).key("key"));
    equal("is a marker", marker.deleteMarker(), true);
    failure(NoSuchKeyException.class, () -> get(bucket, "key"));
    Consumer<GetObjectRequest.Builder> key = b -> b.bucket(bucket).key("key");
    var old = client.getObjectAsBytes(key.andThen(b -> b.versionId(first)));
    equal("first version", old.asUtf8String(), "first");
    refused(
        "MethodNotAllowed",
        () -> client.getObjectAsBytes(key.andThen(b -> b.versionId(marker.versionId()))));
    var listed = client.listObjectVersions(b -> b.bucket(bucket));
    List<String> ids = listed.versions().stream().map(ObjectVersion::versionId).toList();
    equal("newest first", ids, List.of(second, first));
    equal("marker is latest", listed.deleteMarkers().get(0).isLatest(), true);
    for (String id : List.of(marker.versionId(), second)) {
      client.deleteObject(b -> b.bucket(bucket).key("key").versionId(id));
    }
    equal("the first one is current", get(bucket, "key"), "first");
  }

  private static void tags(String bucket) {
    client.putObject(b -> b.bucket(bucket).key("key").tagging("a=1&b=x%20y"), RequestBody.empty());
    equal(
        "by header", client.getObjectTagging(b -> b.bucket(bucket).key("key")).tagSet().size(), 2);
    Tagging tagging =
        Tagging.builder().tagSet(Tag.builder().key("c/d").value("é + ü").build()).build();
    client.putObjectTagging(b -> b.bucket(bucket).key("key").tagging(tagging));
    var got = client.getObjectTagging(b -> b.bucket(bucket).key("key"));
    equal("tags", got.tagSet(), tagging.tagSet());
    client.deleteObjectTagging(b -> b.bucket(bucket).key("key"));
    refused("NoSuchTagSet", () -> client.getBucketTagging(b -> b.bucket(bucket)));
    client.putBucketTagging(b -> b.bucket(bucket).tagging(tagging));
    equal("bucket tags", client.getBucketTagging(b -> b.bucket(bucket)).tagSet(), tagging.tagSet());
  }

  private static PutObjectResponse write(
      String bucket, Consumer<PutObjectRequest.Builder> condition) {
    Consumer<PutObjectRequest.Builder> key = b -> b.bucket(bucket).key("key");
    return client.putObject(key.andThen(condition), RequestBody.fromString("content"));
  }

  private static void conditions(String bucket) {
    String etag = write(bucket, b -> b.ifNoneMatch("*")).eTag();
    refused("PreconditionFailed", () -> write(bucket, b -> b.ifNoneMatch("*")));
    write(bucket, b -> b.ifMatch(etag));
    refused("PreconditionFailed", () -> write(bucket, b -> b.ifMatch("\"0\"")));
    Runnable unchanged =
        () -> client.getObjectAsBytes(b -> b.bucket(bucket).key("key").ifNoneMatch(etag));
    equal("not modified", failure(S3Exception.class, unchanged).statusCode(), 304);
  }

  private static void presigned(String bucket) throws Exception {
    var style = S3Configuration.builder().pathStyleAccessEnabled(true).build();
    try (S3Presigner signer = S3Presigner.builder().serviceConfiguration(style).build()) {
      String key = "signed + ü/key";
      Duration minute = Duration.ofMinutes(1);
      URI upload =
          signer
              .presignPutObject(
                  p ->
                      p.signatureDuration(minute)
                          .putObjectRequest(
                              b -> b.bucket(bucket).key(key).contentType("text/plain")))
              .url()
              .toURI();
      HttpRequest.Builder request =
          HttpRequest.newBuilder(upload)
              .header("Content-Type", "text/plain")
              .PUT(HttpRequest.BodyPublishers.ofString("content"));
      equal("status of PUT", fetch(request).statusCode(), 200);
      String url =
          signer
              .presignGetObject(
                  p -> p.signatureDuration(minute).getObjectRequest(b -> b.bucket(bucket).key(key)))
              .url()
              .toString();
      var answer = fetch(HttpRequest.newBuilder(URI.create(url)));
      equal("content", answer.body(), "content");
      equal("type", answer.headers().firstValue("content-type").orElse(""), "text/plain");
      URI other = URI.create(url.replaceFirst("signed", "singed"));
      equal("status for another key", fetch(HttpRequest.newBuilder(other)).statusCode(), 403);
    }
  }

  private static HttpResponse<String> fetch(HttpRequest.Builder request) throws Exception {
    HttpClient browser = HttpClient.newHttpClient();
    return browser.send(request.build(), HttpResponse.BodyHandlers.ofString());
  }

  private static void deleteMany(String bucket) {
    List<ObjectIdentifier> named =
        putAll(bucket, "key&<>", KEYS_DELETED).stream()
            .map(key -> ObjectIdentifier.builder().key(key).build())
            .toList();
    var answer = client.deleteObjects(b -> b.bucket(bucket).delete(d -> d.objects(named)));
    equal("deleted", answer.deleted().size(), KEYS_DELETED);
    equal("errors", answer.errors().size(), 0);
    equal("left", client.listObjectsV2(b -> b.bucket(bucket)).keyCount(), 0);
  }

  private static void objectLock(String bucket) {
    client.putObjectLockConfiguration(
        b ->
            b.bucket(bucket)
                .objectLockConfiguration(
                    c ->
                        c.objectLockEnabled("Enabled")
                            .rule(r -> r.defaultRetention(d -> d.mode(GOVERNANCE).days(1)))));
    String version = put(bucket, "key", "content").versionId();
    var kept = client.getObjectRetention(b -> b.bucket(bucket).key("key")).retention();
    equal("default mode", kept.mode(), GOVERNANCE);
    Instant until = Instant.now().plus(2, ChronoUnit.DAYS).truncatedTo(ChronoUnit.SECONDS);
    client.putObjectRetention(
        b -> b.bucket(bucket).key("key").retention(r -> r.mode(GOVERNANCE).retainUntilDate(until)));
    client.putObjectLegalHold(b -> b.bucket(bucket).key("key").legalHold(h -> h.status("ON")));
    equal("kept until", head(bucket, "key").objectLockRetainUntilDate(), until);
    equal("hold", head(bucket, "key").objectLockLegalHoldStatusAsString(), "ON");
    Consumer<DeleteObjectRequest.Builder> named =
        b -> b.bucket(bucket).key("key").versionId(version);
    var bypassing = named.andThen(b -> b.bypassGovernanceRetention(true));
    refused("AccessDenied", () -> client.deleteObject(bypassing));
    client.putObjectLegalHold(b -> b.bucket(bucket).key("key").legalHold(h -> h.status("OFF")));
    refused("AccessDenied", () -> client.deleteObject(named));
    client.deleteObject(bypassing);
  }

  private static void policy(String bucket) {
    refused("NoSuchBucketPolicy", () -> client.getBucketPolicy(b -> b.bucket(bucket)));
    String text =
        """
        {"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*",\
        "Action":"s3:DeleteObject","Resource":"arn:aws:s3:::%s/kept/*"}]}\
        """
            .formatted(bucket);
    client.putBucketPolicy(b -> b.bucket(bucket).policy(text));
    equal("policy", client.getBucketPolicy(b -> b.bucket(bucket)).policy(), text);
    put(bucket, "kept/key", "x");
    refused("AccessDenied", () -> client.deleteObject(b -> b.bucket(bucket).key("kept/key")));
    client.deleteBucketPolicy(b -> b.bucket(bucket));
  }

  private static void cors(String bucket) {
    refused("NoSuchCORSConfiguration", () -> client.getBucketCors(b -> b.bucket(bucket)));
    CORSRule rule =
        CORSRule.builder()
            .allowedMethods("GET", "PUT")
            .allowedOrigins("https://*.example.org")
            .maxAgeSeconds(60)
            .build();
    client.putBucketCors(b -> b.bucket(bucket).corsConfiguration(c -> c.corsRules(rule)));
    var got = client.getBucketCors(b -> b.bucket(bucket)).corsRules();
    equal("methods", got.get(0).allowedMethods(), rule.allowedMethods());
    equal("age", got.get(0).maxAgeSeconds(), 60);
  }

  private static void errors(String bucket) {
    failure(NoSuchKeyException.class, () -> get(bucket, "none"));
    failure(NoSuchBucketException.class, () -> client.listObjectsV2(b -> b.bucket("no-bucket")));
    failure(
        NoSuchUploadException.class,
        () -> client.abortMultipartUpload(b -> b.bucket(bucket).key("none").uploadId("none")));
    put(bucket, "key", "x");
    refused("BucketNotEmpty", () -> client.deleteBucket(b -> b.bucket(bucket)));
    Map.of(
            "SignatureDoesNotMatch",
            System.getenv("AWS_ACCESS_KEY_ID"),
            "InvalidAccessKeyId",
            "unknown")
        .forEach(
            (code, key) -> {
              var keys = StaticCredentialsProvider.create(AwsBasicCredentials.create(key, "wrong"));
              try (S3Client stranger = builder().credentialsProvider(keys).build()) {
                refused(code, stranger::listBuckets);
              }
            });
  }
}
