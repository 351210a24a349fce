// The node port: LiteFS's routes and ours, on one or several listeners. Loop thread.
//   GET /info, /health, /metrics, /export?name=, /caddis/v1/status; POST /import?name=
// Every answer but that of /metrics has Litefs-Id and, once known, Litefs-Cluster-Id.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "api/documents.h"
#include "base/metrics.h"
#include "db/engine.h"
#include "loop/loop.h"
#include "loop/stream.h"

namespace caddis::api {

struct NodePortHooks {
  std::string node_id;  // 16 upper-case hex digits
  std::function<NodeFacts()> facts;
  Metrics* metrics = nullptr;
  std::function<db::Engine*()> engine;  // null while there is no mount
  std::string import_dir;               // of files that /import receives
  // Copies a complete SQLite file into a database of the mount.
  std::function<loop::Task<Status>(std::string name, std::string path, std::stop_token stop)> import;
};

struct ListenAddress {
  loop::SocketAddress address;
  bool optional = false;  // an address family that this machine does not have is no error
};

class NodePort {
 public:
  // Binds all addresses; connections wait in the kernel's queue until serve().
  static Result<std::unique_ptr<NodePort>> bind(loop::Loop& loop, const std::vector<ListenAddress>& addresses,
                                                NodePortHooks hooks);
  ~NodePort();
  void serve();
  // Stops listening and cuts connections. May be repeated.
  void close();
  std::uint16_t port() const;

 private:
  struct Impl;
  explicit NodePort(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

}  // namespace caddis::api
