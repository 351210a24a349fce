#include "app/client_commands.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "api/documents.h"
#include "http/client.h"
#include "loop/loop.h"
#include "supervise/supervisor.h"

namespace caddis::app {
namespace {

constexpr std::size_t kPieceBytes = 256u << 10;
constexpr std::int64_t kIdleMs = 60'000;  // without a byte

int report(const Error& error) {
  fmt::print(stderr, "ERROR: {}\n", error.message());
  return 1;
}

std::int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

struct OwnedFd {
  explicit OwnedFd(int n) : fd(n) {}
  ~OwnedFd() {
    if (fd >= 0) ::close(fd);
  }
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  int fd;
};

Status write_all(int fd, ByteView data, const std::string& path) {
  while (!data.empty()) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return from_errno(errno, "write {}", path);
    data = data.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

// "invalid response: code=N", as LiteFS, and the first line of what the node said.
Error answer_error(int status, std::string_view body) {
  std::string_view line = body.substr(0, body.find('\n'));
  std::string text = fmt::format("invalid response: code={}", status);
  if (!line.empty() && line.size() < 300) text += fmt::format(": {}", line);
  return Error(ErrorCode::kUnavailable, std::move(text));
}

// ---- export

loop::Task<Status> download(loop::Loop& loop, std::string url, std::string path) {
  http::Client client(loop);
  CO_TRY_ASSIGN(auto answer,
                co_await client.open({.url = std::move(url), .timeout_ms = kIdleMs, .idle_timeout_ms = kIdleMs}, {}));
  if (answer->status() == 404) co_return not_found("database not found");
  Bytes piece(kPieceBytes);
  if (answer->status() != 200) {
    CO_TRY_ASSIGN(std::size_t n, co_await answer->read(piece, {}));
    co_return answer_error(answer->status(), as_text(ByteView(piece).first(n)));
  }
  OwnedFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.fd < 0) co_return from_errno(errno, "open {}", path);
  for (;;) {
    CO_TRY_ASSIGN(std::size_t n, co_await answer->read(piece, {}));
    if (n == 0) break;
    CO_TRY(write_all(file.fd, ByteView(piece).first(n), path));
  }
  if (::fsync(file.fd) != 0) co_return from_errno(errno, "sync {}", path);
  co_return Status{};
}

// The new file takes the old one's place together with its journal and WAL: left beside it they would damage it.
Status replace_database(const std::string& tmp_path, const std::string& path) {
  for (const char* suffix : {"-journal", "-wal", "-shm"}) ::unlink((path + suffix).c_str());
  if (::rename(tmp_path.c_str(), path.c_str()) != 0) return from_errno(errno, "rename {} to {}", tmp_path, path);
  std::string dir = std::filesystem::path(path).parent_path();
  OwnedFd fd(::open(dir.empty() ? "." : dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.fd < 0 || ::fsync(fd.fd) != 0) return from_errno(errno, "sync the directory of {}", path);
  return {};
}

Status export_database(const ExportCommand& command) {
  TRY_ASSIGN(std::string base, node_base_url(command.url));
  std::string tmp_path = command.path + ".tmp";
  loop::Loop loop;
  std::string url = base + "/export?name=" + http::percent_encode(command.name);
  Status done = loop::run_until_done(loop, download(loop, std::move(url), tmp_path));
  if (done) done = replace_database(tmp_path, command.path);
  if (!done) ::unlink(tmp_path.c_str());
  return done;
}

// ---- import

loop::Task<Status> upload(loop::Loop& loop, std::string url, int fd, std::uint64_t size) {
  http::Client client(loop);
  http::ClientRequest request{
      .method = "POST", .url = std::move(url), .timeout_ms = 0, .idle_timeout_ms = 10 * kIdleMs};
  request.source_size = size;
  request.source = [&loop, fd](std::uint64_t offset, ByteSpan out) -> loop::Task<Result<std::size_t>> {
    auto read = [fd, offset, out]() -> Result<std::size_t> {
      ssize_t n = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
      if (n < 0) return from_errno(errno, "read the file to import");
      return static_cast<std::size_t>(n);
    };
    co_return co_await loop::offload(loop, read);
  };
  CO_TRY_ASSIGN(http::Response answer, co_await client.fetch(std::move(request), {}));
  if (answer.status != 200) co_return answer_error(answer.status, answer.text());
  co_return Status{};
}

Status import_database(const ImportCommand& command) {
  TRY_ASSIGN(std::string base, node_base_url(command.url));
  OwnedFd file(::open(command.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd < 0) return from_errno(errno, "open {}", command.path);
  off_t size = ::lseek(file.fd, 0, SEEK_END);
  if (size < 0) return from_errno(errno, "{}", command.path);
  loop::Loop loop;
  std::string url = base + "/import?name=" + http::percent_encode(command.name);
  return loop::run_until_done(loop, upload(loop, std::move(url), file.fd, static_cast<std::uint64_t>(size)));
}

// ---- status and run

loop::Task<Result<std::string>> get_text(loop::Loop& loop, std::string url) {
  auto answer = co_await http::fetch(loop, {.url = url, .timeout_ms = 5'000, .body_limit = 64u << 20}, {});
  if (!answer) co_return std::unexpected(std::move(answer).error());
  if (answer->status != 200) co_return std::unexpected(answer_error(answer->status, answer->text()));
  co_return std::string(answer->text());
}

Result<std::string> get_now(const std::string& node_url, std::string_view path) {
  TRY_ASSIGN(std::string base, node_base_url(node_url));
  loop::Loop loop;
  return loop::run_until_done(loop, get_text(loop, base + std::string(path)));
}

Status print_status(const StatusCommand& command) {
  TRY_ASSIGN(std::string text, get_now(command.url, "/caddis/v1/status"));
  if (!command.json) {
    TRY_ASSIGN(text, api::render_status(text, command.database));
  }
  fmt::print("{}", text);
  std::fflush(stdout);
  return {};
}

}  // namespace

Result<std::string> node_base_url(std::string_view url) {
  std::size_t scheme = url.find("://");
  std::string_view name = scheme == std::string_view::npos ? "" : url.substr(0, scheme);
  if (name != "http" && name != "https") return invalid("invalid URL scheme: \"{}\", wanted http://HOST:PORT", url);
  std::size_t host = scheme + 3;
  std::size_t end = std::min(url.find_first_of("/?#", host), url.size());
  if (end == host) return invalid("URL host required: \"{}\", wanted http://HOST:PORT", url);
  return "http" + std::string(url.substr(scheme, end - scheme));
}

std::string go_duration_text(std::int64_t nanoseconds) {
  auto with_unit = [](double value, std::string_view unit, int digits) {
    std::string text = fmt::format("{:.{}f}", value, digits);
    if (text.find('.') != std::string::npos) {
      while (text.ends_with('0')) text.pop_back();
      if (text.ends_with('.')) text.pop_back();
    }
    return text + std::string(unit);
  };
  auto ns = static_cast<double>(nanoseconds);
  if (nanoseconds < 1'000) return with_unit(ns, nanoseconds == 0 ? "s" : "ns", 0);
  if (nanoseconds < 1'000'000) return with_unit(ns / 1e3, "µs", 3);
  if (nanoseconds < 1'000'000'000) return with_unit(ns / 1e6, "ms", 6);
  std::int64_t minutes = nanoseconds / 60'000'000'000;
  std::string seconds = with_unit(static_cast<double>(nanoseconds % 60'000'000'000) / 1e9, "s", 9);
  if (minutes == 0) return seconds;
  if (minutes < 60) return fmt::format("{}m{}", minutes, seconds);
  return fmt::format("{}h{}m{}", minutes / 60, minutes % 60, seconds);
}

int run_export(const ExportCommand& command) {
  std::int64_t began = now_ns();
  Status done = export_database(command);
  if (!done) return report(done.error());
  fmt::print("Export of database \"{}\" in {}\n", command.name, go_duration_text(now_ns() - began));
  return 0;
}

int run_import(const ImportCommand& command) {
  std::int64_t began = now_ns();
  Status done = import_database(command);
  if (!done) return report(done.error());
  fmt::print("Import of database \"{}\" in {}\n", command.name, go_duration_text(now_ns() - began));
  return 0;
}

int run_status(const StatusCommand& command) {
  for (;;) {
    if (command.watch && !command.json && isatty(STDOUT_FILENO)) fmt::print("\x1b[H\x1b[2J");
    Status printed = print_status(command);
    if (!printed && !command.watch) return report(printed.error());
    if (!printed) report(printed.error());
    if (!command.watch) return 0;
    ::sleep(1);
  }
}

int run_on_node(const RunCommand& command) {
  if (command.promote && !command.with_halt_lock_on.empty()) {
    return report(Error(ErrorCode::kInvalid, "cannot specify both -promote & -with-halt-lock-on"));
  }
  if (!command.with_halt_lock_on.empty() || command.on_primary) {
    return report(
        Error(ErrorCode::kUnsupported,
              fmt::format("{} comes with the cluster version; this one has a single writer: run the command on "
                          "the primary",
                          command.on_primary ? "-on-primary" : "-with-halt-lock-on")));
  }
  Result<std::string> text = get_now(command.url, "/info");
  if (!text) return report(text.error());
  Result<api::InfoFlags> info = api::parse_info(*text);
  if (!info) return report(info.error());
  if (command.if_candidate && !info->candidate) {
    fmt::print(stderr, "node is not a candidate, skipping execution\n");
    return 0;
  }
  if (command.promote && !info->primary) {
    return report(
        Error(ErrorCode::kUnsupported,
              "-promote comes with the cluster version: this node is not the primary, and the lease is static"));
  }
  return supervise::run_plain(command.command);
}

}  // namespace caddis::app
