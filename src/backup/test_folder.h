// A directory that goes with the test.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "os/file.h"

namespace caddis::backup {

class TestFolder {
 public:
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "caddis-backup-XXXXXX").string();
    path_ = mkdtemp(name.data());
    dir = std::move(*os::open_system_dir(path_));
  }
  ~TestFolder() {
    dir.reset();
    std::filesystem::remove_all(path_);
  }
  const std::string& path() const { return path_; }
  Bytes read(const std::string& name) const {
    auto content = os::read_file(*dir, name);
    EXPECT_TRUE(content) << content.error().message();
    return content ? *content : Bytes{};
  }
  std::vector<std::string> list() const { return dir->list().value(); }

  std::unique_ptr<os::Dir> dir;

 private:
  std::string path_;
};

}  // namespace caddis::backup
