#include "backup/recent_log.h"

#include <algorithm>

#include "ltx/header.h"

namespace caddis::backup {

void RecentLog::add(Txid min, Txid max) {
  MutexLock lock(mutex_);
  if (!files_.empty() && files_.back().second.next() != min) files_.clear();
  files_.emplace_back(min, max);
  if (files_.size() > max_files_) files_.pop_front();
}

std::optional<std::vector<db::LogEntry>> RecentLog::chain(Txid after, Txid upto, std::size_t limit) const {
  MutexLock lock(mutex_);
  auto it =
      std::upper_bound(files_.begin(), files_.end(), after, [](Txid t, const auto& file) { return t < file.second; });
  if (it == files_.end() || it->first > after.next()) return std::nullopt;
  std::vector<db::LogEntry> entries;
  for (; it != files_.end() && it->second <= upto && entries.size() < limit; ++it) {
    db::LogEntry entry;
    entry.min = it->first;
    entry.max = it->second;
    entry.file_name = ltx::file_name(entry.min, entry.max);
    entries.push_back(std::move(entry));
  }
  if (entries.empty()) return std::nullopt;
  return entries;
}

void RecentLog::forget_through(Txid txid) {
  MutexLock lock(mutex_);
  while (!files_.empty() && files_.front().second <= txid) files_.pop_front();
}

}  // namespace caddis::backup
