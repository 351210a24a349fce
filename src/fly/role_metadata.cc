#include "fly/role_metadata.h"

#include <utility>

#include "base/log.h"
#include "loop/stream.h"

namespace caddis::fly {
namespace {

// One HTTP/1.1 exchange with `Connection: close`. 200 and 204 are success, as for LiteFS.
loop::Task<Status> exchange(loop::Loop& loop, std::string socket_path, std::string request, std::int64_t timeout_ms,
                            std::stop_token stop) {
  CO_TRY_ASSIGN(auto stream, co_await loop::connect_unix(loop, socket_path, timeout_ms, stop));
  CO_TRY(co_await stream->write(as_bytes(request), timeout_ms, stop));
  Bytes reply(512);
  std::size_t size = 0;
  while (size < reply.size() && as_text({reply.data(), size}).find("\r\n") == std::string_view::npos) {
    ByteSpan rest(reply.data() + size, reply.size() - size);
    CO_TRY_ASSIGN(std::size_t n, co_await stream->read(rest, timeout_ms, stop));
    if (n == 0) break;
    size += n;
  }
  std::string_view line = as_text({reply.data(), size});
  line = line.substr(0, line.find("\r\n"));
  std::string_view code = line.starts_with("HTTP/1.") && line.size() >= 12 ? line.substr(9, 3) : "";
  if (code == "200" || code == "204") co_return Status{};
  co_return make_error(ErrorCode::kUnavailable, "{} answered \"{}\"", socket_path, line);
}

std::string request_text(const RoleMetadataOptions& o, std::string_view method, const std::string& body) {
  return fmt::format(
      "{} /v1/apps/{}/machines/{}/metadata/role HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Content-Length: {}\r\nConnection: close\r\n\r\n{}",
      method, o.app_name, o.machine_id, body.size(), body);
}

loop::Detached keep_trying(loop::Loop& loop, RoleMetadataOptions o, std::string role, std::stop_token stop) {
  std::string request = request_text(o, "POST", fmt::format("{{\"value\":\"{}\"}}", role));
  for (int attempt = 1;; ++attempt) {
    Status done = co_await exchange(loop, o.socket_path, request, o.timeout_ms, stop);
    if (done || stop.stop_requested()) co_return;
    if (attempt >= o.attempts) {
      log_info("cannot set environment metadata", {{"role", role}, {"err", done.error().message()}});
      co_return;
    }
    Status slept = co_await loop::sleep(loop, o.pause_ms, stop);
    if (!slept) co_return;
  }
}

}  // namespace

void RoleMetadata::publish(std::string role) {
  stop_.request_stop();
  stop_ = std::stop_source();
  keep_trying(loop_, options_, std::move(role), stop_.get_token());
}

loop::Task<Status> RoleMetadata::clear(std::int64_t timeout_ms, std::stop_token stop) {
  stop_.request_stop();
  co_return co_await exchange(loop_, options_.socket_path, request_text(options_, "DELETE", ""), timeout_ms, stop);
}

}  // namespace caddis::fly
