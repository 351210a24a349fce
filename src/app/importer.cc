#include "app/importer.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "app/settings.h"
#include "os/spawn.h"
#include "sqlcheck/import.h"
#include "sqlcheck/integrity.h"

namespace caddis::app {
namespace {

constexpr std::string_view kHelperCommand = "_import";

struct OwnedFd {
  explicit OwnedFd(int n) : fd(n) {}
  ~OwnedFd() {
    if (fd >= 0) ::close(fd);
  }
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  int fd;
};

// The result file as a Status: the number in front is the ErrorCode.
Status read_result(const std::string& path) {
  Result<std::string> text = read_text_file(path);
  if (!text) return make_error(ErrorCode::kInternal, "the import process ended without a result");
  if (*text == "ok\n") return {};
  std::size_t blank = text->find(' ');
  if (blank == std::string::npos) return make_error(ErrorCode::kInternal, "the import process said \"{}\"", *text);
  int code = std::atoi(text->c_str());
  std::string message = text->substr(blank + 1);
  while (!message.empty() && message.back() == '\n') message.pop_back();
  return std::unexpected(Error(static_cast<ErrorCode>(code), std::move(message)));
}

}  // namespace

loop::Task<Status> Importer::import(std::string name, std::string source_path, std::stop_token stop) {
  std::string result_path = source_path + ".result";
  os::SpawnOptions options;
  options.argv = {"/proc/self/exe", std::string(kHelperCommand), mount_dir_ + "/" + name, source_path, result_path};
  options.env = os::current_environment();
  Result<pid_t> pid = os::spawn(options);
  if (!pid) co_return std::unexpected(std::move(pid).error().context("import: start the helper process"));
  // The supervisor reaps every child, so its end is seen on a pidfd; nothing has reaped it before this line.
  OwnedFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, *pid, 0)));
  if (pidfd.fd < 0) co_return from_errno(errno, "import: watch the helper process");
  loop::Event ended(loop_);
  Result<loop::FdWatch> watch = loop::watch_fd(loop_, pidfd.fd, [&ended] { ended.set(); });
  if (!watch) co_return std::unexpected(std::move(watch).error());
  Status waited = co_await ended.wait(0, stop);
  watch->stop();
  if (!waited) {
    syscall(SYS_pidfd_send_signal, pidfd.fd, SIGKILL, nullptr, 0);
    co_return std::unexpected(std::move(waited).error());
  }
  Status result = read_result(result_path);
  ::unlink(result_path.c_str());
  co_return result;
}

int run_import_helper(const std::vector<std::string>& args) {
  if (args.size() != 3) return 2;
  Status imported = sqlcheck::check_integrity(args[1], sqlcheck::IntegrityCheck::kQuick);
  if (imported) imported = sqlcheck::import_into(args[0], args[1], {});
  // SQLite leaves them beside a source in WAL mode that it opened for reading.
  for (const char* suffix : {"-wal", "-shm"}) ::unlink((args[1] + suffix).c_str());
  std::string text =
      imported ? "ok\n" : fmt::format("{} {}\n", static_cast<int>(imported.error().code()), imported.error().message());
  FILE* f = std::fopen(args[2].c_str(), "we");
  if (f == nullptr) return 1;
  bool written = std::fwrite(text.data(), 1, text.size(), f) == text.size();
  return std::fclose(f) == 0 && written ? 0 : 1;
}

}  // namespace caddis::app
