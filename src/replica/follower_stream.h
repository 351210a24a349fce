// Inside of the publisher: the stream to one follower. Loop thread.
#pragma once

#include <deque>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "http/deadline.h"
#include "replica/outgoing.h"
#include "replica/publisher_state.h"
#include "replica/standing.h"

namespace caddis::replica {

class FollowerStream {
 public:
  FollowerStream(Publisher::State& state, http::Request& request, http::ResponseWriter& w, std::uint64_t node_id,
                 bool litefs, std::set<std::string> filter);
  ~FollowerStream();

  // The position map, then frames until the stream ends. `rest`: of the request's body, behind the map.
  Task<void> run(PositionMap map, Bytes rest);
  void moved(const std::string& name);  // a database has something new
  void end();                           // with an End frame
  void replace();                       // the same node has come back: without a word

  Peer peer() const;
  std::uint64_t node_id() const { return node_id_; }
  bool litefs() const { return litefs_; }
  bool confirms(const PositionMap& wanted) const;
  // One hand-over at a time. `begun` and the result come through it.
  struct Handoff {
    explicit Handoff(loop::Loop& loop) : done(loop) {}
    std::string lease_id;
    bool begun = false;
    std::optional<Status> status;
    loop::Event done;
  };
  void hand_off(std::shared_ptr<Handoff> handoff);

 private:
  // A database on its way: the next bytes to write, made while those before are written.
  struct Lane {
    Lane(loop::Loop& loop, std::string n) : name(std::move(n)), taken(loop) {}
    std::string name;
    Bytes blob;
    bool full = false;
    bool inside = false;        // the blob ends within an LTX file: LiteFS takes nothing else until that is complete
    bool inside_after = false;  // as of the last blob that was taken
    loop::Event taken;
  };

  Task<void> read_requests(Bytes rest);
  bool take_frames(FrameDecoder& decoder, ByteView in);
  Task<Status> write_all();
  Task<Status> write_beat();
  Task<Status> write_handoff();
  bool first_round_over() const { return first_round_.empty(); }
  bool drained() const { return dirty_.empty() && lanes_ == 0 && later_ == 0 && snapshot_queue_.empty(); }
  Lane* next_lane();

  void start_lanes();
  void mark(const std::string& name);
  Task<void> run_lane(std::string name);
  enum class Turn { kAgain, kDone, kLater, kParked };
  Task<Turn> send_next(Lane& lane);
  Task<Turn> send_files(Lane& lane, Position from, Position to);
  Task<Result<std::vector<db::LogEntry>>> next_files(std::string name, Position from, Position to);
  Task<Turn> send_snapshot(Lane& lane, Position theirs);
  Task<Turn> send_pieces(Lane& lane, std::shared_ptr<LtxPieces> pieces, bool with_hwm);
  Task<Turn> diverged(Lane& lane, Position theirs, Position ours, std::string why);
  Task<void> offer(Lane& lane, Bytes blob, bool inside);
  Task<Result<std::shared_ptr<db::SnapshotReader>>> take_snapshot(const std::string& name);
  Txid hwm(const std::string& name) const;

  Publisher::State& state_;
  http::Request& request_;
  http::ResponseWriter& writer_;
  std::uint64_t node_id_;
  bool litefs_;
  std::set<std::string> filter_;

  std::map<std::string, Position> at_;  // of the follower, once it has what was sent
  std::map<std::string, Txid> forwarded_from_;
  std::map<std::string, Txid> first_round_;  // to be reached before Ready
  std::deque<std::string> dirty_;
  std::set<std::string> in_dirty_, in_lane_, again_, unstated_;
  std::set<std::string> diverged_;                           // wait for the follower to say where it went back to
  std::map<std::string, std::deque<db::LogEntry>> backlog_;  // files of those that are far behind, found once
  std::deque<std::string> snapshot_queue_;
  std::size_t lanes_ = 0, snapshots_ = 0, later_ = 0;
  std::list<Lane*> ready_lanes_;
  Lane* exclusive_ = nullptr;  // LiteFS: its file is not complete
  std::uint32_t channel_ = 1;

  loop::Event wake_;
  loop::TaskGroup tasks_;
  std::stop_source stop_lanes_;
  http::Deadline beat_{0};    // the next heartbeat is due
  http::Deadline end_by_{0};  // with a file that a LiteFS is being sent
  bool ending_ = false, gone_ = false, replaced_ = false, ready_ = false;
  std::string gone_why_;
  Facts facts_;
  PositionMap held_;
  std::int64_t heard_ms_ = 0;
  std::shared_ptr<Handoff> handoff_;
};

}  // namespace caddis::replica
