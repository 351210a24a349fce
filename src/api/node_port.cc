#include "api/node_port.h"

#include <utility>

#include "api/node_metrics.h"

namespace caddis::api {

struct NodePort::Impl : std::enable_shared_from_this<NodePort::Impl> {
  Impl(loop::Loop& l, NodePortHooks h) : loop(l), hooks(std::move(h)), node_metrics(*hooks.metrics) {}
  loop::Detached accept_all(std::size_t index);
  loop::Detached serve_one(std::unique_ptr<loop::Stream> stream);
  std::string answer(std::string_view method, std::string_view target);

  loop::Loop& loop;
  NodePortHooks hooks;
  NodeMetrics node_metrics;
  std::vector<std::unique_ptr<loop::Listener>> listeners;
  std::stop_source stop;
};

Result<std::unique_ptr<NodePort>> NodePort::bind(loop::Loop& loop, const std::vector<ListenAddress>& addresses,
                                                 NodePortHooks hooks) {
  auto impl = std::make_shared<Impl>(loop, std::move(hooks));
  for (const ListenAddress& address : addresses) {
    auto listener = loop::listen_tcp(loop, address.address);
    if (listener) impl->listeners.push_back(std::move(*listener));
    else if (!address.optional) return std::unexpected(std::move(listener).error());
  }
  return std::unique_ptr<NodePort>(new NodePort(std::move(impl)));
}

NodePort::~NodePort() { close(); }

void NodePort::serve() {
  for (std::size_t i = 0; i < impl_->listeners.size(); ++i) impl_->accept_all(i);
}

void NodePort::close() {
  impl_->stop.request_stop();
  for (auto& listener : impl_->listeners) listener->close();
}

std::uint16_t NodePort::port() const { return impl_->listeners.empty() ? std::uint16_t{0} : impl_->listeners[0]->port(); }

loop::Detached NodePort::Impl::accept_all(std::size_t index) {
  std::shared_ptr<Impl> self = shared_from_this();
  for (;;) {
    auto stream = co_await listeners[index]->accept(stop.get_token());
    if (!stream && stop.stop_requested()) co_return;
    if (stream) serve_one(std::move(*stream));
  }
}

std::string NodePort::Impl::answer(std::string_view method, std::string_view target) {
  std::string body = "404 page not found\n";
  std::string_view status = "404 Not Found";
  NodeFacts facts = hooks.facts();
  if (method == "GET" && target == "/info") {
    status = "200 OK";
    body = info_json(facts);
  } else if (method == "GET" && target == "/health") {
    status = facts.not_ready.empty() ? "200 OK" : "503 Service Unavailable";
    body = (facts.not_ready.empty() ? "ok" : facts.not_ready) + "\n";
  } else if (method == "GET" && target == "/metrics") {
    status = "200 OK";
    node_metrics.update(facts);
    body = hooks.metrics->render();
  }
  return fmt::format("HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}", status, body.size(), body);
}

loop::Detached NodePort::Impl::serve_one(std::unique_ptr<loop::Stream> stream) {
  std::shared_ptr<Impl> self = shared_from_this();
  Bytes buffer(8192);
  std::size_t size = 0;
  while (size < buffer.size() && as_text({buffer.data(), size}).find("\r\n\r\n") == std::string_view::npos) {
    ByteSpan rest(buffer.data() + size, buffer.size() - size);
    Result<std::size_t> n = co_await stream->read(rest, 10'000, stop.get_token());
    if (!n || *n == 0) co_return;
    size += *n;
  }
  std::string_view line = as_text({buffer.data(), size});
  std::size_t first = line.find(' ');
  std::size_t second = line.find(' ', first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos) co_return;
  std::string text = answer(line.substr(0, first), line.substr(first + 1, second - first - 1));
  (void)co_await stream->write(as_bytes(text), 10'000, stop.get_token());
}

}  // namespace caddis::api
