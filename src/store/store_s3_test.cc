// The S3 store against a real server: CADDIS_TEST_S3=ENDPOINT,BUCKET,KEY,SECRET names it (the bucket exists and may be
// written to), CADDIS_TEST_S3_CA the file with the authority of an https endpoint, CADDIS_TEST_S3_CUT an endpoint of
// the same server whose connections break after some bytes of each answer. tests/store/test_s3.py runs all of this.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <sstream>

#include "loop/task.h"
#include "store/s3_target.h"
#include "store/store.h"

namespace caddis::store {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string text_of_env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Bytes random_bytes(std::size_t size) {
  std::minstd_rand random(static_cast<unsigned>(size));
  Bytes out(size);
  for (std::uint8_t& b : out) b = static_cast<std::uint8_t>(random() >> 8);
  return out;
}

class S3LiveTest : public testing::Test {
 protected:
  void SetUp() override {
    std::stringstream text(text_of_env("CADDIS_TEST_S3"));
    for (std::string* field : {&endpoint_, &bucket_, &key_, &secret_}) std::getline(text, *field, ',');
    if (secret_.empty()) GTEST_SKIP() << "CADDIS_TEST_S3=endpoint,bucket,key,secret is not set";
    prefix_ =
        fmt::format("t{}/{}", std::random_device{}(), testing::UnitTest::GetInstance()->current_test_info()->name());
    store_ = open(options());
  }
  TargetOptions options() {
    TargetOptions o;
    o.url = fmt::format("s3://{}/{}?region=us-east-1", bucket_, prefix_);
    o.endpoint = endpoint_;
    o.access_key_id = key_;
    o.secret_access_key = secret_;
    o.ssl_cert_file = text_of_env("CADDIS_TEST_S3_CA");
    o.request_timeout_ms = 20'000;
    o.metrics = &metrics_;
    return o;
  }
  std::unique_ptr<Store> open(const TargetOptions& o) {
    Result<std::unique_ptr<Store>> s = open_store(loop_, o);
    EXPECT_TRUE(s) << s.error().message();
    return std::move(*s);
  }
  template <class T>
  T run(Task<T> task) {
    return loop::run_until_done(loop_, std::move(task));
  }
  template <class T>
  void ok(const Result<T>& r) {
    ASSERT_TRUE(r) << r.error().message();
  }
  // Runs `count` tasks, 16 at a time.
  void each(int count, std::function<Task<void>(int)> task) {
    auto worker = [](int first, int n, std::function<Task<void>(int)>& t) -> Task<void> {
      for (int i = first; i < n; i += 16) co_await t(i);
    };
    auto all = [&]() -> Task<bool> {
      loop::TaskGroup group;
      for (int w = 0; w < 16; ++w) group.spawn(worker(w, count, task));
      co_await group.join();
      co_return true;
    };
    run(all());
  }

  loop::Loop loop_;
  Metrics metrics_;
  std::string endpoint_, bucket_, key_, secret_, prefix_;
  std::unique_ptr<Store> store_;
};

TEST_F(S3LiveTest, WhatWasPutIsReadListedAndDeleted) {
  EXPECT_THAT(run(store_->list("", {})).value(), IsEmpty());
  PutOptions put{.metadata = {{"caddis-note", "n"}}, .timestamp_ms = 1'795'309'848'680};
  Result<std::string> etag = run(store_->put("a.db/0000/x y+z.ltx", Bytes{'h', 'e', 'l', 'l', 'o'}, put, {}));
  ok(etag);
  ok(run(store_->put("a.db/0001/empty", Bytes{}, {}, {})));
  EXPECT_EQ(run(store_->get("a.db/0000/x y+z.ltx", 1, 3, {})).value(), (Bytes{'e', 'l', 'l'}));
  EXPECT_EQ(run(store_->get("a.db/0000/x y+z.ltx", 0, 0, {})).value().size(), 5u);
  EXPECT_EQ(run(store_->get("a.db/0000/x y+z.ltx", 9, 3, {})).value().size(), 0u);
  EXPECT_EQ(run(store_->get("a.db/0001/empty", 0, 0, {})).value().size(), 0u);
  ObjectHead head = run(store_->head("a.db/0000/x y+z.ltx", {})).value();
  EXPECT_EQ(head.timestamp_ms, 1'795'309'848'680);
  EXPECT_EQ(head.size_bytes, 5u);
  EXPECT_EQ(head.etag, *etag);
  EXPECT_THAT(head.metadata, testing::Contains(testing::Pair("caddis-note", "n")));
  std::vector<ObjectInfo> list = run(store_->list("a.db/", {})).value();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].key, "a.db/0000/x y+z.ltx");
  EXPECT_EQ(list[0].size_bytes, 5u);
  EXPECT_THAT(run(store_->list_dirs("", {})).value(), ElementsAre("a.db"));
  EXPECT_THAT(run(store_->list_dirs("a.db/", {})).value(), ElementsAre("0000", "0001"));
  ok(run(store_->remove({"a.db/0000/x y+z.ltx", "a.db/0001/empty", "a.db/absent"}, {})));
  EXPECT_EQ(run(store_->get("a.db/0000/x y+z.ltx", 0, 0, {})).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(run(store_->head("a.db/0001/empty", {})).error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(run(store_->list("", {})).value(), IsEmpty());
}

TEST_F(S3LiveTest, AnUntrustedCertificateIsRefused) {
  if (!endpoint_.starts_with("https://")) GTEST_SKIP() << "the endpoint has no TLS";
  TargetOptions o = options();
  o.ssl_cert_file.clear();
  store_ = open(o);
  Error e = run(store_->list("", {})).error();
  EXPECT_EQ(e.code(), ErrorCode::kDenied);
  EXPECT_THAT(e.message(), AllOf(HasSubstr("list s3://" + bucket_), HasSubstr("certificate")));
}

TEST_F(S3LiveTest, AWrongSecretIsDeniedWithTheCure) {
  TargetOptions o = options();
  o.secret_access_key = "CANARY-wrong-secret";
  store_ = open(o);
  Error e = run(store_->list("", {})).error();
  EXPECT_EQ(e.code(), ErrorCode::kDenied);
  EXPECT_THAT(e.message(), AllOf(HasSubstr("list s3://" + bucket_), HasSubstr("403"), Not(HasSubstr("CANARY"))));
  EXPECT_EQ(run(store_->put("k", Bytes(10), {}, {})).error().code(), ErrorCode::kDenied);
}

TEST_F(S3LiveTest, AnAbsentBucketIsUnavailableAndNeverNothingThere) {
  TargetOptions o = options();
  o.url = "s3://absent-bucket-of-caddis/p?region=us-east-1";
  store_ = open(o);
  Error e = run(store_->list("", {})).error();
  EXPECT_EQ(e.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(e.message(), AllOf(HasSubstr("absent-bucket-of-caddis"), HasSubstr("404")));
  EXPECT_FALSE(run(store_->list_dirs("", {})));
}

TEST_F(S3LiveTest, IfNoneMatchHasOneWinner) {
  int winners = 0, conflicts = 0;
  each(16, [&](int i) -> Task<void> {
    PutOptions once{.if_none_match = true};
    Result<std::string> r = co_await store_->put("k", Bytes(100, static_cast<std::uint8_t>(i)), once, {});
    if (r) ++winners;
    if (!r && (r.error().code() == ErrorCode::kConflict)) ++conflicts;
  });
  EXPECT_EQ(winners, 1);
  EXPECT_EQ(conflicts, 15);
}

TEST_F(S3LiveTest, IfMatchReplacesOnlyWhatWasSeen) {
  std::string first = run(store_->put("k", Bytes{'1'}, {}, {})).value();
  ok(run(store_->put("k", Bytes{'2'}, {.if_match = first}, {})));
  EXPECT_EQ(run(store_->put("k", Bytes{'3'}, {.if_match = first}, {})).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(run(store_->put("absent", Bytes{'3'}, {.if_match = first}, {})).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(run(store_->get("k", 0, 0, {})).value(), Bytes{'2'});
}

TEST_F(S3LiveTest, ALargeObjectGoesInPartsAndKeepsItsTimestamp) {
  Bytes all = random_bytes(2 * kMinPartBytes + 12'345);
  PutOptions put{.if_none_match = true, .timestamp_ms = 1'795'309'848'000};
  std::unique_ptr<Upload> upload = run(store_->start_upload("big", put, {})).value();
  for (std::size_t at = 0; at < all.size(); at += 1'000'000) {
    std::size_t end = std::min(all.size(), at + 1'000'000);
    ok(run(upload->write(
        Bytes(all.begin() + static_cast<std::ptrdiff_t>(at), all.begin() + static_cast<std::ptrdiff_t>(end)), {})));
  }
  EXPECT_THAT(run(store_->list("", {})).value(), IsEmpty()) << "visible before finish()";
  ok(run(upload->finish({})));
  EXPECT_THAT(metrics_.render(), HasSubstr("{op=\"upload_part\",code=\"200\"} 3"));
  EXPECT_TRUE(run(store_->get("big", 0, 0, {})).value() == all);
  ObjectHead head = run(store_->head("big", {})).value();
  EXPECT_EQ(head.size_bytes, all.size());
  EXPECT_EQ(head.timestamp_ms, 1'795'309'848'000);
}

TEST_F(S3LiveTest, IfNoneMatchHoldsForAnUploadInParts) {
  ok(run(store_->put("big", Bytes{'1'}, {}, {})));
  std::unique_ptr<Upload> upload = run(store_->start_upload("big", {.if_none_match = true}, {})).value();
  ok(run(upload->write(Bytes(kMinPartBytes + 1), {})));
  Result<std::string> etag = run(upload->finish({}));
  ASSERT_FALSE(etag);
  EXPECT_EQ(etag.error().code(), ErrorCode::kConflict) << etag.error().message();
  EXPECT_EQ(run(store_->get("big", 0, 0, {})).value(), Bytes{'1'});
}

TEST_F(S3LiveTest, AnAbortedUploadLeavesNothing) {
  std::unique_ptr<Upload> upload = run(store_->start_upload("big", {}, {})).value();
  ok(run(upload->write(Bytes(kMinPartBytes + 1), {})));
  ok(run(upload->abort({})));
  upload.reset();
  EXPECT_THAT(run(store_->list("", {})).value(), IsEmpty());
}

TEST_F(S3LiveTest, MoreThanAThousandObjectsAreListedAndDeleted) {
  constexpr int kCount = 1'010;
  std::vector<std::string> keys;
  for (int i = 0; i < kCount; ++i) keys.push_back(fmt::format("d/{:05}", i));
  int failed = 0;
  each(kCount, [&](int i) -> Task<void> {
    Result<std::string> r = co_await store_->put(keys[static_cast<std::size_t>(i)], Bytes{'x'}, {}, {});
    if (!r) ++failed;
  });
  EXPECT_EQ(failed, 0);
  std::vector<std::string> found;
  for (const ObjectInfo& o : run(store_->list("d/", {})).value()) found.push_back(o.key);
  EXPECT_EQ(found, keys);
  EXPECT_THAT(metrics_.render(), HasSubstr("{op=\"list\",code=\"200\"} 2"));
  ok(run(store_->remove(keys, {})));
  EXPECT_THAT(run(store_->list("", {})).value(), IsEmpty());
}

TEST_F(S3LiveTest, AReadThroughCutConnectionsIsComplete) {
  TargetOptions o = options();
  o.endpoint = text_of_env("CADDIS_TEST_S3_CUT");
  if (o.endpoint.empty()) GTEST_SKIP() << "CADDIS_TEST_S3_CUT is not set";
  Bytes all = random_bytes(3'000'000);
  ok(run(store_->put("k", all, {}, {})));
  std::unique_ptr<Store> cut = open(o);
  Result<Bytes> read = run(cut->get("k", 0, 0, {}));
  ok(read);
  EXPECT_TRUE(*read == all);
  Result<Bytes> part = run(cut->get("k", 100'000, 2'500'000, {}));
  ok(part);
  EXPECT_TRUE(std::equal(part->begin(), part->end(), all.begin() + 100'000, all.begin() + 2'600'000));
  EXPECT_THAT(metrics_.render(),
              Not(AnyOf(HasSubstr("{op=\"get\",code=\"206\"} 1\n"), HasSubstr("{op=\"get\",code=\"206\"} 2\n"))));
}

}  // namespace
}  // namespace caddis::store
