#include "store/s3_target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::store {
namespace {

using testing::HasSubstr;
using testing::Not;

S3Target parse(std::string_view url, std::string_view endpoint = "", std::string_view region = "") {
  Result<S3Target> t = parse_s3_target(url, endpoint, region);
  EXPECT_TRUE(t) << t.error().message();
  return t ? *t : S3Target{};
}

TEST(S3Target, WithoutEndpointItIsAwsWithTheBucketInTheHost) {
  S3Target t = parse("s3://bkt/a/b/");
  EXPECT_EQ(t.bucket, "bkt");
  EXPECT_EQ(t.prefix, "a/b");
  EXPECT_EQ(t.endpoint(), "https://s3.amazonaws.com");
  EXPECT_EQ(t.authority(), "bkt.s3.amazonaws.com");
  EXPECT_EQ(t.path_of(t.object_key("x y")), "/a/b/x%20y");
  EXPECT_EQ(t.path_of(""), "/");
  EXPECT_EQ(t.region, "us-east-1");
  EXPECT_EQ(t.url(), "s3://bkt/a/b");
  EXPECT_EQ(parse("s3://bkt/a", "", "eu-west-1").authority(), "bkt.s3.eu-west-1.amazonaws.com");
}

TEST(S3Target, ABucketWithADotStaysOutOfTheHostNameOfTls) {
  S3Target t = parse("s3://my.bkt/a");
  EXPECT_TRUE(t.path_style);
  EXPECT_EQ(t.path_of("a/k"), "/my.bkt/a/k");
}

TEST(S3Target, ACustomEndpointIsAskedInPathStyle) {
  S3Target t = parse("s3://bkt/p?endpoint=http://127.0.0.1:9000&region=us-east-1");
  EXPECT_EQ(t.authority(), "127.0.0.1:9000");
  EXPECT_FALSE(t.tls);
  EXPECT_EQ(t.path_of("p/k"), "/bkt/p/k");
  EXPECT_EQ(t.path_of(""), "/bkt");
  EXPECT_FALSE(parse("s3://bkt/p?endpoint=https://h.example&forcePathStyle=false").path_style);
  EXPECT_FALSE(parse("s3://bkt/p?endpoint=https://h.example&force-path-style=false").path_style);
  EXPECT_EQ(parse("s3://bkt/p?endpoint=https%3A%2F%2Fh.example%3A8443").authority(), "h.example:8443");
}

TEST(S3Target, TheUrlWinsOverTheEnvironment) {
  S3Target t = parse("s3://bkt/p?endpoint=http://a:1&region=r1", "http://b:2", "r2");
  EXPECT_EQ(t.host, "a");
  EXPECT_EQ(t.region, "r1");
  t = parse("s3://bkt/p", "http://b:2", "r2");
  EXPECT_EQ(t.host, "b");
  EXPECT_EQ(t.region, "r2");
}

TEST(S3Target, AnEndpointWithoutSchemeIsHttpOnlyOnPrivateAddresses) {
  for (const char* local : {"localhost:9000", "127.0.0.1", "10.1.2.3:80", "192.168.0.1", "172.16.0.1",
                            "172.31.255.1:9000", "[::1]:9000", "[fdaa::3]", "minio:9000", "minio.internal:9000"})
    EXPECT_FALSE(parse("s3://bkt/p", local).tls) << local;
  for (const char* remote : {"s3.example.com", "172.32.0.1", "8.8.8.8:9000", "t3.storage.dev", "[2001:db8::1]"})
    EXPECT_TRUE(parse("s3://bkt/p", remote).tls) << remote;
  EXPECT_EQ(parse("s3://bkt/p", "localhost").port, 80);
  EXPECT_EQ(parse("s3://bkt/p", "s3.example.com").port, 443);
  EXPECT_EQ(parse("s3://bkt/p", "[::1]:9000").authority(), "[::1]:9000");
  EXPECT_TRUE(parse("s3://bkt/p", "https://localhost").tls);
}

TEST(S3Target, TigrisIsAskedForConsistencyAndSpared_ContentMd5) {
  for (const char* host : {"https://fly.storage.tigris.dev", "https://t3.storage.dev"}) {
    S3Target t = parse("s3://bkt/p", host);
    EXPECT_TRUE(t.tigris_consistent);
    EXPECT_FALSE(t.content_md5);
    EXPECT_EQ(t.region, "auto");
    EXPECT_TRUE(t.path_style);
  }
  EXPECT_FALSE(parse("s3://bkt/p", "https://other.tigris.dev").tigris_consistent);
  EXPECT_TRUE(parse("s3://bkt/p", "https://other.tigris.dev").content_md5);
}

TEST(S3Target, TheRegionIsReadFromHostsThatSayIt) {
  EXPECT_EQ(parse("s3://b1/p", "https://s3.eu-west-3.amazonaws.com").region, "eu-west-3");
  EXPECT_EQ(parse("s3://b1/p", "https://s3.us-west-004.backblazeb2.com").region, "us-west-004");
  EXPECT_EQ(parse("s3://b1/p", "https://nyc3.digitaloceanspaces.com").region, "nyc3");
  EXPECT_EQ(parse("s3://b1/p", "https://s3.fr-par.scw.cloud").region, "fr-par");
  EXPECT_EQ(parse("s3://b1/p", "https://id.r2.cloudflarestorage.com").region, "auto");
  EXPECT_EQ(parse("s3://b1/p", "https://s3.example.com").region, "us-east-1");
}

TEST(S3Target, HostsThatNameTheBucketAreTakenApart) {
  S3Target t = parse("s3://bkt.s3.eu-west-1.amazonaws.com/p");
  EXPECT_EQ(t.bucket, "bkt");
  EXPECT_EQ(t.authority(), "bkt.s3.eu-west-1.amazonaws.com");
  EXPECT_EQ(t.region, "eu-west-1");
  EXPECT_EQ(t.url(), "s3://bkt/p");
  t = parse("s3://bkt.nyc3.digitaloceanspaces.com/p");
  EXPECT_EQ(t.bucket, "bkt");
  EXPECT_EQ(t.host, "nyc3.digitaloceanspaces.com");
  t = parse("s3://bkt.localhost:9000/p");
  EXPECT_EQ(t.bucket, "bkt");
  EXPECT_EQ(t.endpoint(), "http://localhost:9000");
}

TEST(S3Target, BadUrlsAreRefusedWithTheCure) {
  for (const char* bad :
       {"s3://", "s3:///p", "s3://b kt/p", "s3://b:kt/p", "s3://arn:aws:s3:us-east-1:1:accesspoint/x/p",
        "s3://bkt/a//b", "s3://bkt/%zz", "s3://bkt/%0", "s3://bkt/p?endpiont=http://x",
        "s3://bkt/p?forcePathStyle=maybe", "s3://bkt/p?skipVerify=true", "s3://bkt/p?partSize=1MB",
        "s3://bkt/p?partSize=99999999999", "s3://bkt/p?endpoint=ftp://x", "s3://bkt/p?endpoint=http://",
        "s3://bkt/p?endpoint=http://h/path", "s3://bkt/p?endpoint=http://h:99999", "s3://bkt/p?endpoint=http://h:0"}) {
    Result<S3Target> t = parse_s3_target(bad, "", "");
    ASSERT_FALSE(t) << bad;
    EXPECT_EQ(t.error().code(), ErrorCode::kInvalid) << bad;
  }
}

TEST(S3Target, CredentialsInUrlsAreRefusedAndNotRepeated) {
  for (const char* bad :
       {"s3://key:CANARY@bkt/p", "s3://bkt/p?endpoint=http://key:CANARY@h", "s3://bkt/p?secretAccessKey=CANARY"}) {
    Result<S3Target> t = parse_s3_target(bad, "", "");
    ASSERT_FALSE(t) << bad;
    EXPECT_THAT(t.error().message(), Not(HasSubstr("CANARY"))) << bad;
  }
}

TEST(S3Target, PartsAreNeverSmallerThanS3Allows) {
  EXPECT_EQ(parse("s3://bkt/p?partSize=1").part_size_bytes, kMinPartBytes);
  EXPECT_EQ(parse("s3://bkt/p?part-size=10485760").part_size_bytes, 10485760u);
}

TEST(S3Target, WithoutPrefixKeysStandAlone) {
  S3Target t = parse("s3://bkt");
  EXPECT_EQ(t.object_key("a/b"), "a/b");
  EXPECT_EQ(t.list_prefix(""), "");
  EXPECT_EQ(parse("s3://bkt/p").list_prefix("a"), "p/a");
  EXPECT_EQ(parse("s3://bkt/p").list_prefix(""), "p/");
}

}  // namespace
}  // namespace caddis::store
