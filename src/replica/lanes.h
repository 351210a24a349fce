// Inside of the receiver: a queue for each database, from the bytes of LTX files to applied transactions. Loop thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stop_token>
#include <string>

#include "http/deadline.h"
#include "loop/loop.h"
#include "replica/applier.h"

namespace caddis::replica {

using loop::Task;

struct LaneOptions {
  Applier* applier = nullptr;
  std::uint64_t node_id = 0;
  std::size_t max_queued_files = 256;
  std::uint64_t max_queued_bytes = 1u << 30;
  std::size_t max_pending_bytes = 8u << 20;
  std::int64_t stuck_ms = 1'000;
  std::function<void(const std::string& name, Position position)> on_applied;
  // It can't be taken in: kConflict when this node has something else. What was queued for it is gone.
  std::function<void(const std::string& name, const Error& error)> on_failed;
  std::function<void(const std::string& name)> on_behind;  // files were dropped, and the queue is empty now
};

// One LTX file while it arrives.
struct Transfer {
  std::string name;
  std::uint64_t ticket = 0;
  bool litefs = false;  // of a LiteFS
  Bytes pending;        // not written down yet
  std::uint64_t received = 0;
  bool ended = false, complete = false;
  std::unique_ptr<IncomingFile> incoming;  // of the pool while the lane receives
};

class Lanes : public std::enable_shared_from_this<Lanes> {
 public:
  Lanes(loop::Loop& loop, LaneOptions options);
  std::shared_ptr<Transfer> begin(const std::string& name, bool litefs);
  void data(Transfer& transfer, ByteView bytes);
  void end(Transfer& transfer, bool complete);
  void drop_incomplete();  // the stream is over

  // Until there is room in memory for more. A database that is stuck gives up its own.
  Task<Status> wait_room(std::stop_token stop);
  std::uint64_t last_ticket() const { return next_ticket_ - 1; }
  // Until every file up to this ticket is applied or gone.
  Task<Status> wait_applied(std::uint64_t ticket, std::int64_t timeout_ms, std::stop_token stop);
  // Where databases are once what is queued is applied. Nothing for those with an empty queue.
  PositionMap claims() const;

 private:
  struct Queued {
    std::unique_ptr<IncomingFile> ltx;
    std::uint64_t ticket = 0;
    std::uint64_t bytes = 0;
    bool litefs = false;
  };
  struct Lane {
    explicit Lane(std::string n) : name(std::move(n)) {}
    std::string name;
    std::deque<std::shared_ptr<Transfer>> transfers;
    bool receiving = false;
    std::deque<Queued> queue;
    bool applying = false;
    bool behind = false;  // files were dropped
    http::Deadline stuck{0};
    Position claim;
  };
  struct Work {
    std::shared_ptr<Transfer> transfer;
    Bytes bytes;
    bool ended = false;
    Status status;
  };
  Lane& lane(const std::string& name);
  bool full() const { return queued_files_ >= options_.max_queued_files || queued_bytes_ >= options_.max_queued_bytes; }
  bool relieve();
  void receive_soon(Lane& lane);
  Task<void> receive(Lane& lane);
  std::vector<Work> next_work(Lane& lane);
  void received(Lane& lane, Work& work);
  void apply_next(Lane& lane);
  Status check(const Lane& lane, const Queued& item, bool& known);
  void applied(Lane& lane, std::uint64_t ticket, std::uint64_t bytes, Result<Position> result);
  void drop_queue(Lane& lane);
  void finished(std::uint64_t ticket);

  loop::Loop& loop_;
  LaneOptions options_;
  std::map<std::string, std::unique_ptr<Lane>> lanes_;
  std::set<std::uint64_t> open_;  // tickets
  std::uint64_t next_ticket_ = 1;
  std::size_t pending_bytes_ = 0;
  std::size_t queued_files_ = 0;
  std::uint64_t queued_bytes_ = 0;
  loop::Event changed_;
};

}  // namespace caddis::replica
