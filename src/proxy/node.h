// What the proxy needs to know of the node it stands on. Implemented by the app; called on the loop thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "loop/task.h"

namespace caddis::proxy {

struct RoleView {
  bool primary = false;   // this node
  std::string hostname;   // of the primary when it is another node; empty: not known. The value of fly-replay
  std::string proxy_url;  // where that node's proxy answers, "http://host:8080"; empty: not known. See derive_proxy_url
};

class Node {
 public:
  virtual ~Node() = default;

  virtual const RoleView& role() const = 0;  // valid until the loop's next turn
  // Ends when the role is another one than at the call, or the time is up, or stop is requested.
  virtual loop::Task<void> role_changed(std::int64_t timeout_ms, std::stop_token stop) = 0;

  // What a reader of the database sees here: captured on a primary, applied on a replica. none: no such database.
  virtual std::optional<Txid> txid(std::string_view db) const = 0;
  // The same for each of dbs, behind the capture barrier: all that had been committed when this was called.
  virtual loop::Task<Result<std::vector<std::optional<Txid>>>> captured(std::vector<std::string> dbs,
                                                                        std::stop_token stop) = 0;
  // Until txid(db) has reached it: event-driven. kTimeout, kCancelled.
  virtual loop::Task<Status> wait_for(std::string db, Txid txid, std::int64_t timeout_ms, std::stop_token stop) = 0;
  // The highest TXID of this database that the primary is known to have; none while nothing is heard from it.
  virtual std::optional<Txid> primary_txid(std::string_view db) const = 0;
  virtual std::int64_t lag_ms() const = 0;  // 0 on the primary and before the first sync

  // How often the file layer has refused a write because this node is a replica. Counted before the app gets its
  // error, so that an answer that comes after it finds the number grown.
  virtual std::uint64_t refused_writes() const = 0;
  // fn: on the loop thread, soon after the number has grown. One listener; an empty fn takes it away.
  virtual void on_refused_write(std::function<void()> fn) = 0;

  // When Fly's edge saw a request, by its clock: a time ahead of ours means that this machine was suspended.
  virtual void request_time_seen(std::int64_t wall_ms) = 0;
};

}  // namespace caddis::proxy
