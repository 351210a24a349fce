#include "store/s3_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::store {
namespace {

using testing::AllOf;
using testing::HasSubstr;

S3Target target() { return parse_s3_target("s3://bkt/p?endpoint=http://127.0.0.1:9000", "", "").value(); }
Error error(int status, std::string code = "", std::string region = "") {
  return s3_error(target(), "get s3://bkt/p/k", {status, std::move(code), "words", std::move(region)});
}

TEST(S3Error, WhatPassesByItselfIsTriedAgain) {
  for (int status : {408, 429, 500, 502, 503, 504}) EXPECT_TRUE(is_retryable({.status = status})) << status;
  for (int status : {301, 400, 401, 403, 404, 409, 412, 416, 501, 505, 507})
    EXPECT_FALSE(is_retryable({.status = status})) << status;
  EXPECT_TRUE(is_retryable({.status = 409, .code = "ConditionalRequestConflict"}));
  EXPECT_TRUE(is_retryable({.status = 400, .code = "RequestTimeout"}));
  EXPECT_TRUE(is_retryable({.status = 200, .code = "InternalError"}));
  EXPECT_FALSE(is_retryable({.status = 500, .code = "NotImplemented"}));
}

TEST(S3Error, TheTextNamesObjectEndpointStatusCodeAndCure) {
  EXPECT_EQ(error(403, "SignatureDoesNotMatch").message(),
            "get s3://bkt/p/k at http://127.0.0.1:9000: HTTP 403 SignatureDoesNotMatch (words): the secret access key "
            "does not belong to the key id: correct AWS_SECRET_ACCESS_KEY");
}

TEST(S3Error, CodesAreTheOnesOfTheInterface) {
  EXPECT_EQ(error(404, "NoSuchKey").code(), ErrorCode::kNotFound);
  EXPECT_EQ(error(404).code(), ErrorCode::kNotFound);
  EXPECT_EQ(error(404, "NoSuchBucket").code(), ErrorCode::kUnavailable);
  EXPECT_EQ(error(403).code(), ErrorCode::kDenied);
  EXPECT_EQ(error(403, "AccessDenied").code(), ErrorCode::kDenied);
  EXPECT_EQ(error(412).code(), ErrorCode::kConflict);
  EXPECT_EQ(error(412, "PreconditionFailed").code(), ErrorCode::kConflict);
  EXPECT_EQ(error(409, "ConditionalRequestConflict").code(), ErrorCode::kBusy);
  EXPECT_EQ(error(503, "SlowDown").code(), ErrorCode::kUnavailable);
  EXPECT_EQ(error(200, "InternalError").code(), ErrorCode::kUnavailable);
  EXPECT_EQ(error(400, "Whatever").code(), ErrorCode::kInvalid);
  EXPECT_EQ(error(507).code(), ErrorCode::kNoSpace);
}

TEST(S3Error, AnotherRegionIsNamed) {
  for (Error e :
       {error(301, "PermanentRedirect", "eu-west-1"), error(400, "AuthorizationHeaderMalformed", "eu-west-1")}) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalid);
    EXPECT_THAT(e.message(), AllOf(HasSubstr("\"eu-west-1\""), HasSubstr("set region=eu-west-1")));
  }
  EXPECT_THAT(error(307).message(), AllOf(HasSubstr("HTTP 307"), HasSubstr("correct endpoint and region")));
}

}  // namespace
}  // namespace caddis::store
