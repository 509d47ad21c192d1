import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.CompletionException;
import java.util.function.BiConsumer;
import java.util.zip.CRC32;
import software.amazon.awssdk.services.s3.model.S3Exception;

/** Steps that check what they get, and how their outcome is told. */
abstract class Steps {
  static final int PART_BYTES = 5 << 20;
  static final int KEYS_LISTED = 1200;
  static final int KEYS_DELETED = 1000;
  static final List<String> ODD_KEYS =
      """
      a b
      a+b
      a%20b
      a%2Fb
      ünïcødé/世界
      dots/../up
      ./here
      a//b
      dir/
      q?x=1&y=2#z
      'quoted' (1) [2] {3}
      ~!@$^*,;:=|<>"\\`
      """
          .lines()
          .toList();
  static final byte[] large = new byte[64 << 20];

  static {
    new Random(1).nextBytes(large);
  }

  interface Step {
    void run(String bucket) throws Exception;
  }

  /**
   * Runs all steps, each in a bucket of its own, and ends the program: one line a step, "ok NAME"
   * or "FAIL NAME: why", and status 1 after a failure.
   *
   * @param makeBucket takes the bucket's name and whether it has object lock
   */
  static void perform(
      String program, BiConsumer<String, Boolean> makeBucket, Map<String, Step> steps) {
    int status = 0;
    int number = 0;
    for (Map.Entry<String, Step> step : steps.entrySet()) {
      String bucket = program + "-" + number++;
      try {
        makeBucket.accept(bucket, step.getKey().equals("object lock"));
        step.getValue().run(bucket);
        System.out.println("ok " + step.getKey());
      } catch (Exception | AssertionError problem) {
        String text = String.valueOf(problem).replace("\n", " ");
        System.out.println("FAIL " + step.getKey() + ": " + text);
        status = 1;
      }
    }
    System.exit(status);
  }

  static void equal(String what, Object got, Object wanted) {
    if (!Objects.equals(got, wanted)) {
      throw new AssertionError(what + ": got " + got + ", wanted " + wanted);
    }
  }

  /** As S3 writes it. */
  static String crc32(String content) {
    CRC32 crc = new CRC32();
    crc.update(content.getBytes(StandardCharsets.UTF_8));
    byte[] sum = ByteBuffer.allocate(4).putInt((int) crc.getValue()).array();
    return Base64.getEncoder().encodeToString(sum);
  }

  static void same(byte[] got, byte[] wanted) {
    equal("the same bytes", Arrays.equals(got, wanted), true);
  }

  /** That the call fails with this code. */
  static void refused(String code, Runnable call) {
    equal("error code", failure(S3Exception.class, call).awsErrorDetails().errorCode(), code);
  }

  /** What the call fails with, which must be of this class. */
  static <T extends Exception> T failure(Class<T> wanted, Runnable call) {
    try {
      call.run();
    } catch (RuntimeException error) {
      Throwable cause = error instanceof CompletionException ? error.getCause() : error;
      if (wanted.isInstance(cause)) {
        return wanted.cast(cause);
      }
      throw new AssertionError("wanted " + wanted.getSimpleName() + ", got " + cause);
    }
    throw new AssertionError("wanted " + wanted.getSimpleName() + ", and it was done");
  }
}
