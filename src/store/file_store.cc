#include "store/file_store.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "store/file_tree.h"
#include "store/request_count.h"

namespace caddis::store {
namespace {

using loop::Loop;
using loop::offload;

template <class T>
std::string_view code_of(const Result<T>& result) {
  return result ? "ok" : error_code_name(result.error().code());
}

Error stopped(const std::string& where) { return Error(ErrorCode::kCancelled, where + ": stopped"); }

class FileReader final : public ObjectReader {
 public:
  FileReader(Loop& loop, int fd, std::string name, std::uint64_t offset, std::uint64_t length)
      : loop_(loop), fd_(fd), name_(std::move(name)), at_(offset), rest_(length), total_(length) {}
  ~FileReader() override { ::close(fd_); }
  std::uint64_t total_bytes() const override { return total_; }
  Task<Result<std::size_t>> read(ByteSpan out, std::stop_token stop) override {
    if (stop.stop_requested()) co_return stopped("read " + name_);
    ByteSpan part = out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), rest_)));
    if (part.empty()) co_return std::size_t{0};
    auto work = [this, part]() -> Result<std::size_t> {
      ssize_t n = 0;
      do n = ::pread(fd_, part.data(), part.size(), static_cast<off_t>(at_));
      while (n < 0 && errno == EINTR);
      if (n < 0) return from_errno(errno, "read {} at {}", name_, at_);
      if (n == 0) return make_error(ErrorCode::kIo, "read {}: it ends at {}, {} bytes early", name_, at_, rest_);
      return static_cast<std::size_t>(n);
    };
    Result<std::size_t> n = co_await offload(loop_, work);
    if (n) {
      at_ += *n;
      rest_ -= *n;
    }
    co_return n;
  }

 private:
  Loop& loop_;
  int fd_;
  std::string name_;
  std::uint64_t at_;
  std::uint64_t rest_;
  std::uint64_t total_;
};

class FileUpload final : public Upload {
 public:
  FileUpload(Loop& loop, RequestCount count, std::unique_ptr<PendingFile> file)
      : loop_(loop), count_(count), file_(std::move(file)), name_("write " + file_->path()) {}
  Task<Status> write(Bytes part, std::stop_token stop) override {
    CHECK(file_ != nullptr);  // not after abort()
    if (stop.stop_requested()) co_return stopped(name_);
    auto work = [this, &part] { return file_->write(part); };
    co_return co_await offload(loop_, work);
  }
  Task<Result<std::string>> finish(std::stop_token stop) override {
    CHECK(file_ != nullptr);  // not after abort()
    if (stop.stop_requested()) co_return stopped(name_);
    auto work = [this] { return file_->commit(); };
    Result<std::string> etag = co_await offload(loop_, work);
    count_.add("put", code_of(etag));
    co_return etag;
  }
  Task<Status> abort(std::stop_token) override {
    file_.reset();
    co_return Status{};
  }

 private:
  Loop& loop_;
  RequestCount count_;
  std::unique_ptr<PendingFile> file_;
  std::string name_;
};

class FileStore final : public Store {
 public:
  FileStore(Loop& loop, std::string root, Metrics* metrics)
      : loop_(loop), url_("file://" + root), tree_(std::move(root)), count_(metrics) {}

  const std::string& describe() const override { return url_; }
  std::string level_prefix(std::string_view db, int level) const override {
    return fmt::format("{}{}ltx/{}/", db, db.empty() ? "" : "/", level);
  }

  Task<Result<std::vector<ObjectInfo>>> list(std::string prefix, std::stop_token stop) override {
    auto work = [this, prefix, stop] { return tree_.list(prefix, stop); };
    return run<std::vector<ObjectInfo>>("list", work, stop);
  }
  Task<Result<std::vector<std::string>>> list_dirs(std::string prefix, std::stop_token stop) override {
    auto work = [this, prefix, stop] { return tree_.list_dirs(prefix, stop); };
    return run<std::vector<std::string>>("list", work, stop);
  }
  Task<Result<Bytes>> get(std::string key, std::uint64_t offset, std::uint64_t length, std::stop_token stop) override {
    auto work = [this, key, offset, length] { return tree_.get(key, offset, length); };
    return run<Bytes>("get", work, stop);
  }
  Task<Result<std::unique_ptr<ObjectReader>>> open(std::string key, std::uint64_t offset, std::uint64_t length,
                                                   std::stop_token stop) override {
    auto work = [this, key, offset, length]() -> Result<std::unique_ptr<ObjectReader>> {
      std::uint64_t size = 0;
      TRY_ASSIGN(int fd, tree_.open(key, size));
      std::uint64_t begin = std::min(offset, size);
      std::uint64_t wanted = length == 0 ? size - begin : std::min(length, size - begin);
      return std::make_unique<FileReader>(loop_, fd, url_ + "/" + key, begin, wanted);
    };
    return run<std::unique_ptr<ObjectReader>>("get", work, stop);
  }
  Task<Result<ObjectHead>> head(std::string key, std::stop_token stop) override {
    auto work = [this, key] { return tree_.head(key); };
    return run<ObjectHead>("head", work, stop);
  }
  using Store::put;
  Task<Result<std::string>> put(std::string key, std::shared_ptr<const Bytes> body, PutOptions options,
                                std::stop_token stop) override {
    auto work = [this, key, body, options]() -> Result<std::string> {
      TRY_ASSIGN(std::unique_ptr<PendingFile> file, tree_.create(key, options));
      TRY(file->write(*body));
      return file->commit();
    };
    return run<std::string>("put", work, stop);
  }
  Task<Result<std::unique_ptr<Upload>>> start_upload(std::string key, PutOptions options,
                                                     std::stop_token stop) override {
    auto work = [this, key, options]() -> Result<std::unique_ptr<Upload>> {
      TRY_ASSIGN(std::unique_ptr<PendingFile> file, tree_.create(key, options));
      return std::make_unique<FileUpload>(loop_, count_, std::move(file));
    };
    return run<std::unique_ptr<Upload>>("create_upload", work, stop);
  }
  Task<Status> remove(std::vector<std::string> keys, std::stop_token stop) override {
    if (keys.empty()) return run<void>("delete", [] { return Status{}; }, stop);
    auto work = [this, keys] { return tree_.remove(keys); };
    return run<void>("delete", work, stop);
  }

 private:
  template <class T, class F>
  Task<Result<T>> run(std::string_view op, F work, std::stop_token stop) {
    if (stop.stop_requested()) co_return stopped(url_);
    Result<T> result = co_await offload(loop_, std::move(work));
    count_.add(op, code_of(result));
    co_return result;
  }

  Loop& loop_;
  std::string url_;
  FileTree tree_;
  RequestCount count_;
};

}  // namespace

Result<std::unique_ptr<Store>> open_file_store(loop::Loop& loop, const TargetOptions& options) {
  std::string_view path = std::string_view(options.url).substr(std::string_view("file://").size());
  path = path.substr(0, path.find('?'));
  while (path.ends_with('/')) path.remove_suffix(1);
  if (!path.starts_with('/'))
    return invalid("backup target {}: write an absolute path below /, file:///PATH with three slashes", options.url);
  if (std::string why = key_problem(path.substr(1)); !why.empty())
    return invalid("backup target {}: in the path, {}: write file:///PATH without that", options.url, why);
  return std::make_unique<FileStore>(loop, std::string(path), options.metrics);
}

}  // namespace caddis::store
