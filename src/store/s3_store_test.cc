// The S3 store against a server in this process that answers whatever the test wants.
#include "store/s3_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>

#include "http/server.h"
#include "store/digest.h"
#include "store/s3_target.h"

namespace caddis::store {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr char kSecret[] = "CANARY-SECRET";
constexpr char kToken[] = "CANARY-TOKEN";
constexpr std::size_t kPart = kMinPartBytes;

Bytes bytes(std::string_view text) { return Bytes(text.begin(), text.end()); }

struct Seen {
  std::string method, target;  // as sent
  http::Headers headers;
  std::string body;
};

struct Reply {
  int status = 200;
  http::Headers headers;
  std::string body;
  std::size_t cut_at = std::string::npos;  // the connection ends after so many bytes of the body
  bool hang = false;                       // no answer until the server stops
};

std::string error_document(std::string_view code) {
  return fmt::format("<Error><Code>{}</Code><Message>m</Message></Error>", code);
}

class S3StoreTest : public testing::Test {
 protected:
  S3StoreTest() {
    auto handler = [this](http::Request& request, http::ResponseWriter& writer) { return serve(request, writer); };
    server_ = std::move(*http::Server::listen(loop_, "127.0.0.1:0", handler));
    server_->serve();
    store_ = open("");
  }
  ~S3StoreTest() override {
    store_.reset();
    auto stop = [](http::Server& s) -> Task<bool> {
      co_await s.stop();
      co_return true;
    };
    run(stop(*server_));
  }

  TargetOptions options(std::string_view more) {
    TargetOptions o;
    o.url = fmt::format("s3://bkt/p?endpoint=http://127.0.0.1:{}{}", server_->port(), more);
    o.access_key_id = "KEYID";
    o.secret_access_key = kSecret;
    o.session_token = kToken;
    o.metrics = &metrics_;
    o.request_timeout_ms = 5'000;
    o.retry_wait_ms = 10;
    return o;
  }
  std::unique_ptr<Store> open(std::string_view more) {
    Result<std::unique_ptr<Store>> s = open_store(loop_, options(more));
    EXPECT_TRUE(s) << s.error().message();
    return std::move(*s);
  }
  template <class T>
  T run(Task<T> task) {
    return loop::run_until_done(loop_, std::move(task));
  }
  template <class T>
  std::string text_of(const Result<T>& result) {
    EXPECT_FALSE(result);
    std::string text = result ? "" : result.error().message();
    EXPECT_THAT(text, AllOf(Not(HasSubstr("CANARY")), Not(HasSubstr("?")), Not(HasSubstr("Signature="))));
    return text;
  }
  // Answers one after another, the last again and again.
  void script(std::vector<Reply> replies) {
    answer_ = [replies, n = std::size_t{0}](const Seen&) mutable { return replies[std::min(n++, replies.size() - 1)]; };
  }

  Task<void> serve(http::Request& request, http::ResponseWriter& writer) {
    Result<Bytes> body = co_await request.read_all(64u << 20);
    if (!body) co_return;
    seen_.push_back({request.method, request.target.raw, request.headers, std::string(as_text(*body))});
    Reply reply = answer_(seen_.back());
    if (reply.hang) {
      (void)co_await loop::sleep(loop_, 60'000, request.stop());
      co_return;
    }
    if (reply.cut_at == std::string::npos) {
      (void)co_await writer.send(reply.status, reply.headers, reply.body);
      co_return;
    }
    reply.headers.set("Content-Length", std::to_string(reply.body.size()));
    Status ok = co_await writer.begin(reply.status, reply.headers);
    if (ok) (void)co_await writer.write(as_bytes(std::string_view(reply.body).substr(0, reply.cut_at)));
  }

  loop::Loop loop_;
  Metrics metrics_;
  std::unique_ptr<http::Server> server_;
  std::unique_ptr<Store> store_;
  std::vector<Seen> seen_;
  std::function<Reply(const Seen&)> answer_ = [](const Seen&) { return Reply{}; };
};

TEST_F(S3StoreTest, APutCarriesSignatureMetadataAndCondition) {
  script({{.status = 200, .headers = {{"ETag", "\"e\""}}}});
  PutOptions put{.if_none_match = true, .metadata = {{"caddis-epoch", "7"}}, .timestamp_ms = 1'795'309'848'680};
  Result<std::string> etag = run(store_->put("a.db/0000/x y.ltx", bytes("hello"), put, {}));
  ASSERT_TRUE(etag) << etag.error().message();
  EXPECT_EQ(*etag, "\"e\"");
  ASSERT_EQ(seen_.size(), 1u);
  const Seen& s = seen_[0];
  EXPECT_EQ(s.method, "PUT");
  EXPECT_EQ(s.target, "/bkt/p/a.db/0000/x%20y.ltx");
  EXPECT_EQ(s.body, "hello");
  EXPECT_EQ(s.headers.get("If-None-Match"), "*");
  EXPECT_EQ(s.headers.get("x-amz-meta-litestream-timestamp"), "2026-11-22T01:10:48.68Z");
  EXPECT_EQ(s.headers.get("x-amz-meta-caddis-epoch"), "7");
  EXPECT_EQ(s.headers.get("x-amz-security-token"), kToken);
  EXPECT_EQ(s.headers.get("x-amz-content-sha256"), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
  EXPECT_THAT(std::string(s.headers.get("Authorization")),
              AllOf(StartsWith("AWS4-HMAC-SHA256 Credential=KEYID/"), HasSubstr("host;if-none-match;"),
                    HasSubstr("x-amz-meta-litestream-timestamp"), Not(HasSubstr(kSecret))));
  EXPECT_FALSE(s.headers.has("x-tigris-consistent"));
}

TEST_F(S3StoreTest, FaultsThatPassAreRetriedAndCounted) {
  script({{.status = 503, .body = error_document("SlowDown")},
          {.status = 409, .body = error_document("ConditionalRequestConflict")},
          {.status = 500},
          {.status = 200, .headers = {{"ETag", "e"}}}});
  EXPECT_TRUE(run(store_->put("k", bytes("x"), {.if_none_match = true}, {})));
  EXPECT_EQ(seen_.size(), 4u);
  EXPECT_EQ(seen_[3].body, "x");
  EXPECT_THAT(metrics_.render(),
              AllOf(HasSubstr("{op=\"put\",code=\"503\"} 1"), HasSubstr("{op=\"put\",code=\"409\"} 1"),
                    HasSubstr("{op=\"put\",code=\"200\"} 1")));
}

TEST_F(S3StoreTest, RetriesEndWithTheCause) {
  script({{.status = 503, .body = error_document("SlowDown")}});
  Result<Bytes> r = run(store_->get("k", 0, 0, {}));
  EXPECT_EQ(r.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(text_of(r), AllOf(HasSubstr("get s3://bkt/p/k"), HasSubstr("HTTP 503 SlowDown"), HasSubstr("attempt 4")));
  EXPECT_EQ(seen_.size(), 4u);
}

TEST_F(S3StoreTest, WhatDoesNotPassIsNotRetried) {
  script({{.status = 403, .body = error_document("SignatureDoesNotMatch")}});
  Result<std::vector<ObjectInfo>> r = run(store_->list("", {}));
  EXPECT_EQ(r.error().code(), ErrorCode::kDenied);
  EXPECT_THAT(text_of(r), AllOf(HasSubstr("list s3://bkt/p/"), HasSubstr("403 SignatureDoesNotMatch"),
                                HasSubstr("AWS_SECRET_ACCESS_KEY")));
  EXPECT_EQ(seen_.size(), 1u);
}

TEST_F(S3StoreTest, AStopDuringBackOffGivesTheFailureBeforeIt) {
  TargetOptions o = options("");
  o.retry_wait_ms = 60'000;  // nobody waits that long: the stop ends it
  store_ = std::move(*open_store(loop_, o));
  std::stop_source source;
  loop::Timer timer;
  answer_ = [&](const Seen&) {
    timer = loop::Timer::after(loop_, 100, [&] { source.request_stop(); });
    return Reply{.status = 503, .body = error_document("SlowDown")};
  };
  Result<Bytes> r = run(store_->get("k", 0, 0, source.get_token()));
  EXPECT_EQ(seen_.size(), 1u);
  EXPECT_EQ(r.error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(run(store_->get("k", 0, 0, source.get_token())).error().code(), ErrorCode::kCancelled);
  EXPECT_EQ(seen_.size(), 1u);
}

TEST_F(S3StoreTest, AStopEndsASilentRequest) {
  script({{.hang = true}});
  std::stop_source source;
  loop::Timer timer = loop::Timer::after(loop_, 50, [&] { source.request_stop(); });
  EXPECT_EQ(run(store_->list("", source.get_token())).error().code(), ErrorCode::kCancelled);
}

TEST_F(S3StoreTest, ASilentServerIsATimeOutThatNamesBucketAndEndpoint) {
  script({{.hang = true}});
  TargetOptions o = options("");
  o.request_timeout_ms = 100;
  o.max_attempts = 2;
  store_ = std::move(*open_store(loop_, o));
  Result<std::vector<ObjectInfo>> r = run(store_->list("", {}));
  EXPECT_EQ(r.error().code(), ErrorCode::kTimeout);
  EXPECT_THAT(text_of(r), AllOf(HasSubstr("s3://bkt/p"), HasSubstr("http://127.0.0.1:")));
}

TEST_F(S3StoreTest, APreconditionThatFailsIsAConflict) {
  script({{.status = 412, .body = error_document("PreconditionFailed")}});
  EXPECT_EQ(run(store_->put("k", bytes("x"), {.if_none_match = true}, {})).error().code(), ErrorCode::kConflict);
  script({{.status = 404, .body = error_document("NoSuchKey")}});
  EXPECT_EQ(run(store_->put("k", bytes("x"), {.if_match = "e"}, {})).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(seen_.back().headers.get("If-Match"), "e");
}

TEST_F(S3StoreTest, AbsentKeyAndAbsentBucketAreDifferentAnswers) {
  script({{.status = 404, .body = error_document("NoSuchKey")}});
  EXPECT_EQ(run(store_->get("k", 0, 0, {})).error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(run(store_->remove({"k"}, {})));
  script({{.status = 404, .body = error_document("NoSuchBucket")}});
  EXPECT_EQ(run(store_->get("k", 0, 0, {})).error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(text_of(run(store_->list("", {}))), HasSubstr("NoSuchBucket"));
  script({{.status = 404}});
  EXPECT_EQ(run(store_->list("", {})).error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(run(store_->head("k", {})).error().code(), ErrorCode::kNotFound);
}

TEST_F(S3StoreTest, ARedirectNamesTheRegion) {
  script({{.status = 301, .headers = {{"x-amz-bucket-region", "eu-west-1"}}}});
  Result<std::vector<ObjectInfo>> r = run(store_->list("", {}));
  EXPECT_EQ(r.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(text_of(r), HasSubstr("set region=eu-west-1"));
}

std::string page(std::string_view inner, std::string_view next) {
  return fmt::format("<ListBucketResult><IsTruncated>{}</IsTruncated>{}{}</ListBucketResult>",
                     next.empty() ? "false" : "true",
                     next.empty() ? "" : fmt::format("<NextContinuationToken>{}</NextContinuationToken>", next), inner);
}
std::string object(std::string_view key) {
  return fmt::format(
      "<Contents><Key>{}</Key><Size>3</Size><ETag>e</ETag><LastModified>2026-11-22T01:10:48Z</LastModified></Contents>",
      key);
}

TEST_F(S3StoreTest, AListGoesOnPageByPage) {
  script({{.body = page(object("p/a/1") + object("p/a/"), "t/1=")}, {.body = page(object("p/a/2"), "")}});
  std::vector<ObjectInfo> found = run(store_->list("a/", {})).value();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].key, "a/1");
  EXPECT_EQ(found[0].size_bytes, 3u);
  EXPECT_EQ(found[1].key, "a/2");
  EXPECT_EQ(seen_[0].target, "/bkt?list-type=2&prefix=p%2Fa%2F");
  EXPECT_EQ(seen_[1].target, "/bkt?continuation-token=t%2F1%3D&list-type=2&prefix=p%2Fa%2F");
}

TEST_F(S3StoreTest, AListThatBreaksItsFormatIsAnErrorAndNeverShorter) {
  for (const std::string& bad :
       {page(object("q/foreign"), ""), page(object("p/a"), "").substr(0, 60), std::string("<html/>"), std::string()}) {
    script({{.body = bad}});
    EXPECT_EQ(run(store_->list("", {})).error().code(), ErrorCode::kCorrupt) << bad;
  }
  script({{.body = page(object("p/a"), "same")}});
  EXPECT_EQ(run(store_->list("", {})).error().code(), ErrorCode::kCorrupt);
}

TEST_F(S3StoreTest, ListDirsIsOneDelimitedList) {
  script(
      {{.body = page("<CommonPrefixes><Prefix>p/b.db/</Prefix></CommonPrefixes><CommonPrefixes><Prefix>p/a.db/</Prefix>"
                     "</CommonPrefixes>" +
                         object("p/plain"),
                     "")}});
  EXPECT_THAT(run(store_->list_dirs("", {})).value(), ElementsAre("a.db", "b.db"));
  EXPECT_EQ(seen_[0].target, "/bkt?delimiter=%2F&list-type=2&prefix=p%2F");
  EXPECT_EQ(seen_.size(), 1u);
}

// Serves "0123456789" with ranges; every answer is cut after `cut` bytes.
std::function<Reply(const Seen&)> ranged(std::string text, std::size_t cut, std::string etag = "e") {
  return [=](const Seen& s) {
    std::string range(s.headers.get("Range"));
    unsigned long begin = 0, end = text.size() - 1;
    if (!range.empty()) std::sscanf(range.c_str(), "bytes=%lu-%lu", &begin, &end);
    Reply r{.status = range.empty() ? 200 : 206, .headers = {{"ETag", etag}}};
    end = std::min<unsigned long>(end, text.size() - 1);
    if (begin >= text.size()) return Reply{.status = 416, .body = error_document("InvalidRange")};
    r.body = text.substr(begin, end - begin + 1);
    r.headers.add("Content-Range", fmt::format("bytes {}-{}/{}", begin, end, text.size()));
    if (cut < r.body.size()) r.cut_at = cut;
    return r;
  };
}

TEST_F(S3StoreTest, ABrokenAnswerIsResumedWhereItBroke) {
  answer_ = ranged("0123456789", 3);
  EXPECT_EQ(run(store_->get("k", 0, 0, {})).value(), bytes("0123456789"));
  ASSERT_EQ(seen_.size(), 4u);
  EXPECT_FALSE(seen_[0].headers.has("Range"));
  EXPECT_EQ(seen_[1].headers.get("Range"), "bytes=3-9");
  EXPECT_EQ(seen_[1].headers.get("If-Match"), "e");
  EXPECT_EQ(seen_[3].headers.get("Range"), "bytes=9-9");
  seen_.clear();
  EXPECT_EQ(run(store_->get("k", 2, 5, {})).value(), bytes("23456"));
  EXPECT_EQ(seen_[0].headers.get("Range"), "bytes=2-6");
}

TEST_F(S3StoreTest, RangesBeyondTheEndAreShortOrEmpty) {
  answer_ = ranged("0123456789", 100);
  EXPECT_EQ(run(store_->get("k", 8, 100, {})).value(), bytes("89"));
  EXPECT_EQ(run(store_->get("k", 10, 100, {})).value(), Bytes{});
  script({{.status = 200, .headers = {{"ETag", "e"}}}});
  EXPECT_EQ(run(store_->get("empty", 0, 0, {})).value(), Bytes{});
}

TEST_F(S3StoreTest, AResumedReadNeverContinuesInAnotherObject) {
  answer_ = [n = 0](const Seen& s) mutable { return ranged("0123456789", 3, n++ == 0 ? "e" : "f")(s); };
  EXPECT_EQ(run(store_->get("k", 0, 0, {})).error().code(), ErrorCode::kConflict);
}

TEST_F(S3StoreTest, AServerThatIgnoresRangesIsAnError) {
  script({{.status = 200, .headers = {{"ETag", "e"}}, .body = "0123456789"}});
  EXPECT_EQ(run(store_->get("k", 5, 2, {})).error().code(), ErrorCode::kCorrupt);
}

TEST_F(S3StoreTest, AnAnswerThatAlwaysBreaksAtOnceIsAnErrorInTheEnd) {
  answer_ = ranged("0123456789", 0);
  Result<Bytes> r = run(store_->get("k", 0, 0, {}));
  EXPECT_EQ(r.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(text_of(r), HasSubstr("get s3://bkt/p/k"));
}

TEST_F(S3StoreTest, ASmallUploadIsOnePut) {
  script({{.status = 200, .headers = {{"ETag", "e"}}}});
  std::unique_ptr<Upload> upload = run(store_->start_upload("k", {.if_none_match = true}, {})).value();
  ASSERT_TRUE(run(upload->write(bytes("he"), {})));
  ASSERT_TRUE(run(upload->write(bytes("llo"), {})));
  EXPECT_EQ(seen_.size(), 0u);
  ASSERT_TRUE(run(upload->finish({})));
  ASSERT_EQ(seen_.size(), 1u);
  EXPECT_EQ(seen_[0].body, "hello");
  EXPECT_EQ(seen_[0].headers.get("If-None-Match"), "*");
}

// Multipart as S3 does it, one upload.
struct Multipart {
  std::vector<std::string> parts;
  bool open = false;
  int fail_complete = 0;  // so many answers to "complete" are lost after it took effect
  std::string object;

  Reply operator()(const Seen& s) {
    if (s.target.find("?uploads=") != std::string::npos) {
      open = true;
      return {.body = "<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>"};
    }
    if (s.target.find("partNumber=") != std::string::npos) {
      parts.push_back(s.body);
      return {.headers = {{"ETag", fmt::format("\"p{}\"", parts.size())}}};
    }
    if (s.method == "POST") {
      if (!open) return {.status = 404, .body = error_document("NoSuchUpload")};
      for (const std::string& p : parts) object += p;
      open = false;
      if (fail_complete-- > 0) return {.status = 200, .body = error_document("InternalError")};
      return {.body = "<CompleteMultipartUploadResult><ETag>whole</ETag></CompleteMultipartUploadResult>"};
    }
    if (s.method == "DELETE") {
      open = false;
      return {.status = 204};
    }
    return {.headers = {{"ETag", "whole"}}, .body = object};  // HEAD
  }
};

TEST_F(S3StoreTest, ALargeUploadGoesInParts) {
  auto s3 = std::make_shared<Multipart>();
  answer_ = [s3](const Seen& s) { return (*s3)(s); };
  std::unique_ptr<Upload> upload =
      run(store_->start_upload("k", {.if_none_match = true, .timestamp_ms = 1000}, {})).value();
  std::string all;
  for (int i = 0; i < 5; ++i) {
    std::string part(kPart / 2 + 1, static_cast<char>('a' + i));
    all += part;
    ASSERT_TRUE(run(upload->write(bytes(part), {})));
  }
  EXPECT_EQ(run(upload->finish({})).value(), "whole");
  EXPECT_EQ(s3->object, all);
  ASSERT_EQ(s3->parts.size(), 3u);
  EXPECT_EQ(s3->parts[0].size(), kPart);
  EXPECT_EQ(s3->parts[1].size(), kPart);
  EXPECT_EQ(seen_.front().headers.get("x-amz-meta-litestream-timestamp"), "1970-01-01T00:00:01Z");
  EXPECT_EQ(seen_.back().headers.get("If-None-Match"), "*");
  EXPECT_EQ(seen_.back().target, "/bkt/p/k?uploadId=u%2F1");
  EXPECT_THAT(seen_.back().body, HasSubstr("<PartNumber>3</PartNumber><ETag>&quot;p3&quot;</ETag>"));
}

TEST_F(S3StoreTest, ACompletionWhoseAnswerWasLostIsRecognised) {
  for (bool conditional : {false, true}) {
    auto s3 = std::make_shared<Multipart>();
    s3->fail_complete = 1;
    answer_ = [s3](const Seen& s) { return (*s3)(s); };
    std::unique_ptr<Upload> upload = run(store_->start_upload("k", {.if_none_match = conditional}, {})).value();
    ASSERT_TRUE(run(upload->write(Bytes(kPart + 1), {})));
    Result<std::string> etag = run(upload->finish({}));
    if (conditional)
      EXPECT_EQ(etag.error().code(), ErrorCode::kConflict);
    else
      EXPECT_EQ(etag.value(), "whole");
    EXPECT_EQ(s3->object.size(), kPart + 1);
  }
}

TEST_F(S3StoreTest, AnAbandonedMultipartUploadIsAborted) {
  for (bool by_hand : {true, false}) {
    auto s3 = std::make_shared<Multipart>();
    answer_ = [s3](const Seen& s) { return (*s3)(s); };
    std::unique_ptr<Upload> upload = run(store_->start_upload("k", {}, {})).value();
    ASSERT_TRUE(run(upload->write(Bytes(kPart + 1), {})));
    EXPECT_TRUE(s3->open);
    if (by_hand) ASSERT_TRUE(run(upload->abort({})));
    upload.reset();
    auto wait = [](loop::Loop& l, Multipart& m) -> Task<bool> {
      for (int i = 0; i < 500 && m.open; ++i) (void)co_await loop::sleep(l, 10, {});
      co_return m.open;
    };
    EXPECT_FALSE(run(wait(loop_, *s3)));
    EXPECT_EQ(seen_.back().method, "DELETE");
  }
}

TEST_F(S3StoreTest, ManyKeysAreDeletedAThousandAtOnce) {
  script({{.body = "<DeleteResult/>"}});
  std::vector<std::string> keys(1001, "k");
  ASSERT_TRUE(run(store_->remove(keys, {})));
  ASSERT_EQ(seen_.size(), 2u);
  EXPECT_EQ(seen_[0].target, "/bkt?delete=");
  EXPECT_THAT(seen_[1].body, HasSubstr("<Object><Key>p/k</Key></Object>"));
  EXPECT_EQ(seen_[1].headers.get("Content-MD5"), md5_base64(as_bytes(seen_[1].body)));
}

TEST_F(S3StoreTest, AKeyThatCouldNotBeDeletedIsAnError) {
  script({{.body = "<DeleteResult><Error><Key>p/b</Key><Code>AccessDenied</Code></Error></DeleteResult>"}});
  Status s = run(store_->remove({"a", "b"}, {}));
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error().code(), ErrorCode::kDenied);
  EXPECT_THAT(s.error().message(), HasSubstr("s3://bkt/p/b"));
}

TEST_F(S3StoreTest, HeadGivesMetadataAndTimestamp) {
  script({{.headers = {{"ETag", "e"},
                       {"Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"},
                       {"X-Amz-Meta-Litestream-Timestamp", "2026-11-22T01:10:48.68Z"},
                       {"X-Amz-Meta-Other", "v"}},
           .body = "12345"}});
  ObjectHead head = run(store_->head("k", {})).value();
  EXPECT_EQ(head.size_bytes, 5u);
  EXPECT_EQ(head.modified_ms, 784'111'777'000);
  EXPECT_EQ(head.timestamp_ms, 1'795'309'848'680);
  EXPECT_THAT(head.metadata, testing::Contains(testing::Pair("other", "v")));
}

TEST_F(S3StoreTest, LevelsAreWhereLitestreamKeepsThem) {
  EXPECT_EQ(store_->level_prefix("app.db", 9), "app.db/0009/");
  EXPECT_EQ(store_->level_prefix("", 0), "0000/");
  EXPECT_EQ(store_->describe(), "s3://bkt/p");
}

TEST_F(S3StoreTest, AnUnreachableServerIsUnavailableAndNamed) {
  TargetOptions o = options("");
  o.url = "s3://bkt/p?endpoint=http://127.0.0.1:1&region=x";
  store_ = std::move(*open_store(loop_, o));
  Result<std::vector<ObjectInfo>> r = run(store_->list("", {}));
  EXPECT_EQ(r.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(text_of(r), AllOf(HasSubstr("s3://bkt/p"), HasSubstr("http://127.0.0.1:1"), HasSubstr("refused")));
}

TEST_F(S3StoreTest, CredentialsAreRequiredAndFilesOfThemPrivate) {
  TargetOptions o = options("");
  o.secret_access_key.clear();
  EXPECT_THAT(text_of(open_store(loop_, o)), HasSubstr("AWS_SECRET_ACCESS_KEY"));
  std::string path = (std::filesystem::temp_directory_path() / fmt::format("caddis-secret-{}", getpid())).string();
  std::ofstream(path) << "CANARY-from-file\n";
  o.secret_access_key_file = path;
  ::chmod(path.c_str(), 0666);
  EXPECT_THAT(text_of(open_store(loop_, o)), AllOf(HasSubstr(path), HasSubstr("chmod 600")));
  for (unsigned mode : {0600u, 0444u}) {
    ::chmod(path.c_str(), mode);
    EXPECT_TRUE(open_store(loop_, o));
  }
  std::filesystem::remove(path);
  EXPECT_THAT(text_of(open_store(loop_, o)), HasSubstr(path));
}

}  // namespace
}  // namespace caddis::store
