// The examples of AWS's documentation ("Signature Calculations for the Authorization Header") and of its test suite.
#include "store/sigv4.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::store {
namespace {

using testing::HasSubstr;

constexpr char kEmptyHash[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const Credentials kDocs{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
const SigningScope kDocsScope{.amz_date = "20130524T000000Z", .region = "us-east-1"};

SigningRequest docs_request(std::string method, std::string path) {
  return {.method = std::move(method),
          .path = std::move(path),
          .query = {},
          .headers = {{"host", "examplebucket.s3.amazonaws.com"},
                      {"x-amz-content-sha256", kEmptyHash},
                      {"x-amz-date", "20130524T000000Z"}},
          .payload_sha256_hex = kEmptyHash};
}

TEST(SigV4, GetObjectWithRangeIsSignedAsInTheDocumentation) {
  SigningRequest r = docs_request("GET", "/test.txt");
  r.headers.emplace_back("range", "bytes=0-9");
  EXPECT_EQ(authorization(r, kDocs, kDocsScope),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(SigV4, PutObjectIsSignedAsInTheDocumentation) {
  SigningRequest r = docs_request("PUT", "/" + uri_encode("test$file.text", true));
  r.payload_sha256_hex = to_hex(sha256(as_bytes("Welcome to Amazon S3.")));
  EXPECT_EQ(r.payload_sha256_hex, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
  r.headers[1].second = r.payload_sha256_hex;
  r.headers.emplace_back("date", "Fri, 24 May 2013 00:00:00 GMT");
  r.headers.emplace_back("x-amz-storage-class", "REDUCED_REDUNDANCY");
  EXPECT_THAT(authorization(r, kDocs, kDocsScope),
              HasSubstr("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
}

TEST(SigV4, AQueryWithoutValueIsSignedAsInTheDocumentation) {
  SigningRequest r = docs_request("GET", "/");
  r.query = {{"lifecycle", ""}};
  EXPECT_THAT(authorization(r, kDocs, kDocsScope),
              HasSubstr("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"));
}

TEST(SigV4, ListObjectsIsSignedAsInTheDocumentation) {
  SigningRequest r = docs_request("GET", "/");
  r.query = {{"prefix", "J"}, {"max-keys", "2"}};
  EXPECT_THAT(authorization(r, kDocs, kDocsScope),
              HasSubstr("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
}

TEST(SigV4, GetVanillaOfTheTestSuite) {
  Credentials keys{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""};
  SigningScope scope{.amz_date = "20150830T123600Z", .region = "us-east-1", .service = "service"};
  SigningRequest r{.method = "GET",
                   .path = "/",
                   .query = {},
                   .headers = {{"x-amz-date", "20150830T123600Z"}, {"host", "example.amazonaws.com"}},
                   .payload_sha256_hex = kEmptyHash};
  EXPECT_EQ(authorization(r, keys, scope),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
            "SignedHeaders=host;x-amz-date, "
            "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

TEST(SigV4, TheSigningKeyOfTheDocumentation) {
  SigningScope scope{.amz_date = "20150830T000000Z", .region = "us-east-1", .service = "iam"};
  EXPECT_EQ(to_hex(signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", scope)),
            "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
}

TEST(SigV4, HeaderValuesLoseTheirSuperfluousBlanks) {
  SigningRequest r = docs_request("GET", "/");
  r.headers.emplace_back("x-amz-meta-a", "  b   c ");
  EXPECT_THAT(canonical_request(r), HasSubstr("\nx-amz-meta-a:b c\n"));
}

TEST(SigV4, EncodingLeavesOnlyUnreservedCharacters) {
  EXPECT_EQ(uri_encode("a b/c+d=e~f-g_h.i\xc3\xa4", true), "a%20b/c%2Bd%3De~f-g_h.i%C3%A4");
  EXPECT_EQ(uri_encode("a/b", false), "a%2Fb");
  EXPECT_EQ(canonical_query({{"b", "2"}, {"a", "x/y"}, {"a b", ""}}), "a=x%2Fy&a%20b=&b=2");
}

TEST(Digest, Md5AndBase64OfKnownTexts) {
  EXPECT_EQ(md5_base64(as_bytes("")), "1B2M2Y8AsgTpgAmY7PhCfg==");
  EXPECT_EQ(to_base64(as_bytes("ab")), "YWI=");
  EXPECT_EQ(to_base64(as_bytes("")), "");
}

}  // namespace
}  // namespace caddis::store
