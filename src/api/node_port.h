// The node port: LiteFS's routes and ours, on one or several addresses. Loop thread.
//   GET /info, /health, /metrics, /export?name=, /caddis/v1/status; POST /import?name=
// Every answer but that of /metrics has Litefs-Id and, once known, Litefs-Cluster-Id. Errors are LiteFS's plain text,
// under /caddis/ JSON.
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

namespace caddis::api {

struct NodePortHooks {
  std::string node_id;  // 16 upper-case hex digits
  std::function<NodeFacts()> facts;
  Metrics* metrics = nullptr;
  std::function<db::Engine*()> engine;  // null while there is no mount
  std::string import_dir;               // for files that /import receives; made with the first
  // Copies a complete SQLite file into a database of the mount.
  std::function<loop::Task<Status>(std::string name, std::string path, std::stop_token stop)> import;
};

struct ListenAddress {
  std::string text;       // "127.0.0.1:20202", ":20202", "fly-local-6pn:20202"
  bool optional = false;  // an address or name that this machine does not have is no error
};

class NodePort {
 public:
  // Binds all addresses; connections wait in the kernel's queue until serve().
  static Result<std::unique_ptr<NodePort>> bind(loop::Loop& loop, const std::vector<ListenAddress>& addresses,
                                                NodePortHooks hooks);
  ~NodePort();
  void serve();
  // Stops listening and cuts connections; requests under way end by themselves. May be repeated.
  void close();
  std::uint16_t port() const;  // of the first address, also after close()

 private:
  struct Impl;
  explicit NodePort(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace caddis::api
