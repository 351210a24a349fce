// Sockets over libuv: streams, listeners, connecting.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/check.h"
#include "base/clock.h"
#include "loop/loop_impl.h"
#include "loop/stream.h"

namespace caddis::loop {
namespace {

// The storage of one uv handle and its pending operations. Outlives its owner until uv has closed the handle.
struct Socket : std::enable_shared_from_this<Socket> {
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  };
  std::shared_ptr<LoopImpl> loop;
  std::shared_ptr<Socket> self;  // while closing
  std::string peer;
  ByteSpan read_buffer;
  std::shared_ptr<Pending> reading, writing;
  bool closed = false;
  // The descriptor is watched for input from the first read on, also between reads: starting and stopping costs two
  // epoll_ctl calls each time. It is stopped when input comes that nobody waits for, and `unread` says so.
  bool watched = false;
  bool unread = false;

  explicit Socket(std::shared_ptr<LoopImpl> l) : loop(std::move(l)) { std::memset(&pipe, 0, sizeof pipe); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {}  // NOLINT: the union

  static std::shared_ptr<Socket> tcp_socket(const std::shared_ptr<LoopImpl>& loop) {
    auto s = std::make_shared<Socket>(loop);
    CHECK_EQ(uv_tcp_init(&loop->uv, &s->tcp), 0);
    s->handle.data = s.get();
    return s;
  }
  static std::shared_ptr<Socket> pipe_socket(const std::shared_ptr<LoopImpl>& loop) {
    auto s = std::make_shared<Socket>(loop);
    CHECK_EQ(uv_pipe_init(&loop->uv, &s->pipe, 0), 0);
    s->handle.data = s.get();
    return s;
  }

  void close() {
    if (std::exchange(closed, true)) return;
    if (!uv_is_closing(&handle)) {
      self = shared_from_this();
      uv_close(&handle,
               [](uv_handle_t* h) { std::shared_ptr<Socket> last = std::move(static_cast<Socket*>(h->data)->self); });
    }
    auto cancel = [](std::shared_ptr<Pending> p) {
      if (p) p->finish(std::unexpected(Error(ErrorCode::kCancelled, "closed on this side")));
    };
    std::shared_ptr<Socket> keep = shared_from_this();
    cancel(std::exchange(reading, nullptr));
    cancel(std::exchange(writing, nullptr));
  }

  static void give_buffer(uv_handle_t* h, std::size_t, uv_buf_t* buf) {
    auto* s = static_cast<Socket*>(h->data);
    ByteSpan space = s->reading ? s->read_buffer : ByteSpan();  // none: uv reports UV_ENOBUFS and reads nothing
    *buf = uv_buf_init(reinterpret_cast<char*>(space.data()),
                       static_cast<unsigned>(std::min<std::size_t>(space.size(), 1u << 30)));
  }

  static void input(uv_stream_t* st, ssize_t n, const uv_buf_t*) {
    auto* s = static_cast<Socket*>(st->data);
    if (n == 0) return;  // EAGAIN
    if (n < 0) {         // uv itself stops at the end and at an error
      uv_read_stop(st);
      s->watched = false;
    }
    auto p = std::exchange(s->reading, nullptr);
    if (!p) {
      s->unread = true;
      return;
    }
    if (n == UV_EOF)
      p->finish(std::size_t{0});
    else if (n < 0)
      p->finish(std::unexpected(uv_cause(static_cast<int>(n))));
    else
      p->finish(static_cast<std::size_t>(n));
  }

  int watch() {
    int rc = watched ? 0 : uv_read_start(&stream, give_buffer, input);
    watched = rc == 0;
    return rc;
  }

  void start_reading() {
    unread = false;
    if (int rc = watch(); rc != 0) {
      auto p = std::exchange(reading, nullptr);
      p->finish(std::unexpected(uv_cause(rc)));
    }
  }

  // Asks the kernel, because uv also offers an empty read after one that filled its buffer.
  bool has_unread() {
    if (!unread || closed) return false;
    uv_os_fd_t fd = -1;
    std::uint8_t byte = 0;
    if (uv_fileno(&handle, &fd) != 0) return true;
    ssize_t n = ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    unread = n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    if (!unread) watch();
    return unread;
  }
};

class UvStream final : public Stream {
 public:
  explicit UvStream(std::shared_ptr<Socket> socket) : socket_(std::move(socket)) {}
  ~UvStream() override { socket_->close(); }

  Task<Result<std::size_t>> read(ByteSpan out, std::int64_t timeout_ms, std::stop_token stop) override {
    std::shared_ptr<Socket> s = socket_;
    if (s->closed) co_return Error(ErrorCode::kCancelled, fmt::format("read from {}: closed on this side", s->peer));
    CHECK(!s->reading && !out.empty());
    auto pending = std::make_shared<Pending>(s->loop);
    pending->on_abort = [raw = s.get()] { raw->reading = nullptr; };
    s->reading = pending;
    s->read_buffer = out;
    s->start_reading();
    Result<std::size_t> n = co_await Pending::wait(pending, timeout_ms, std::move(stop));
    if (!n) co_return std::move(n).error().context("read from " + s->peer);
    co_return n;
  }

  bool input_waits() const override { return socket_->has_unread(); }

  Result<std::size_t> write_now(std::span<const ByteView> parts) override {
    if (socket_->closed) {
      return make_error(ErrorCode::kCancelled, "write to {}: closed on this side", socket_->peer);
    }
    CHECK(!socket_->writing && parts.size() <= kMaxParts);
    std::array<uv_buf_t, kMaxParts> bufs;
    unsigned count = 0;
    for (ByteView part : parts) {
      if (!part.empty()) bufs[count++] = buffer_of(part);
    }
    if (count == 0) return std::size_t{0};
    int n = uv_try_write(&socket_->stream, bufs.data(), count);
    if (n == UV_EAGAIN) return std::size_t{0};
    if (n < 0) return std::unexpected(uv_failure(n, "write to " + socket_->peer));
    return static_cast<std::size_t>(n);
  }

  Task<Status> write(ByteView data, std::int64_t timeout_ms, std::stop_token stop) override {
    std::shared_ptr<Socket> s = socket_;
    if (s->closed) co_return Error(ErrorCode::kCancelled, fmt::format("write to {}: closed on this side", s->peer));
    CHECK(!s->writing);
    if (data.empty()) co_return {};
    uv_buf_t buf = buffer_of(data);
    int n = uv_try_write(&s->stream, &buf, 1);
    if (n < 0 && n != UV_EAGAIN) {
      s->close();
      co_return uv_failure(n, "write to " + s->peer);
    }
    if (n > 0) data = data.subspan(static_cast<std::size_t>(n));
    while (!data.empty()) {
      Result<std::size_t> written = co_await write_some(s, data, timeout_ms, stop);
      if (!written) {
        s->close();
        co_return std::move(written).error();
      }
      data = data.subspan(*written);
    }
    co_return {};
  }

  Task<Status> shutdown_write() override {
    std::shared_ptr<Socket> s = socket_;
    if (s->closed) co_return Error(ErrorCode::kCancelled, fmt::format("shut down {}: closed on this side", s->peer));
    struct Request {
      uv_shutdown_t req{};
      std::shared_ptr<Pending> pending;
    };
    auto* r = new Request{.pending = std::make_shared<Pending>(s->loop)};
    auto pending = r->pending;
    r->req.data = r;
    int rc = uv_shutdown(&r->req, &s->stream, [](uv_shutdown_t* req, int status) {
      std::unique_ptr<Request> owned(static_cast<Request*>(req->data));
      if (status == 0)
        owned->pending->finish(std::size_t{0});
      else
        owned->pending->finish(std::unexpected(uv_cause(status)));
    });
    if (rc != 0) {
      delete r;
      co_return uv_failure(rc, "shut down " + s->peer);
    }
    Result<std::size_t> done = co_await Pending::wait(pending, 0, {});
    if (!done) co_return std::move(done).error().context("shut down " + s->peer);
    co_return {};
  }

  void close() override { socket_->close(); }
  std::string peer() const override { return socket_->peer; }

 private:
  static uv_buf_t buffer_of(ByteView data) {
    return uv_buf_init(const_cast<char*>(reinterpret_cast<const char*>(data.data())),
                       static_cast<unsigned>(std::min<std::size_t>(data.size(), kWriteChunk)));
  }
  // At most kWriteChunk bytes, so that the time-out is one of progress. Never touches data after an abort: close()
  // drops it.
  static Task<Result<std::size_t>> write_some(std::shared_ptr<Socket> s, ByteView data, std::int64_t timeout_ms,
                                              std::stop_token stop) {
    struct Request {
      uv_write_t req{};
      std::shared_ptr<Pending> pending;
      std::shared_ptr<Socket> socket;
    };
    uv_buf_t buf = buffer_of(data);
    auto* r = new Request{.pending = std::make_shared<Pending>(s->loop), .socket = s};
    r->req.data = r;
    auto pending = r->pending;
    pending->on_abort = [raw = s.get()] {
      raw->writing = nullptr;
      raw->close();
    };
    s->writing = pending;
    int rc = uv_write(&r->req, &s->stream, &buf, 1, [](uv_write_t* req, int status) {
      std::unique_ptr<Request> owned(static_cast<Request*>(req->data));
      if (owned->socket->writing == owned->pending) owned->socket->writing = nullptr;
      if (status == 0)
        owned->pending->finish(std::size_t{0});
      else
        owned->pending->finish(std::unexpected(uv_cause(status)));
    });
    if (rc != 0) {
      delete r;
      s->writing = nullptr;
      co_return uv_failure(rc, "write to " + s->peer);
    }
    Result<std::size_t> done = co_await Pending::wait(pending, timeout_ms, std::move(stop));
    if (!done) co_return std::move(done).error().context("write to " + s->peer);
    co_return std::size_t{buf.len};
  }
  static constexpr std::size_t kWriteChunk = 256 * 1024;
  static constexpr std::size_t kMaxParts = 8;
  std::shared_ptr<Socket> socket_;
};

Result<sockaddr_storage> to_sockaddr(const SocketAddress& a) {
  sockaddr_storage out{};
  int rc = a.ip.find(':') != std::string::npos
               ? uv_ip6_addr(a.ip.c_str(), a.port, reinterpret_cast<sockaddr_in6*>(&out))
               : uv_ip4_addr(a.ip.c_str(), a.port, reinterpret_cast<sockaddr_in*>(&out));
  if (rc != 0) return invalid("\"{}\" is not an IP address", a.ip);
  return out;
}

SocketAddress from_sockaddr(const sockaddr* sa) {
  char text[INET6_ADDRSTRLEN + 1] = "";
  SocketAddress out;
  if (sa->sa_family == AF_INET6) {
    const auto* six = reinterpret_cast<const sockaddr_in6*>(sa);
    uv_ip6_name(six, text, sizeof text);
    out.port = ntohs(six->sin6_port);
  } else if (sa->sa_family == AF_INET) {
    const auto* four = reinterpret_cast<const sockaddr_in*>(sa);
    uv_ip4_name(four, text, sizeof text);
    out.port = ntohs(four->sin_port);
  }
  out.ip = text;
  return out;
}

void name_tcp_peer(Socket& s) {
  sockaddr_storage sa{};
  int len = sizeof sa;
  if (uv_tcp_getpeername(&s.tcp, reinterpret_cast<sockaddr*>(&sa), &len) == 0) {
    s.peer = to_text(from_sockaddr(reinterpret_cast<sockaddr*>(&sa)));
  }
  uv_tcp_nodelay(&s.tcp, 1);
  uv_tcp_keepalive(&s.tcp, 1, 60);
}

class UvListener final : public Listener {
 public:
  UvListener(std::shared_ptr<Socket> socket, bool unix_socket, std::string address, std::uint16_t port)
      : socket_(std::move(socket)), unix_(unix_socket), address_(std::move(address)), port_(port) {}
  ~UvListener() override { close(); }

  Status start() {
    int rc = uv_listen(&socket_->stream, 511, [](uv_stream_t* st, int status) {
      auto* s = static_cast<Socket*>(st->data);
      auto p = std::exchange(s->reading, nullptr);
      if (!p) return;
      if (status == 0)
        p->finish(std::size_t{0});
      else
        p->finish(std::unexpected(uv_failure(status, "accept on " + s->peer)));
    });
    if (rc != 0) return std::unexpected(uv_failure(rc, "listen on " + address_));
    return {};
  }

  Task<Result<std::unique_ptr<Stream>>> accept(std::stop_token stop) override {
    std::shared_ptr<Socket> s = socket_;
    for (;;) {
      if (s->closed) co_return Error(ErrorCode::kCancelled, fmt::format("accept on {}: closed", address_));
      auto client = unix_ ? Socket::pipe_socket(s->loop) : Socket::tcp_socket(s->loop);
      int rc = uv_accept(&s->stream, &client->stream);
      if (rc == 0) {
        if (unix_)
          client->peer = "client of " + address_;
        else
          name_tcp_peer(*client);
        co_return std::make_unique<UvStream>(std::move(client));
      }
      client->close();
      if (rc != UV_EAGAIN) co_return uv_failure(rc, "accept on " + address_);
      CHECK(!s->reading);
      auto pending = std::make_shared<Pending>(s->loop);
      pending->on_abort = [raw = s.get()] { raw->reading = nullptr; };
      s->reading = pending;
      CO_TRY(co_await Pending::wait(pending, 0, stop));
    }
  }
  std::uint16_t port() const override { return port_; }
  std::string address() const override { return address_; }
  void close() override {
    if (!socket_->closed && unix_) ::unlink(address_.c_str());
    socket_->close();
  }

 private:
  std::shared_ptr<Socket> socket_;
  bool unix_;
  std::string address_;
  std::uint16_t port_;
};

struct Resolving {
  uv_getaddrinfo_t req{};
  std::shared_ptr<Pending> pending;
  std::shared_ptr<std::vector<SocketAddress>> out;
};

std::vector<SocketAddress> take_addresses(addrinfo* list) {
  std::vector<SocketAddress> out;
  for (addrinfo* a = list; a; a = a->ai_next) {
    if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
    SocketAddress address = from_sockaddr(a->ai_addr);
    if (std::find(out.begin(), out.end(), address) == out.end()) out.push_back(std::move(address));
  }
  uv_freeaddrinfo(list);
  return out;
}

Error resolve_error(const std::string& host, const std::string& cause) {
  return Error(ErrorCode::kUnavailable, fmt::format("look up host {}: {}", host, cause));
}

struct Connecting {
  uv_connect_t req{};
  std::shared_ptr<Pending> pending;
  std::shared_ptr<Socket> socket;
  static void done(uv_connect_t* req, int status) {
    std::unique_ptr<Connecting> owned(static_cast<Connecting*>(req->data));
    if (status == 0)
      owned->pending->finish(std::size_t{0});
    else
      owned->pending->finish(std::unexpected(uv_failure(status, "connect to " + owned->socket->peer)));
  }
};

Task<Result<std::unique_ptr<Stream>>> finish_connect(std::shared_ptr<Socket> s, std::shared_ptr<Pending> pending,
                                                     std::int64_t timeout_ms, std::stop_token stop) {
  Result<std::size_t> ok = co_await Pending::wait(pending, timeout_ms, std::move(stop));
  if (!ok) {
    s->close();
    if (ok.error().code() == ErrorCode::kTimeout || ok.error().code() == ErrorCode::kCancelled) {
      co_return std::move(ok).error().context("connect to " + s->peer);
    }
    co_return std::move(ok).error();
  }
  co_return std::make_unique<UvStream>(std::move(s));
}

Result<std::shared_ptr<Socket>> bind_tcp(Loop& loop, const SocketAddress& address, unsigned flags) {
  TRY_ASSIGN(sockaddr_storage sa, to_sockaddr(address));
  std::shared_ptr<Socket> s = Socket::tcp_socket(loop.impl());
  s->peer = to_text(address);
  int rc = uv_tcp_bind(&s->tcp, reinterpret_cast<sockaddr*>(&sa), flags);
  if (rc != 0) {
    s->close();
    return std::unexpected(uv_failure(rc, "listen on " + s->peer));
  }
  return s;
}

}  // namespace

std::string to_text(const SocketAddress& a) {
  return a.ip.find(':') != std::string::npos ? fmt::format("[{}]:{}", a.ip, a.port)
                                             : fmt::format("{}:{}", a.ip, a.port);
}

bool is_ip(std::string_view text) { return to_sockaddr({std::string(text), 0}).has_value(); }

Result<HostPort> parse_host_port(std::string_view text) {
  std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return invalid("address \"{}\": no port, expected HOST:PORT", text);
  std::string_view host = text.substr(0, colon);
  std::string_view port = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find_first_of(":[]") != std::string_view::npos) {
    return invalid("address \"{}\": an IPv6 address stands in brackets, [ADDRESS]:PORT", text);
  }
  HostPort out{.host = std::string(host)};
  auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (port.empty() || ec != std::errc() || end != port.data() + port.size()) {
    return invalid("address \"{}\": \"{}\" is not a port (0 to 65535)", text, port);
  }
  return out;
}

Task<Result<std::vector<SocketAddress>>> resolve(Loop& loop, std::string host, std::uint16_t port,
                                                 std::int64_t timeout_ms, std::stop_token stop) {
  if (is_ip(host)) co_return std::vector{SocketAddress{host, port}};
  auto* r = new Resolving{.pending = std::make_shared<Pending>(loop.impl()),
                          .out = std::make_shared<std::vector<SocketAddress>>()};
  auto pending = r->pending;
  auto out = r->out;
  r->req.data = r;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  auto done = [](uv_getaddrinfo_t* req, int status, addrinfo* list) {
    std::unique_ptr<Resolving> owned(static_cast<Resolving*>(req->data));
    if (status == 0) *owned->out = take_addresses(list);
    if (status == 0)
      owned->pending->finish(std::size_t{0});
    else
      owned->pending->finish(std::unexpected(Error(ErrorCode::kUnavailable, uv_strerror(status))));
  };
  int rc = uv_getaddrinfo(&loop.impl()->uv, &r->req, done, host.c_str(), std::to_string(port).c_str(), &hints);
  if (rc != 0) {
    delete r;
    co_return resolve_error(host, uv_strerror(rc));
  }
  Result<std::size_t> found = co_await Pending::wait(pending, timeout_ms, std::move(stop));
  if (!found) co_return std::move(found).error().context("look up host " + host);
  if (out->empty()) co_return resolve_error(host, "no address");
  co_return std::move(*out);
}

Result<std::vector<SocketAddress>> resolve_now(Loop& loop, const std::string& host, std::uint16_t port) {
  if (is_ip(host)) return std::vector{SocketAddress{host, port}};
  uv_getaddrinfo_t req{};
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  int rc = uv_getaddrinfo(&loop.impl()->uv, &req, nullptr, host.c_str(), std::to_string(port).c_str(), &hints);
  if (rc != 0) return std::unexpected(resolve_error(host, uv_strerror(rc)));
  std::vector<SocketAddress> out = take_addresses(req.addrinfo);
  if (out.empty()) return std::unexpected(resolve_error(host, "no address"));
  return out;
}

Task<Result<std::unique_ptr<Stream>>> connect_tcp(Loop& loop, SocketAddress address, std::int64_t timeout_ms,
                                                  std::stop_token stop) {
  CO_TRY_ASSIGN(sockaddr_storage sa, to_sockaddr(address));
  std::shared_ptr<Socket> s = Socket::tcp_socket(loop.impl());
  s->peer = to_text(address);
  auto pending = std::make_shared<Pending>(loop.impl());
  auto* c = new Connecting{.pending = pending, .socket = s};
  c->req.data = c;
  int rc = uv_tcp_connect(&c->req, &s->tcp, reinterpret_cast<sockaddr*>(&sa), Connecting::done);
  if (rc != 0) {
    delete c;
    s->close();
    co_return uv_failure(rc, "connect to " + s->peer);
  }
  Result<std::unique_ptr<Stream>> stream = co_await finish_connect(s, pending, timeout_ms, std::move(stop));
  if (stream) name_tcp_peer(*s);
  co_return stream;
}

Task<Result<std::unique_ptr<Stream>>> connect_host(Loop& loop, std::string host, std::uint16_t port,
                                                   std::int64_t timeout_ms, std::stop_token stop) {
  SystemClock clock;
  TimeMs start = clock.now();
  CO_TRY_ASSIGN(auto addresses, co_await resolve(loop, host, port, timeout_ms, stop));
  std::optional<Error> last;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    std::int64_t share_ms = 0;
    if (timeout_ms > 0) {
      std::int64_t left_ms = std::max<std::int64_t>(timeout_ms - (clock.now() - start), 1);
      share_ms = std::max<std::int64_t>(left_ms / static_cast<std::int64_t>(addresses.size() - i), 1);
    }
    Result<std::unique_ptr<Stream>> stream = co_await connect_tcp(loop, addresses[i], share_ms, stop);
    if (stream || stream.error().code() == ErrorCode::kCancelled) co_return stream;
    last = std::move(stream).error();
  }
  if (is_ip(host)) co_return std::move(*last);
  co_return std::move(*last).context("host " + host);
}

Task<Result<std::unique_ptr<Stream>>> connect_unix(Loop& loop, std::string path, std::int64_t timeout_ms,
                                                   std::stop_token stop) {
  std::shared_ptr<Socket> s = Socket::pipe_socket(loop.impl());
  s->peer = path;
  auto pending = std::make_shared<Pending>(loop.impl());
  auto* c = new Connecting{.pending = pending, .socket = s};
  c->req.data = c;
  uv_pipe_connect(&c->req, &s->pipe, path.c_str(), Connecting::done);
  co_return co_await finish_connect(s, pending, timeout_ms, std::move(stop));
}

Result<std::unique_ptr<Listener>> listen_tcp(Loop& loop, const SocketAddress& address) {
  SocketAddress wanted = address;
  if (wanted.ip.empty()) wanted.ip = "::";
  Result<std::shared_ptr<Socket>> bound = bind_tcp(loop, wanted, 0);
  if (!bound && address.ip.empty() && bound.error().sys_errno() == EAFNOSUPPORT) {
    wanted.ip = "0.0.0.0";
    bound = bind_tcp(loop, wanted, 0);
  }
  if (!bound) return std::unexpected(std::move(bound).error());
  std::shared_ptr<Socket> s = *bound;
  sockaddr_storage sa{};
  int len = sizeof sa;
  uv_tcp_getsockname(&s->tcp, reinterpret_cast<sockaddr*>(&sa), &len);
  SocketAddress actual = from_sockaddr(reinterpret_cast<sockaddr*>(&sa));
  if (actual.port == 0) actual.port = wanted.port;  // bind failed, uv reports it at listen
  auto listener = std::make_unique<UvListener>(s, false, to_text(wanted.port == 0 ? actual : wanted), actual.port);
  TRY(listener->start());
  return listener;
}

Result<std::unique_ptr<Listener>> listen_unix(Loop& loop, const std::string& path) {
  sockaddr_un probe{};
  probe.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof probe.sun_path) return invalid("socket path \"{}\": 1 to 107 bytes", path);
  std::memcpy(probe.sun_path, path.data(), path.size());
  int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return from_errno(errno, "listen on {}", path);
  int rc = ::connect(fd, reinterpret_cast<sockaddr*>(&probe), sizeof probe);
  int connect_errno = rc == 0 ? 0 : errno;
  ::close(fd);
  if (connect_errno == ECONNREFUSED) ::unlink(path.c_str());  // left behind by a killed predecessor
  std::shared_ptr<Socket> s = Socket::pipe_socket(loop.impl());
  s->peer = path;
  rc = uv_pipe_bind(&s->pipe, path.c_str());
  if (rc == 0 && ::chmod(path.c_str(), 0600) != 0) rc = -errno;
  if (rc != 0) {
    s->close();
    return std::unexpected(uv_failure(rc, "listen on " + path));
  }
  auto listener = std::make_unique<UvListener>(s, true, path, std::uint16_t{0});
  TRY(listener->start());
  return listener;
}

Result<StreamPair> make_stream_pair(Loop& loop) {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
    return from_errno(errno, "socketpair");
  StreamPair out;
  for (int i = 0; i < 2; ++i) {
    std::shared_ptr<Socket> s = Socket::pipe_socket(loop.impl());
    s->peer = i == 0 ? "stream pair b" : "stream pair a";
    CHECK_EQ(uv_pipe_open(&s->pipe, fds[i]), 0);
    (i == 0 ? out.a : out.b) = std::make_unique<UvStream>(std::move(s));
  }
  return out;
}

}  // namespace caddis::loop
