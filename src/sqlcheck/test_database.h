// Databases for this module's tests.
#pragma once

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>
#include <string>

namespace caddis::sqlcheck {

class TestFolder {
 public:
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "caddis-sqlcheck-XXXXXX").string();
    dir_ = mkdtemp(name.data());
  }
  ~TestFolder() { std::filesystem::remove_all(dir_); }
  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  int file_count() const {
    int n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir_)) ++n;
    return n;
  }
  static void exec(sqlite3* db, const std::string& sql) {
    char* message = nullptr;
    int rc = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &message);
    EXPECT_EQ(rc, SQLITE_OK) << sql << ": " << (message != nullptr ? message : "");
    sqlite3_free(message);
  }
  static sqlite3* open(const std::string& path) {
    sqlite3* db = nullptr;
    EXPECT_EQ(sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr), SQLITE_OK);
    return db;
  }
  std::string make_database(const std::string& name, int page_size, const std::string& journal_mode, int rows) const {
    std::string full = path(name);
    sqlite3* db = open(full);
    exec(db, "PRAGMA page_size=" + std::to_string(page_size));
    exec(db, "PRAGMA journal_mode=" + journal_mode);
    exec(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)");
    exec(db, "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<" +
                 std::to_string(rows) + ") SELECT i, hex(randomblob(20)) FROM n");
    sqlite3_close(db);
    return full;
  }
  static long count(const std::string& full) {
    sqlite3* db = open(full);
    sqlite3_stmt* s = nullptr;
    EXPECT_EQ(sqlite3_prepare_v2(db, "SELECT count(*) FROM t", -1, &s, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    long n = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : -1;
    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
  }

 private:
  std::string dir_;
};

}  // namespace caddis::sqlcheck
