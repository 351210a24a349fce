#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "store/store.h"

namespace caddis::store {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Bytes bytes(std::string_view text) { return Bytes(text.begin(), text.end()); }

class FileStoreTest : public testing::Test {
 protected:
  FileStoreTest() {
    std::string name = (std::filesystem::temp_directory_path() / "caddis-store-XXXXXX").string();
    base_ = mkdtemp(name.data());
    root_ = base_ + "/backup";
    store_ = open(root_);
  }
  ~FileStoreTest() override { std::filesystem::remove_all(base_); }

  std::unique_ptr<Store> open(const std::string& path) {
    TargetOptions options;
    options.url = "file://" + path;
    options.metrics = &metrics_;
    Result<std::unique_ptr<Store>> s = open_store(loop_, options);
    EXPECT_TRUE(s) << s.error().message();
    return std::move(*s);
  }
  template <class T>
  T run(Task<T> task) {
    return loop::run_until_done(loop_, std::move(task));
  }
  std::vector<std::string> keys(const std::string& prefix) {
    Result<std::vector<ObjectInfo>> found = run(store_->list(prefix, {}));
    EXPECT_TRUE(found) << found.error().message();
    std::vector<std::string> out;
    for (const ObjectInfo& o : *found) out.push_back(o.key);
    return out;
  }
  void put(const std::string& key, std::string_view text) {
    Result<std::string> etag = run(store_->put(key, bytes(text), {}, {}));
    ASSERT_TRUE(etag) << etag.error().message();
  }
  std::vector<std::string> files_of(const std::string& dir) {
    std::vector<std::string> out;
    for (const auto& e : std::filesystem::directory_iterator(root_ + "/" + dir)) out.push_back(e.path().filename());
    std::sort(out.begin(), out.end());
    return out;
  }

  loop::Loop loop_;
  Metrics metrics_;
  std::string base_, root_;
  std::unique_ptr<Store> store_;
};

TEST_F(FileStoreTest, WhatWasPutIsReadBack) {
  put("a.db/ltx/0/x.ltx", "hello");
  EXPECT_EQ(run(store_->get("a.db/ltx/0/x.ltx", 0, 0, {})).value(), bytes("hello"));
  EXPECT_EQ(run(store_->get("a.db/ltx/0/x.ltx", 1, 3, {})).value(), bytes("ell"));
  EXPECT_EQ(run(store_->get("a.db/ltx/0/x.ltx", 3, 10, {})).value(), bytes("lo"));
  EXPECT_EQ(run(store_->get("a.db/ltx/0/x.ltx", 9, 10, {})).value(), Bytes{});
  EXPECT_THAT(files_of("a.db/ltx/0"), ElementsAre("x.ltx"));
}

TEST_F(FileStoreTest, TheTimestampBecomesTheTimeOfTheFile) {
  PutOptions options{.timestamp_ms = 1'700'000'000'123};
  ASSERT_TRUE(run(store_->put("k", bytes("x"), options, {})));
  ObjectHead head = run(store_->head("k", {})).value();
  EXPECT_EQ(head.timestamp_ms, 1'700'000'000'123);
  EXPECT_EQ(head.modified_ms, 1'700'000'000'123);
  EXPECT_EQ(head.size_bytes, 1u);
  EXPECT_EQ(run(store_->list("", {})).value().at(0).modified_ms, 1'700'000'000'123);
}

TEST_F(FileStoreTest, AnAbsentDirectoryIsNothingThereWhenItsParentExists) {
  EXPECT_THAT(keys(""), IsEmpty());
  EXPECT_THAT(run(store_->list_dirs("", {})).value(), IsEmpty());
  EXPECT_EQ(run(store_->get("k", 0, 0, {})).error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(run(store_->remove({"a/b"}, {})));
  EXPECT_FALSE(std::filesystem::exists(root_)) << "reading made the directory";
}

TEST_F(FileStoreTest, AnAbsentParentIsAnErrorThatNamesIt) {
  store_ = open(base_ + "/absent/backup");
  std::vector<Error> errors = {
      run(store_->list("", {})).error(),       run(store_->list_dirs("", {})).error(),
      run(store_->get("k", 0, 0, {})).error(), run(store_->put("k", bytes("x"), {}, {})).error(),
      run(store_->head("k", {})).error(),      run(store_->remove({"k"}, {})).error()};
  for (const Error& e : errors) {
    EXPECT_EQ(e.code(), ErrorCode::kUnavailable);
    EXPECT_THAT(e.message(), HasSubstr(base_ + "/absent does not exist"));
  }
}

TEST_F(FileStoreTest, AFileInPlaceOfTheDirectoryIsAnError) {
  std::ofstream(root_) << "x";
  EXPECT_THAT(run(store_->list("", {})).error().message(), HasSubstr("is not a directory"));
}

TEST_F(FileStoreTest, ListGivesKeysSortedByByteAndLeavesOutTmpFiles) {
  for (const char* key : {"b/2", "a/1", "a-b/1", "a/10", "b/1"}) put(key, "x");
  std::ofstream(root_ + "/a/9.tmp") << "x";
  EXPECT_THAT(keys(""), ElementsAre("a-b/1", "a/1", "a/10", "b/1", "b/2"));
  EXPECT_THAT(keys("a"), ElementsAre("a-b/1", "a/1", "a/10"));
  EXPECT_THAT(keys("a/"), ElementsAre("a/1", "a/10"));
  EXPECT_THAT(keys("a/10"), ElementsAre("a/10"));
  EXPECT_THAT(keys("c/"), IsEmpty());
}

TEST_F(FileStoreTest, ListDirsNamesOnlyDirectoriesThatHoldAnObject) {
  put("x.db/ltx/0/1", "x");
  put("y.db/ltx/9/1", "x");
  put("plain", "x");
  std::filesystem::create_directories(root_ + "/empty.db/ltx/0");
  EXPECT_THAT(run(store_->list_dirs("", {})).value(), ElementsAre("x.db", "y.db"));
  EXPECT_THAT(run(store_->list_dirs("x.db/ltx/", {})).value(), ElementsAre("0"));
  EXPECT_THAT(run(store_->list_dirs("z.db/", {})).value(), IsEmpty());
}

TEST_F(FileStoreTest, IfNoneMatchNeverReplaces) {
  PutOptions once{.if_none_match = true};
  ASSERT_TRUE(run(store_->put("k", bytes("first"), once, {})));
  Result<std::string> second = run(store_->put("k", bytes("second"), once, {}));
  EXPECT_EQ(second.error().code(), ErrorCode::kConflict);
  EXPECT_EQ(run(store_->get("k", 0, 0, {})).value(), bytes("first"));
  EXPECT_THAT(files_of(""), ElementsAre("k"));
}

TEST_F(FileStoreTest, IfMatchReplacesOnlyWhatWasSeen) {
  std::string first = run(store_->put("k", bytes("1"), {}, {})).value();
  EXPECT_EQ(run(store_->head("k", {})).value().etag, first);
  EXPECT_EQ(run(store_->list("k", {})).value().at(0).etag, first);
  Result<std::string> second = run(store_->put("k", bytes("2"), {.if_match = first}, {}));
  ASSERT_TRUE(second);
  EXPECT_NE(*second, first);
  EXPECT_EQ(run(store_->put("k", bytes("3"), {.if_match = first}, {})).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(run(store_->put("absent", bytes("3"), {.if_match = first}, {})).error().code(), ErrorCode::kConflict);
}

TEST_F(FileStoreTest, AnUploadIsVisibleOnlyAfterFinish) {
  std::unique_ptr<Upload> upload = run(store_->start_upload("d/k", {.if_none_match = true}, {})).value();
  ASSERT_TRUE(run(upload->write(bytes("he"), {})));
  ASSERT_TRUE(run(upload->write(bytes("llo"), {})));
  EXPECT_THAT(keys(""), IsEmpty());
  ASSERT_TRUE(run(upload->finish({})));
  EXPECT_EQ(run(store_->get("d/k", 0, 0, {})).value(), bytes("hello"));
}

TEST_F(FileStoreTest, AnAbandonedUploadLeavesNothing) {
  for (bool abort : {true, false}) {
    std::unique_ptr<Upload> upload = run(store_->start_upload("d/k", {}, {})).value();
    ASSERT_TRUE(run(upload->write(bytes("he"), {})));
    if (abort) ASSERT_TRUE(run(upload->abort({})));
    upload.reset();
    EXPECT_THAT(files_of("d"), IsEmpty());
  }
}

TEST_F(FileStoreTest, TwoUploadsOfOneKeyExcludeEachOther) {
  std::unique_ptr<Upload> upload = run(store_->start_upload("k", {}, {})).value();
  EXPECT_EQ(run(store_->start_upload("k", {}, {})).error().code(), ErrorCode::kBusy);
  upload.reset();
  EXPECT_TRUE(run(store_->start_upload("k", {}, {})));
}

TEST_F(FileStoreTest, WhatADeadWriterLeftIsOverwritten) {
  put("d/other", "x");
  std::ofstream(root_ + "/d/k.tmp") << "left over, and longer than the new content";
  put("d/k", "new");
  EXPECT_EQ(run(store_->get("d/k", 0, 0, {})).value(), bytes("new"));
}

TEST_F(FileStoreTest, ReaderGivesTheRangeInPieces) {
  put("k", "0123456789");
  std::unique_ptr<ObjectReader> reader = run(store_->open("k", 2, 5, {})).value();
  EXPECT_EQ(reader->total_bytes(), 5u);
  Bytes out(3);
  EXPECT_EQ(run(reader->read(out, {})).value(), 3u);
  EXPECT_EQ(out, bytes("234"));
  EXPECT_EQ(run(reader->read(out, {})).value(), 2u);
  EXPECT_EQ(run(reader->read(out, {})).value(), 0u);
  EXPECT_EQ(run(store_->open("absent", 0, 0, {})).error().code(), ErrorCode::kNotFound);
}

TEST_F(FileStoreTest, KeysThatLeaveTheDirectoryAreRefused) {
  for (const char* key : {"", "/a", "a//b", "../x", "a/../../x", "a/", "a/./b", "x.tmp"}) {
    EXPECT_EQ(run(store_->put(key, bytes("x"), {}, {})).error().code(), ErrorCode::kInvalid) << key;
    EXPECT_EQ(run(store_->get(key, 0, 0, {})).error().code(), ErrorCode::kInvalid) << key;
  }
}

TEST_F(FileStoreTest, AStopRequestedBeforeIsObeyed) {
  std::stop_source source;
  source.request_stop();
  EXPECT_EQ(run(store_->list("", source.get_token())).error().code(), ErrorCode::kCancelled);
}

TEST_F(FileStoreTest, RequestsAreCounted) {
  put("k", "x");
  (void)run(store_->get("absent", 0, 0, {}));
  EXPECT_THAT(metrics_.render(), HasSubstr("caddis_backup_requests_total{op=\"put\",code=\"ok\"} 1"));
  EXPECT_THAT(metrics_.render(), HasSubstr("op=\"get\",code="));
}

TEST_F(FileStoreTest, LevelsAreWhereLitestreamKeepsThem) {
  EXPECT_EQ(store_->level_prefix("app.db", 0), "app.db/ltx/0/");
  EXPECT_EQ(store_->level_prefix("", 9), "ltx/9/");
  EXPECT_EQ(store_->describe(), "file://" + root_);
}

TEST(OpenStore, UrlsThatNameNoAbsoluteDirectoryAreRefusedWithTheCure) {
  loop::Loop loop;
  for (const char* url : {"file://", "file:///", "file://relative/x", "file:///a/../b", "ftp://x", ""}) {
    TargetOptions options;
    options.url = url;
    Result<std::unique_ptr<Store>> store = open_store(loop, options);
    ASSERT_FALSE(store) << url;
    EXPECT_EQ(store.error().code(), ErrorCode::kInvalid);
    EXPECT_THAT(store.error().message(), HasSubstr("file:///PATH")) << url;
  }
}

}  // namespace
}  // namespace caddis::store
