// placeholder, replaced by the file store
#pragma once
#include <filesystem>
#include <fstream>
#include "backup/target.h"
#include "backup/test_target.h"
namespace caddis::backup {
// DIR/NAME/ltx/LEVEL/MIN-MAX.ltx through a MemoryTarget that is written out / read in.
inline void save(const MemoryTarget& t, const std::string& dir) {
  for (const auto& [key, stored] : t.objects) {
    std::string folder = dir + "/" + std::get<0>(key) + "/ltx/" + std::to_string(std::get<1>(key));
    std::filesystem::create_directories(folder);
    std::ofstream(folder + "/" + ltx::file_name(std::get<2>(key), std::get<3>(key)), std::ios::binary)
        .write(reinterpret_cast<const char*>(stored.data.data()), static_cast<std::streamsize>(stored.data.size()));
  }
}
inline void load(MemoryTarget& t, const std::string& dir, const std::string& name) {
  for (int level = 0; level <= 9; ++level) {
    std::string folder = dir + "/" + name + "/ltx/" + std::to_string(level);
    if (!std::filesystem::exists(folder)) continue;
    for (const auto& e : std::filesystem::directory_iterator(folder)) {
      auto r = ltx::parse_file_name(e.path().filename().string());
      if (!r) continue;
      std::ifstream in(e.path(), std::ios::binary);
      std::string s((std::istreambuf_iterator<char>(in)), {});
      t.insert(name, level, r->first, r->second, Bytes(s.begin(), s.end()));
    }
  }
}
}  // namespace caddis::backup
