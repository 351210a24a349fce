#include "fuse/mount.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"
#include "fuse/attacher.h"
#include "fuse/files.h"
#include "fuse/session.h"

namespace caddis::fuse {
namespace {

timespec wall_now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now;
}

Status make_dirs(const std::string& dir) {
  for (std::size_t at = 1; at != std::string::npos;) {
    at = dir.find('/', at);
    std::string part = dir.substr(0, at);
    if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) return from_errno(errno, "make mount directory {}", part);
    if (at != std::string::npos) ++at;
  }
  return {};
}

Result<std::vector<std::string>> names_in(const std::string& dir) {
  std::vector<std::string> names;
  DIR* d = ::opendir(dir.c_str());
  if (d == nullptr) return from_errno(errno, "mount directory {}", dir);
  while (dirent* e = ::readdir(d)) {
    std::string name = e->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  ::closedir(d);
  std::sort(names.begin(), names.end());
  return names;
}

// Temporary files of SQLite, and what an app left unlinked-but-listed, mean nothing after their process has gone.
void remove_old_temp_files(os::Dir& scratch) {
  Result<std::vector<std::string>> names = scratch.list();
  if (!names) return;
  for (const std::string& name : *names) {
    if (name.starts_with("etilqs_")) (void)scratch.unlink(name);
  }
}

}  // namespace

std::string_view op_name(Op op) {
  static constexpr std::string_view kNames[] = {"lookup", "forget",  "getattr", "setattr",  "create", "open",
                                                "read",   "write",   "flush",   "release",  "fsync",  "unlink",
                                                "rename", "opendir", "readdir", "fsyncdir", "statfs", "other"};
  static_assert(std::size(kNames) == static_cast<std::size_t>(Op::kCount));
  return kNames[static_cast<std::size_t>(op)];
}

Files::Files(const MountOptions& options, db::Engine& engine, RoleInfo roles, Metrics& metrics, NodeTable& nodes,
             Attacher& attacher)
    : options_(options),
      engine_(engine),
      roles_(std::move(roles)),
      nodes_(nodes),
      attacher_(attacher),
      started_(wall_now()) {
  for (std::size_t i = 0; i < counters_.size(); ++i) {
    counters_[i] = &metrics.counter("caddis_fuse_requests_total", "Requests of the kernel to the mount.",
                                    {{"op", std::string(op_name(static_cast<Op>(i)))}});
  }
}

struct Mount::Impl final : db::KernelCache {
  Impl(const MountOptions& o, db::Engine& engine, RoleInfo roles, Metrics& metrics)
      : options(o), attacher(o.dir, nodes), files(o, engine, std::move(roles), metrics, nodes, attacher) {}
  void invalidate(const std::string& file_name) override { files.invalidate(file_name); }

  MountOptions options;
  std::vector<std::string> hidden;
  NodeTable nodes;
  Attacher attacher;
  Files files;
  std::unique_ptr<Session> session;
};

Mount::Mount(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Mount::~Mount() { stop(); }

Result<std::unique_ptr<Mount>> Mount::start(const MountOptions& options, db::Engine& engine, RoleInfo roles,
                                            Metrics& metrics) {
  MountOptions o = options;
  o.dir = canonical_mount_dir(o.dir);
  if (o.clean_stale) {
    TRY_ASSIGN(int cleaned, clean_stale_mounts(o.dir));
    if (cleaned > 0) log_warn("took away a stale mount of a predecessor that was killed", {{"dir", o.dir}});
  }
  TRY(make_dirs(o.dir));
  o.dir = canonical_mount_dir(o.dir);  // parents may exist only now
  TRY_ASSIGN(std::vector<std::string> hidden, names_in(o.dir));
  if (!hidden.empty()) {
    std::string list;
    for (std::size_t i = 0; i < hidden.size() && i < 10; ++i) list += (i > 0 ? ", " : "") + hidden[i];
    if (hidden.size() > 10) list += fmt::format(", … ({} in all)", hidden.size());
    log_warn("files in the mount directory are hidden while it is mounted",
             {{"dir", o.dir}, {"files", list}, {"cure", "move them, or import databases with caddis import"}});
  }
  remove_old_temp_files(engine.scratch());
  auto impl = std::make_unique<Impl>(o, engine, std::move(roles), metrics);
  impl->hidden = std::move(hidden);
  SessionOptions so{.dir = o.dir,
                    .allow_other = o.allow_other,
                    .default_permissions = o.default_permissions,
                    .debug = o.debug,
                    .threads = o.threads};
  TRY_ASSIGN(impl->session, Session::start(so, impl->files));
  impl->files.set_session(impl->session.get());
  impl->attacher.start();
  impl->files.attach_existing();
  metrics.gauge("caddis_mount_mode", "1 for the mode the mount works in.", {{"mode", "reference"}}).set(1);
  return std::unique_ptr<Mount>(new Mount(std::move(impl)));
}

void Mount::stop() {
  if (!impl_->session) return;
  // The views hold files of the mount open, and the attacher needs the workers: it goes first.
  impl_->attacher.stop();
  impl_->session->stop();
  impl_->files.set_session(nullptr);
  impl_->session.reset();
}

std::string_view Mount::mode() const { return "reference"; }
const std::string& Mount::dir() const { return impl_->options.dir; }
const std::vector<std::string>& Mount::hidden_files() const { return impl_->hidden; }
db::KernelCache& Mount::kernel_cache() { return *impl_; }
void Mount::role_changed() { impl_->files.role_changed(); }

}  // namespace caddis::fuse
