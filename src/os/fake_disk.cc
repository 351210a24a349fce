#include "os/fake_disk.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"

namespace caddis::os {
namespace {

constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::uint64_t kSectorBytes = 512;
constexpr std::int64_t kFixedMtimeMs = 1'700'000'000'000;

// File content with holes, so that a page behind SQLite's lock bytes (1 GiB) costs one block.
class Content {
 public:
  std::uint64_t size_bytes() const { return size_; }
  std::uint64_t block_count() const { return blocks_.size(); }
  bool has_block(std::uint64_t index) const { return blocks_.contains(index); }

  std::size_t read(ByteSpan out, std::uint64_t offset) const {
    if (offset >= size_) return 0;
    std::size_t total = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_ - offset));
    for (std::size_t done = 0; done < total;) {
      auto [index, within, length] = piece(offset + done, total - done);
      auto block = blocks_.find(index);
      if (block == blocks_.end())
        std::fill_n(out.data() + done, length, std::uint8_t{0});
      else
        std::copy_n(block->second.data() + within, length, out.data() + done);
      done += length;
    }
    return total;
  }
  void write(ByteView data, std::uint64_t offset) {
    for (std::size_t done = 0; done < data.size();) {
      auto [index, within, length] = piece(offset + done, data.size() - done);
      Block& block = blocks_.try_emplace(index, Block{}).first->second;
      std::copy_n(data.data() + done, length, block.data() + within);
      done += length;
    }
    if (!data.empty()) size_ = std::max(size_, offset + data.size());
  }
  void truncate(std::uint64_t size_bytes) {
    if (size_bytes < size_) {
      blocks_.erase(blocks_.lower_bound((size_bytes + kBlockBytes - 1) / kBlockBytes), blocks_.end());
      std::uint64_t within = size_bytes % kBlockBytes;
      auto last = blocks_.find(size_bytes / kBlockBytes);
      if (within != 0 && last != blocks_.end()) std::fill(last->second.begin() + within, last->second.end(), 0);
    }
    size_ = size_bytes;
  }

 private:
  using Block = std::array<std::uint8_t, kBlockBytes>;
  struct Piece {
    std::uint64_t index;
    std::size_t within;
    std::size_t length;
  };
  static Piece piece(std::uint64_t offset, std::size_t left) {
    std::size_t within = static_cast<std::size_t>(offset % kBlockBytes);
    return {offset / kBlockBytes, within, std::min<std::size_t>(left, kBlockBytes - within)};
  }
  std::uint64_t size_ = 0;
  std::map<std::uint64_t, Block> blocks_;
};

struct FileChange {
  bool truncate = false;
  std::uint64_t at = 0;  // offset of a write, size of a truncation
  Bytes data;
};

struct Node;
using NodePtr = std::shared_ptr<Node>;
using Names = std::map<std::string, NodePtr, std::less<>>;

struct Node {
  Node(std::uint64_t inode_number, bool dir) : inode(inode_number), is_dir(dir) {}

  const std::uint64_t inode;
  const bool is_dir;
  bool linked = true;  // has a name in the volatile image, so its blocks count
  std::int64_t mtime_ms = kFixedMtimeMs;
  std::int64_t durable_mtime_ms = kFixedMtimeMs;
  Content content;  // files
  Content durable_content;
  std::vector<FileChange> unsynced;
  Names names;  // directories
  Names durable_names;
};

// One atomic change of names: at most one name goes and one comes.
struct NameChange {
  NodePtr from_dir;  // null: nothing goes
  std::string from;
  NodePtr to_dir;  // null: nothing comes
  std::string to;
  NodePtr node;
};

void apply(const FileChange& change, Content& content) {
  if (change.truncate)
    content.truncate(change.at);
  else
    content.write(change.data, change.at);
}

void make_durable(const NameChange& change) {
  if (change.from_dir) change.from_dir->durable_names.erase(change.from);
  if (change.to_dir) change.to_dir->durable_names.insert_or_assign(change.to, change.node);
}

struct Fault {
  FaultOp op;
  std::uint64_t calls_before;  // that succeed
  std::uint64_t count;
  int sys_errno;
};

}  // namespace

struct FakeDisk::State {
  Mutex mutex;
  const Clock* clock = nullptr;
  std::uint64_t used_blocks GUARDED_BY(mutex) = 0;
  std::uint64_t limit_bytes GUARDED_BY(mutex) = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t generation GUARDED_BY(mutex) = 0;  // handles of an older one answer EIO
  std::uint64_t inode_next GUARDED_BY(mutex) = 1;
  std::uint64_t changes GUARDED_BY(mutex) = 0;
  std::uint64_t cut_at GUARDED_BY(mutex) = std::numeric_limits<std::uint64_t>::max();
  std::vector<Fault> faults GUARDED_BY(mutex);
  std::vector<NameChange> unsynced_names GUARDED_BY(mutex);
  NodePtr root GUARDED_BY(mutex);

  NodePtr make_node(bool dir) REQUIRES(mutex) {
    auto node = std::make_shared<Node>(inode_next++, dir);
    touch(*node);
    return node;
  }
  void touch(Node& node) const {
    if (clock != nullptr) node.mtime_ms = clock->wall_ms();
  }
  // 0, or the errno this call must answer with.
  int begin(FaultOp op, bool is_change, std::uint64_t handle_generation) REQUIRES(mutex) {
    if (handle_generation != generation) return EIO;
    if (is_change) ++changes;
    if (changes >= cut_at) return EIO;
    int answer = 0;
    for (Fault& fault : faults) {
      if (fault.op != op || fault.count == 0) continue;
      if (fault.calls_before > 0) {
        --fault.calls_before;
      } else {
        --fault.count;
        if (answer == 0) answer = fault.sys_errno;
      }
    }
    return answer;
  }
  // Writes what fits below the limit; false when something did not.
  bool write(Node& node, ByteView data, std::uint64_t offset) REQUIRES(mutex) {
    std::size_t fits = 0;
    std::uint64_t used = used_blocks;
    while (fits < data.size()) {
      std::uint64_t block = (offset + fits) / kBlockBytes;
      if (!node.content.has_block(block)) {
        if (limit_bytes / kBlockBytes <= used) break;
        ++used;
      }
      fits = std::min<std::size_t>(data.size(), static_cast<std::size_t>((block + 1) * kBlockBytes - offset));
    }
    if (fits > 0)
      change(node,
             FileChange{.at = offset, .data = Bytes(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(fits))});
    return fits == data.size();
  }
  void change(Node& node, FileChange what) REQUIRES(mutex) {
    std::uint64_t before = node.content.block_count();
    apply(what, node.content);
    if (node.linked) used_blocks += node.content.block_count() - before;  // a decrease wraps to the right sum
    node.unsynced.push_back(std::move(what));
    touch(node);
  }
  void forget_blocks(Node& node) REQUIRES(mutex) {
    node.linked = false;
    used_blocks -= node.content.block_count();
  }
  void change_names(NameChange what) REQUIRES(mutex) {
    if (what.from_dir) {
      what.from_dir->names.erase(what.from);
      if (!what.to_dir) forget_blocks(*what.node);
      touch(*what.from_dir);
    }
    if (what.to_dir) {
      NodePtr& slot = what.to_dir->names[what.to];
      if (slot) forget_blocks(*slot);
      slot = what.node;
      touch(*what.to_dir);
    }
    unsynced_names.push_back(std::move(what));
  }
  // Makes the changes that touch this directory durable, and the earlier ones they build on.
  void sync_names(const NodePtr& dir) REQUIRES(mutex) {
    std::set<Node*> dirs{dir.get()};
    std::vector<bool> chosen(unsynced_names.size());
    for (std::size_t i = unsynced_names.size(); i-- > 0;) {
      const NameChange& change = unsynced_names[i];
      if (!dirs.contains(change.from_dir.get()) && !dirs.contains(change.to_dir.get())) continue;
      chosen[i] = true;
      if (change.from_dir) dirs.insert(change.from_dir.get());
      if (change.to_dir) dirs.insert(change.to_dir.get());
    }
    std::vector<NameChange> rest;
    for (std::size_t i = 0; i < unsynced_names.size(); ++i) {
      if (chosen[i])
        make_durable(unsynced_names[i]);
      else
        rest.push_back(std::move(unsynced_names[i]));
    }
    unsynced_names = std::move(rest);
    dir->durable_mtime_ms = dir->mtime_ms;
  }
  void back_to_durable(Node& node) REQUIRES(mutex) {
    node.content = node.durable_content;
    node.linked = true;
    used_blocks += node.content.block_count();
    node.unsynced.clear();
    node.names = node.durable_names;
    node.mtime_ms = node.durable_mtime_ms;
    for (auto& [name, child] : node.names) back_to_durable(*child);
  }
  // Decides sector by sector what of the unsynced content reaches the disk.
  void keep_some(Node& node, std::mt19937_64& random) REQUIRES(mutex) {
    std::uint64_t keep_of_four = random() % 5;
    for (const FileChange& change : node.unsynced) {
      if (change.truncate) {
        if (random() % 4 < keep_of_four) apply(change, node.durable_content);
        continue;
      }
      for (std::size_t done = 0; done < change.data.size();) {
        std::uint64_t at = change.at + done;
        std::size_t length = std::min<std::size_t>(change.data.size() - done, kSectorBytes - at % kSectorBytes);
        if (random() % 4 < keep_of_four) node.durable_content.write(ByteView(change.data).subspan(done, length), at);
        done += length;
      }
    }
    node.unsynced.clear();
    for (auto& [name, child] : node.durable_names) keep_some(*child, random);
  }
  void power_on() REQUIRES(mutex) {
    unsynced_names.clear();
    used_blocks = 0;
    back_to_durable(*root);
    ++generation;
    cut_at = std::numeric_limits<std::uint64_t>::max();
    faults.clear();
  }
};

namespace {

using StatePtr = std::shared_ptr<FakeDisk::State>;

class FakeFile final : public File {
 public:
  FakeFile(StatePtr state, NodePtr node, std::uint64_t generation, bool writable, std::string path)
      : state_(std::move(state)),
        node_(std::move(node)),
        generation_(generation),
        writable_(writable),
        path_(std::move(path)) {}

  Result<std::size_t> pread(ByteSpan out, std::uint64_t offset) const override {
    MutexLock lock(state_->mutex);
    if (int e = state_->begin(FaultOp::kRead, false, generation_)) return from_errno(e, "read {} at {}", path_, offset);
    return node_->content.read(out, offset);
  }
  Status pwrite(ByteView data, std::uint64_t offset) override {
    MutexLock lock(state_->mutex);
    if (!writable_) return from_errno(EBADF, "write {} at {}", path_, offset);
    if (int e = state_->begin(FaultOp::kWrite, true, generation_)) {
      if (generation_ == state_->generation) state_->write(*node_, data.first(data.size() / 2), offset);
      return from_errno(e, "write {} at {}", path_, offset);
    }
    if (!state_->write(*node_, data, offset)) return from_errno(ENOSPC, "write {} at {}", path_, offset);
    return {};
  }
  Status truncate(std::uint64_t size_bytes) override {
    MutexLock lock(state_->mutex);
    if (!writable_) return from_errno(EINVAL, "truncate {} to {}", path_, size_bytes);
    if (int e = state_->begin(FaultOp::kTruncate, true, generation_)) {
      return from_errno(e, "truncate {} to {}", path_, size_bytes);
    }
    state_->change(*node_, FileChange{.truncate = true, .at = size_bytes, .data = {}});
    return {};
  }
  Status datasync() override { return sync_as("fdatasync"); }
  Status sync() override { return sync_as("fsync"); }
  Result<std::uint64_t> size_bytes() const override {
    MutexLock lock(state_->mutex);
    if (generation_ != state_->generation) return from_errno(EIO, "stat {}", path_);
    return node_->content.size_bytes();
  }

 private:
  Status sync_as(std::string_view call) {
    MutexLock lock(state_->mutex);
    if (int e = state_->begin(FaultOp::kSync, true, generation_)) {
      bool powered = generation_ == state_->generation && state_->changes < state_->cut_at;
      if (powered) node_->unsynced.clear();
      return from_errno(e, "{} {}", call, path_);
    }
    for (const FileChange& change : node_->unsynced) apply(change, node_->durable_content);
    node_->unsynced.clear();
    node_->durable_mtime_ms = node_->mtime_ms;
    return {};
  }
  StatePtr state_;
  NodePtr node_;
  std::uint64_t generation_;
  bool writable_;
  std::string path_;
};

bool valid_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos && name.find('\0') == name.npos;
}

class FakeDir final : public Dir {
 public:
  FakeDir(StatePtr state, NodePtr node, std::uint64_t generation, std::string path)
      : state_(std::move(state)), node_(std::move(node)), generation_(generation), path_(std::move(path)) {}

  Result<std::unique_ptr<File>> open(std::string_view name, OpenMode mode) override {
    MutexLock lock(state_->mutex);
    bool may_create = mode != OpenMode::kRead && mode != OpenMode::kReadWrite;
    NodePtr node = find(name);
    bool creates = node == nullptr && may_create;
    int e = state_->begin(FaultOp::kOpen, creates || mode == OpenMode::kTruncate, generation_);
    if (e == 0 && !valid_name(name)) e = EINVAL;
    if (e == 0 && node == nullptr && !may_create) e = ENOENT;
    if (e == 0 && node != nullptr && mode == OpenMode::kCreateNew) e = EEXIST;
    if (e == 0 && node != nullptr && node->is_dir) e = EISDIR;
    if (e != 0) return from_errno(e, "open {}/{}", path_, name);
    if (creates) {
      node = state_->make_node(false);
      state_->change_names({.from_dir = nullptr, .from = "", .to_dir = node_, .to = std::string(name), .node = node});
    } else if (mode == OpenMode::kTruncate) {
      state_->change(*node, FileChange{.truncate = true, .at = 0, .data = {}});
    }
    return std::make_unique<FakeFile>(state_, node, generation_, mode != OpenMode::kRead, child_path(name));
  }
  Result<std::unique_ptr<Dir>> open_dir(std::string_view name) override {
    MutexLock lock(state_->mutex);
    return open_dir_locked(name);
  }
  Result<std::unique_ptr<Dir>> make_dir(std::string_view name) override {
    MutexLock lock(state_->mutex);
    if (find(name) == nullptr) {
      int e = state_->begin(FaultOp::kOpen, true, generation_);
      if (e == 0 && !valid_name(name)) e = EINVAL;
      if (e != 0) return from_errno(e, "make directory {}/{}", path_, name);
      state_->change_names(
          {.from_dir = nullptr, .from = "", .to_dir = node_, .to = std::string(name), .node = state_->make_node(true)});
    }
    return open_dir_locked(name);
  }
  Status unlink(std::string_view name) override {
    MutexLock lock(state_->mutex);
    NodePtr node = find(name);
    int e = state_->begin(FaultOp::kUnlink, node != nullptr, generation_);
    if (e == 0 && node == nullptr) e = ENOENT;
    if (e == 0 && node->is_dir) e = EISDIR;
    if (e != 0) return from_errno(e, "remove {}/{}", path_, name);
    remove_name(name, node);
    return {};
  }
  Status remove_tree(std::string_view name) override {
    MutexLock lock(state_->mutex);
    NodePtr node = find(name);
    if (node == nullptr)
      return from_errno(generation_ == state_->generation ? ENOENT : EIO, "remove {}/{}", path_, name);
    return remove_tree_locked(node_, std::string(name), node);
  }
  Status rename(std::string_view from, Dir& to_dir, std::string_view to) override {
    MutexLock lock(state_->mutex);
    auto& target = static_cast<FakeDir&>(to_dir);
    NodePtr node = find(from);
    NodePtr replaced = target.find(to);
    int e = state_->begin(FaultOp::kRename, node != nullptr, generation_);
    if (e == 0 && target.generation_ != generation_) e = EIO;
    if (e == 0 && node == nullptr) e = ENOENT;
    if (e == 0 && !valid_name(to)) e = EINVAL;
    if (e == 0 && replaced != nullptr && replaced != node) {
      if (replaced->is_dir && !node->is_dir)
        e = EISDIR;
      else if (!replaced->is_dir && node->is_dir)
        e = ENOTDIR;
      else if (!replaced->names.empty())
        e = ENOTEMPTY;
    }
    if (e == 0 && node->is_dir && (node == target.node_ || contains(*node, target.node_.get()))) e = EINVAL;
    if (e != 0) return from_errno(e, "rename {}/{} to {}/{}", path_, from, target.path_, to);
    if (replaced == node) return {};
    state_->change_names(
        {.from_dir = node_, .from = std::string(from), .to_dir = target.node_, .to = std::string(to), .node = node});
    return {};
  }
  Result<std::vector<std::string>> list() override {
    MutexLock lock(state_->mutex);
    if (int e = state_->begin(FaultOp::kRead, false, generation_)) return from_errno(e, "list {}", path_);
    std::vector<std::string> names;
    for (const auto& [name, node] : node_->names) names.push_back(name);
    return names;
  }
  Result<FileInfo> info(std::string_view name) override {
    MutexLock lock(state_->mutex);
    NodePtr node = find(name);
    int e = generation_ != state_->generation ? EIO : node == nullptr ? ENOENT : 0;
    if (e != 0) return from_errno(e, "stat {}/{}", path_, name);
    return FileInfo{.size_bytes = node->content.size_bytes(),
                    .mtime_ms = node->mtime_ms,
                    .is_dir = node->is_dir,
                    .inode = node->inode};
  }
  Status set_mtime(std::string_view name, std::int64_t wall_ms) override {
    MutexLock lock(state_->mutex);
    NodePtr node = find(name);
    int e = generation_ != state_->generation ? EIO : node == nullptr ? ENOENT : 0;
    if (e != 0) return from_errno(e, "set time of {}/{}", path_, name);
    node->mtime_ms = wall_ms;
    return {};
  }
  Status sync() override {
    MutexLock lock(state_->mutex);
    if (int e = state_->begin(FaultOp::kDirSync, true, generation_)) return from_errno(e, "fsync {}", path_);
    state_->sync_names(node_);
    return {};
  }
  std::string path() const override { return path_; }

 private:
  std::string child_path(std::string_view name) const { return path_ + "/" + std::string(name); }
  NodePtr find(std::string_view name) const {
    auto found = node_->names.find(name);
    return found == node_->names.end() ? nullptr : found->second;
  }
  static bool contains(const Node& dir, const Node* wanted) {
    for (const auto& [name, child] : dir.names) {
      if (child.get() == wanted || contains(*child, wanted)) return true;
    }
    return false;
  }
  Result<std::unique_ptr<Dir>> open_dir_locked(std::string_view name) REQUIRES(state_->mutex) {
    NodePtr node = find(name);
    int e = state_->begin(FaultOp::kOpen, false, generation_);
    if (e == 0 && node == nullptr) e = ENOENT;
    if (e == 0 && !node->is_dir) e = ENOTDIR;
    if (e != 0) return from_errno(e, "open directory {}/{}", path_, name);
    return std::make_unique<FakeDir>(state_, node, generation_, child_path(name));
  }
  void remove_name(std::string_view name, const NodePtr& node) REQUIRES(state_->mutex) {
    state_->change_names({.from_dir = node_, .from = std::string(name), .to_dir = nullptr, .to = "", .node = node});
  }
  Status remove_tree_locked(const NodePtr& dir, const std::string& name, const NodePtr& node) REQUIRES(state_->mutex) {
    Names children = node->names;
    for (const auto& [child_name, child] : children) TRY(remove_tree_locked(node, child_name, child));
    if (int e = state_->begin(FaultOp::kUnlink, true, generation_)) return from_errno(e, "remove {}/{}", path_, name);
    state_->change_names({.from_dir = dir, .from = name, .to_dir = nullptr, .to = "", .node = node});
    return {};
  }
  StatePtr state_;
  NodePtr node_;
  std::uint64_t generation_;
  std::string path_;
};

}  // namespace

FakeDisk::FakeDisk(const Clock* clock) : state_(std::make_shared<State>()) {
  MutexLock lock(state_->mutex);
  state_->clock = clock;
  state_->root = state_->make_node(true);
}

FakeDisk::~FakeDisk() = default;

std::unique_ptr<Dir> FakeDisk::root() {
  MutexLock lock(state_->mutex);
  return std::make_unique<FakeDir>(state_, state_->root, state_->generation, "/fake");
}

void FakeDisk::power_loss() {
  MutexLock lock(state_->mutex);
  state_->power_on();
}

void FakeDisk::power_loss(std::uint64_t seed) {
  MutexLock lock(state_->mutex);
  std::mt19937_64 random(seed);
  std::size_t kept = random() % (state_->unsynced_names.size() + 1);
  for (std::size_t i = 0; i < kept; ++i) make_durable(state_->unsynced_names[i]);
  state_->keep_some(*state_->root, random);
  state_->power_on();
}

void FakeDisk::process_crash() {
  MutexLock lock(state_->mutex);
  ++state_->generation;
  state_->cut_at = std::numeric_limits<std::uint64_t>::max();
}

void FakeDisk::fail(FaultOp op, std::uint64_t n, int sys_errno, std::uint64_t count) {
  CHECK(n >= 1);
  MutexLock lock(state_->mutex);
  state_->faults.push_back({.op = op, .calls_before = n - 1, .count = count, .sys_errno = sys_errno});
}

void FakeDisk::clear_faults() {
  MutexLock lock(state_->mutex);
  state_->faults.clear();
}

std::uint64_t FakeDisk::change_count() const {
  MutexLock lock(state_->mutex);
  return state_->changes;
}

void FakeDisk::cut_power_at(std::uint64_t n) {
  CHECK(n >= 1);
  MutexLock lock(state_->mutex);
  state_->cut_at = state_->changes + n;
}

void FakeDisk::set_limit_bytes(std::uint64_t limit_bytes) {
  MutexLock lock(state_->mutex);
  state_->limit_bytes = limit_bytes;
}

std::uint64_t FakeDisk::used_bytes() const {
  MutexLock lock(state_->mutex);
  return state_->used_blocks * kBlockBytes;
}

}  // namespace caddis::os
