#include "api/transfer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

namespace caddis::api {
namespace {

constexpr std::size_t kPieceBytes = 256u << 10;

struct OwnedFd {
  explicit OwnedFd(int n) : fd(n) {}
  ~OwnedFd() {
    if (fd >= 0) ::close(fd);
  }
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  int fd;
};

Status write_all(int fd, ByteView data) {
  while (!data.empty()) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return from_errno(errno, "write the received file");
    data = data.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

// Pages from `first` on into `piece`; how many.
Result<std::uint32_t> read_pages(db::SnapshotReader& snapshot, std::uint32_t first, ByteSpan piece) {
  std::uint32_t size = snapshot.page_size_bytes();
  std::uint32_t count = std::min(static_cast<std::uint32_t>(piece.size()) / size, snapshot.page_count() - first);
  for (std::uint32_t i = 0; i < count; ++i) {
    TRY(snapshot.read_page(Pgno(first + i + 1), piece.subspan(std::size_t{i} * size, size)));
  }
  return count;
}

}  // namespace

loop::Task<Result<std::shared_ptr<db::SnapshotReader>>> take_snapshot(loop::Loop& loop, db::Engine& engine,
                                                                      std::shared_ptr<db::Database> database) {
  using Taken = Result<std::shared_ptr<db::SnapshotReader>>;
  // Shared with the reply: it comes from the peer thread, also when this coroutine is no longer there.
  auto shot = std::make_shared<loop::OneShot<Taken>>();
  engine.start_snapshot(database, [&loop, shot](Taken taken) {
    loop.post([shot, taken = std::move(taken)]() mutable { shot->set(std::move(taken)); });
  });
  Taken taken = co_await *shot;
  co_return taken;
}

loop::Task<Status> send_snapshot(loop::Loop& loop, std::shared_ptr<db::SnapshotReader> snapshot, http::Headers headers,
                                 http::ResponseWriter& response) {
  std::uint64_t total = std::uint64_t{snapshot->page_size_bytes()} * snapshot->page_count();
  headers.set("Content-Type", "application/octet-stream");
  headers.set("Content-Length", std::to_string(total));
  CO_TRY(co_await response.begin(200, std::move(headers)));
  Bytes piece(std::max<std::size_t>(kPieceBytes, snapshot->page_size_bytes()));
  for (std::uint32_t done = 0; done < snapshot->page_count();) {
    auto read = [&snapshot, done, &piece] { return read_pages(*snapshot, done, piece); };
    CO_TRY_ASSIGN(std::uint32_t count, co_await loop::offload(loop, read));
    ByteView bytes = ByteView(piece).first(std::size_t{count} * snapshot->page_size_bytes());
    CO_TRY(co_await response.write(bytes));
    done += count;
  }
  co_return co_await response.finish();
}

loop::Task<Result<std::string>> receive_file(loop::Loop& loop, std::string dir, http::Request& request) {
  ::mkdir(dir.c_str(), 0700);
  std::string path = dir + "/import-XXXXXX";
  OwnedFd file(::mkostemp(path.data(), O_CLOEXEC));
  if (file.fd < 0) co_return from_errno(errno, "make a file in {}", dir);
  Bytes piece(kPieceBytes);
  Status received;
  while (received) {
    Result<std::size_t> n = co_await request.read(piece);
    if (!n) received = std::unexpected(std::move(n).error());
    if (!n || *n == 0) break;
    auto write = [&file, &piece, size = *n] { return write_all(file.fd, ByteView(piece).first(size)); };
    received = co_await loop::offload(loop, write);
  }
  if (received) co_return path;
  ::unlink(path.c_str());
  co_return std::unexpected(std::move(received).error());
}

}  // namespace caddis::api
