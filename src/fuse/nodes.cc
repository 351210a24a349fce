#include "fuse/nodes.h"

#include <algorithm>

#include "base/check.h"

namespace caddis::fuse {

NodeTable::NodeTable() : root_(std::make_shared<Node>(kRootIno, NodeKind::kRoot, "", nullptr, nullptr)) {}

NodePtr NodeTable::find(std::uint64_t ino) const {
  if (ino == kRootIno) return root_;
  MutexLock lock(mutex_);
  auto it = by_ino_.find(ino);
  return it == by_ino_.end() ? nullptr : it->second;
}

NodePtr NodeTable::current(std::string_view name) const {
  MutexLock lock(mutex_);
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

NodePtr NodeTable::obtain(std::string_view name, NodeKind kind, const MountedDatabasePtr& db,
                          const db::PartFile& file) {
  MutexLock lock(mutex_);
  auto it = by_name_.find(name);
  if (it != by_name_.end()) {
    Node& node = *it->second;
    bool same_file = kind == NodeKind::kPlain ? (!file || !node.file_ || file == node.file_) : file == node.file_;
    if (node.kind() == kind && node.db_ == db && same_file) {
      if (!node.file_) node.file_ = file;
      ++node.lookups_;
      return it->second;
    }
    node.stale_.store(true, std::memory_order_release);
    by_name_.erase(it);
  }
  auto node = std::make_shared<Node>(next_ino_++, kind, std::string(name), db, file);
  node->lookups_ = 1;
  by_ino_.emplace(node->ino(), node);
  by_name_.emplace(std::string(name), node);
  return node;
}

void NodeTable::forget(std::uint64_t ino, std::uint64_t lookups) {
  if (ino == kRootIno) return;
  NodePtr last;  // its file is closed after the mutex is free
  MutexLock lock(mutex_);
  auto it = by_ino_.find(ino);
  if (it == by_ino_.end()) return;
  Node& node = *it->second;
  node.lookups_ -= std::min(node.lookups_, lookups);
  if (node.lookups_ > 0) return;
  if (auto named = by_name_.find(node.name_); named != by_name_.end() && named->second == it->second) {
    by_name_.erase(named);
  }
  last = std::move(it->second);
  by_ino_.erase(it);
}

NodePtr NodeTable::drop_name(std::string_view name, bool behind_kernel) {
  MutexLock lock(mutex_);
  auto it = by_name_.find(name);
  if (it == by_name_.end()) return nullptr;
  NodePtr node = std::move(it->second);
  node->unlinked.store(true, std::memory_order_release);
  if (behind_kernel) node->stale_.store(true, std::memory_order_release);
  by_name_.erase(it);
  return node;
}

void NodeTable::rename(std::string_view from, std::string_view to) {
  MutexLock lock(mutex_);
  if (auto target = by_name_.find(to); target != by_name_.end()) {
    target->second->unlinked.store(true, std::memory_order_release);
    by_name_.erase(target);
  }
  auto it = by_name_.find(from);
  if (it == by_name_.end()) return;
  NodePtr node = std::move(it->second);
  by_name_.erase(it);
  node->name_ = to;
  by_name_.emplace(std::string(to), std::move(node));
}

void NodeTable::become_database(Node& node, MountedDatabasePtr db) {
  MutexLock lock(mutex_);
  CHECK(node.kind() == NodeKind::kPlain);
  node.db_ = std::move(db);
  node.kind_.store(NodeKind::kDatabase, std::memory_order_release);
}

std::string NodeTable::name_of(const Node& node) const {
  MutexLock lock(mutex_);
  return node.name_;
}

db::PartFile NodeTable::file_of(const Node& node) const {
  MutexLock lock(mutex_);
  return node.file_;
}

Result<db::PartFile> NodeTable::open_file(Node& node,
                                          const std::function<Result<db::PartFile>(const std::string&)>& open) {
  MutexLock lock(mutex_);
  if (!node.file_) {
    TRY_ASSIGN(node.file_, open(node.name_));
  }
  return node.file_;
}

std::vector<std::uint64_t> NodeTable::inodes() const {
  MutexLock lock(mutex_);
  std::vector<std::uint64_t> out;
  for (const auto& [ino, node] : by_ino_) out.push_back(ino);
  return out;
}

std::vector<DirEntry> DirectoryCookies::after(std::vector<DirEntry> names, std::uint64_t cookie) {
  MutexLock lock(mutex_);
  std::map<std::string, std::uint64_t, std::less<>> still;
  for (DirEntry& e : names) {
    auto it = cookies_.find(e.name);
    e.cookie = it != cookies_.end() ? it->second : next_++;
    still.emplace(e.name, e.cookie);
  }
  cookies_ = std::move(still);
  std::erase_if(names, [&](const DirEntry& e) { return e.cookie <= cookie; });
  std::sort(names.begin(), names.end(), [](const DirEntry& a, const DirEntry& b) { return a.cookie < b.cookie; });
  return names;
}

}  // namespace caddis::fuse
