#include "fly/machines.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fly/dns.h"
#include "os/file.h"

namespace caddis::fly {
namespace {

constexpr std::int64_t kAskAgainMs = 1'000;
constexpr std::int64_t kLookForStopMs = 50;

std::int64_t now_ms() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1000 + t.tv_nsec / 1'000'000;
}

class UdpSocket {
 public:
  UdpSocket() = default;
  UdpSocket(const UdpSocket&) = delete;
  UdpSocket& operator=(const UdpSocket&) = delete;
  ~UdpSocket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Status connect(const std::string& ip, std::uint16_t port) {
    sockaddr_in6 six{};
    sockaddr_in four{};
    const sockaddr* address = nullptr;
    socklen_t size = 0;
    if (::inet_pton(AF_INET6, ip.c_str(), &six.sin6_addr) == 1) {
      six.sin6_family = AF_INET6;
      six.sin6_port = htons(port);
      address = reinterpret_cast<const sockaddr*>(&six);
      size = sizeof six;
    } else if (::inet_pton(AF_INET, ip.c_str(), &four.sin_addr) == 1) {
      four.sin_family = AF_INET;
      four.sin_port = htons(port);
      address = reinterpret_cast<const sockaddr*>(&four);
      size = sizeof four;
    } else {
      return invalid("nameserver \"{}\" in /etc/resolv.conf is no address", ip);
    }
    fd_ = ::socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd_ < 0 || ::connect(fd_, address, size) != 0) return unreachable(ip);
    return {};
  }
  Status send(ByteView message) {
    if (::send(fd_, message.data(), message.size(), 0) < 0) return unreachable("the resolver");
    return {};
  }
  // 0 bytes when nothing came in time. An ICMP error of an earlier send counts as nothing.
  std::size_t receive(ByteSpan out, std::int64_t timeout_ms) {
    pollfd p{.fd = fd_, .events = POLLIN, .revents = 0};
    if (::poll(&p, 1, static_cast<int>(timeout_ms)) <= 0) return 0;
    ssize_t n = ::recv(fd_, out.data(), out.size(), 0);
    return n < 0 ? 0 : static_cast<std::size_t>(n);
  }

 private:
  static std::unexpected<Error> unreachable(const std::string& whom) {
    return make_error(ErrorCode::kUnavailable, "dns: {}: {}", whom, errno_error(errno, "ask").message());
  }
  int fd_ = -1;
};

Result<std::string> nameserver() {
  TRY_ASSIGN(std::unique_ptr<os::Dir> etc, os::open_system_dir("/etc"));
  TRY_ASSIGN(Bytes text, os::read_file(*etc, "resolv.conf", 64 * 1024));
  std::string server = parse_nameserver(as_text(text));
  if (server.empty()) return make_error(ErrorCode::kUnavailable, "dns: /etc/resolv.conf names no nameserver");
  return server;
}

// Blocking; pool threads.
Result<std::vector<std::string>> ask_txt(const std::string& name, std::int64_t timeout_ms,
                                         const std::stop_token& stop) {
  std::int64_t end = now_ms() + timeout_ms;
  TRY_ASSIGN(std::string server, nameserver());
  UdpSocket socket;
  TRY(socket.connect(server, 53));
  std::uint16_t id = 0;
  if (::getrandom(&id, sizeof id, 0) != sizeof id) return from_errno(errno, "getrandom");
  TRY_ASSIGN(Bytes question, encode_txt_question(id, name));
  Bytes answer(kMaxDnsAnswer);
  std::int64_t asked = 0;
  for (std::int64_t now = now_ms(); now < end; now = now_ms()) {
    if (stop.stop_requested()) return make_error(ErrorCode::kCancelled, "dns: {}: stopped", name);
    if (asked == 0 || now - asked >= kAskAgainMs) {
      TRY(socket.send(question));
      asked = now;
    }
    std::size_t n = socket.receive(answer, std::min(kLookForStopMs, end - now));
    if (n == 0) continue;
    Result<std::vector<std::string>> texts = decode_txt_answer(ByteView(answer).first(n), id, name);
    bool of_another =
        !texts && (texts.error().code() == ErrorCode::kConflict || texts.error().code() == ErrorCode::kCorrupt);
    if (!of_another) return texts;
  }
  return make_error(ErrorCode::kTimeout, "dns: {}: no answer from {} within {} ms", name, server, timeout_ms);
}

}  // namespace

std::vector<ListedMachine> parse_machine_list(std::string_view text) {
  std::vector<ListedMachine> machines;
  while (!text.empty()) {
    std::string_view entry = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), entry.size() + 1));
    while (entry.starts_with(' ')) entry.remove_prefix(1);
    std::size_t space = entry.find(' ');
    if (space == 0 || space == std::string_view::npos) continue;
    std::string_view region = entry.substr(space + 1);
    if (region.empty() || region.find(' ') != std::string_view::npos) continue;
    machines.push_back({std::string(entry.substr(0, space)), std::string(region)});
  }
  std::sort(machines.begin(), machines.end(),
            [](const ListedMachine& a, const ListedMachine& b) { return a.id < b.id; });
  auto same = [](const ListedMachine& a, const ListedMachine& b) { return a.id == b.id; };
  machines.erase(std::unique(machines.begin(), machines.end(), same), machines.end());
  return machines;
}

std::string machine_host(std::string_view id, std::string_view app) {
  return fmt::format("{}.vm.{}.internal", id, app);
}

std::string parse_nameserver(std::string_view resolv_conf) {
  while (!resolv_conf.empty()) {
    std::string_view line = resolv_conf.substr(0, resolv_conf.find('\n'));
    resolv_conf.remove_prefix(std::min(resolv_conf.size(), line.size() + 1));
    if (!line.starts_with("nameserver")) continue;
    line.remove_prefix(std::string_view("nameserver").size());
    std::size_t begin = line.find_first_not_of(" \t");
    if (begin == 0 || begin == std::string_view::npos) continue;
    line.remove_prefix(begin);
    return std::string(line.substr(0, line.find_first_of(" \t\r#;")));
  }
  return {};
}

loop::Task<Result<std::vector<ListedMachine>>> list_machines(loop::Loop& loop, std::string app, std::int64_t timeout_ms,
                                                             std::stop_token stop) {
  auto ask = [name = fmt::format("vms.{}.internal", app), timeout_ms, stop] { return ask_txt(name, timeout_ms, stop); };
  Result<std::vector<std::string>> texts = co_await loop::offload(loop, ask);
  if (!texts && texts.error().code() == ErrorCode::kNotFound) co_return std::vector<ListedMachine>{};
  if (!texts) co_return std::move(texts).error().context("ask for the machines of the app");
  std::string all;
  for (const std::string& text : *texts) all += (all.empty() ? "" : ",") + text;
  co_return parse_machine_list(all);
}

}  // namespace caddis::fly
