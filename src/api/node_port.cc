#include "api/node_port.h"
namespace caddis::api {
struct NodePort::Impl { std::vector<std::unique_ptr<loop::Listener>> listeners; };
Result<std::unique_ptr<NodePort>> NodePort::bind(loop::Loop& loop, const std::vector<ListenAddress>& a, NodePortHooks) {
  auto impl = std::make_shared<Impl>();
  for (auto& x : a) { auto l = loop::listen_tcp(loop, x.address); if (l) impl->listeners.push_back(std::move(*l)); else if (!x.optional) return std::unexpected(l.error()); }
  return std::unique_ptr<NodePort>(new NodePort(impl));
}
NodePort::~NodePort() = default;
void NodePort::serve() {}
void NodePort::close() { impl_->listeners.clear(); }
std::uint16_t NodePort::port() const { return impl_->listeners.empty() ? 0 : impl_->listeners[0]->port(); }
}
