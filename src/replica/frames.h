// The replication stream between two nodes, as bytes. Pure; any thread. docs/protocol.md is the page on it.
//
// POST /stream over HTTP/2. All integers are big-endian.
//   request   position map: u32 count, count × (u32 name length, name, u64 TXID, u64 checksum), sorted by name
//   answer    frames without end: u32 type, then
//     1 LTX        u64 0, u32 name length, name; then the LTX file in chunks: (u16 length, bytes)…, u16 0
//     2 Ready      the first round is complete
//     3 End        the sender leaves
//     4 DropDB     u32 name length, name: the sender does not have this database
//     5 Handoff    u32 length, lease id
//     6 HWM        u64 TXID, u32 name length, name: backed up up to here
//     7 Heartbeat  i64 ms since the Unix epoch
// That much is LiteFS 0.5's. Between two nodes that both sent "Caddis-Stream: 1" there are frames of our own as well,
// in both directions (the request's body stays open). Each is u32 type, u32 length of the rest, so that one which is
// not known can be skipped:
//     0x63640001 Open     u32 channel, u8 name length, name: an LTX file begins on this channel
//     0x63640002 Data     u32 channel, bytes of it
//     0x63640003 Close    u32 channel, u8 1: it is complete; 0: it is given up
//     0x63640004 State    i64 ms, u64 epoch, positions: what the sender has (those that changed since the last State)
//     0x63640005 Past  u8 name length, name, (u64 TXID, u64 checksum)…: positions the sender's database went through
//     0x63640010 Facts    u8 flags (1 candidate, 2 stopping), 5 × (u16 length, text): node, hostname, url,
//                         image, version
//     0x63640011 Held     positions: what the follower has durably (those that changed since the last Held)
//   positions: (u8 name length, name, u64 TXID, u64 checksum)… up to the frame's end
//
// The decoders take bytes cut anywhere. What they hold is bounded by what has arrived, and by the limits below,
// whatever a length claims.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace caddis::replica {

inline constexpr std::size_t kMaxNameBytes = 247;
inline constexpr std::size_t kMaxDatabases = 65'536;
inline constexpr std::size_t kMaxLeaseIdBytes = 1024;
inline constexpr std::size_t kMaxChunkBytes = 65'535;
inline constexpr std::size_t kMaxDataBytes = 1u << 20;       // of a Data frame
inline constexpr std::size_t kMaxOwnFrameBytes = 64u << 10;  // of the other frames of ours
inline constexpr std::size_t kMaxTextBytes = 512;            // of each text in Facts

inline constexpr std::string_view kStreamHeader = "Caddis-Stream";
inline constexpr std::string_view kEpochHeader = "Caddis-Epoch";
std::string format_node_id(std::uint64_t id);  // as in Litefs-Id: 16 upper-case hex digits

using PositionMap = std::map<std::string, Position>;  // sorted by name, as on the wire
using PositionList = std::vector<std::pair<std::string, Position>>;

// ---- LiteFS's frames

struct LtxBegin {
  std::string name;
  bool operator==(const LtxBegin&) const = default;
};
struct LtxBytes {  // of a chunk, or of a part of one
  ByteView bytes;
};
struct LtxEnd {
  bool operator==(const LtxEnd&) const = default;
};
struct Ready {
  bool operator==(const Ready&) const = default;
};
struct End {
  bool operator==(const End&) const = default;
};
struct DropDb {
  std::string name;
  bool operator==(const DropDb&) const = default;
};
struct Handoff {
  std::string lease_id;
  bool operator==(const Handoff&) const = default;
};
struct Hwm {
  std::string name;
  Txid txid;
  bool operator==(const Hwm&) const = default;
};
struct Heartbeat {
  std::int64_t wall_ms = 0;
  bool operator==(const Heartbeat&) const = default;
};

// ---- ours

struct Open {
  std::uint32_t channel = 0;
  std::string name;
  bool operator==(const Open&) const = default;
};
struct Data {
  std::uint32_t channel = 0;
  ByteView bytes;
};
struct Close {
  std::uint32_t channel = 0;
  bool complete = false;
  bool operator==(const Close&) const = default;
};
struct State {
  std::int64_t wall_ms = 0;
  std::uint64_t epoch = 0;
  PositionList positions;
  bool operator==(const State&) const = default;
};
struct Past {
  std::string name;
  std::vector<Position> positions;
  bool operator==(const Past&) const = default;
};
struct Facts {
  bool candidate = false;
  bool stopping = false;
  std::string node, hostname, url, image, version;  // node: the machine's id, as the lease knows it
  bool operator==(const Facts&) const = default;
};
struct Held {
  PositionList positions;
  bool operator==(const Held&) const = default;
};

using Frame = std::variant<LtxBegin, LtxBytes, LtxEnd, Ready, End, DropDb, Handoff, Hwm, Heartbeat, Open, Data, Close,
                           State, Past, Facts, Held>;

// Appends one frame. Names of 1 to kMaxNameBytes; Data up to kMaxDataBytes; texts are cut to kMaxTextBytes.
void encode(Bytes& out, const LtxBegin& frame);
void encode(Bytes& out, const LtxBytes& frame);  // in chunks of at most kMaxChunkBytes
void encode(Bytes& out, const LtxEnd& frame);
void encode(Bytes& out, const Ready& frame);
void encode(Bytes& out, const End& frame);
void encode(Bytes& out, const DropDb& frame);
void encode(Bytes& out, const Handoff& frame);
void encode(Bytes& out, const Hwm& frame);
void encode(Bytes& out, const Heartbeat& frame);
void encode(Bytes& out, const Open& frame);
void encode(Bytes& out, const Data& frame);
void encode(Bytes& out, const Close& frame);
void encode(Bytes& out, const State& frame);  // as many frames as the positions need, one at least
void encode(Bytes& out, const Past& frame);   // cut to what one frame holds
void encode(Bytes& out, const Facts& frame);
void encode(Bytes& out, const Held& frame);  // as State
void encode(Bytes& out, const PositionMap& map);

// Takes a stream apart.
class FrameDecoder {
 public:
  enum class Own { kRefused, kAllowed };
  explicit FrameDecoder(Own own) : own_(own) {}
  // The next frame, or nullopt when more bytes are needed; takes what it used off the front of `in`. Views in the frame
  // point into `in`. kCorrupt, for good: bytes that are no frame.
  Result<std::optional<Frame>> next(ByteView& in);
  // True between two frames: a stream that ends elsewhere was cut.
  bool at_boundary() const { return step_ == Step::kType && pending_.empty(); }

 private:
  enum class Step { kType, kBody, kName, kChunkSize, kChunk, kOwnLength, kOwnData, kOwnBody, kSkip, kBroken };
  Result<std::optional<Frame>> advance(ByteView& in);
  bool gather(ByteView& in, std::size_t size);
  Status begin_frame();
  Result<std::optional<Frame>> body_frame();
  Result<std::optional<Frame>> name_frame();
  Status begin_own();
  Result<Frame> own_frame();
  Frame done(Frame frame);

  Own own_;
  Step step_ = Step::kType;
  Bytes pending_;
  std::uint32_t type_ = 0;
  std::uint64_t number_ = 0;  // HWM's TXID
  std::size_t wanted_ = 0;    // bytes of what is gathered in this state
  std::size_t left_ = 0;      // of a chunk, of Data, of what is skipped
  std::uint32_t channel_ = 0;
};

// Takes a request's position map apart.
class PositionMapDecoder {
 public:
  // True when the map is complete; takes what it used off the front of `in`. kCorrupt: no position map, or one beyond
  // the limits.
  Result<bool> feed(ByteView& in);
  PositionMap& map() { return map_; }

 private:
  enum class Step { kCount, kNameSize, kEntry, kDone };
  bool gather(ByteView& in, std::size_t size);
  Step step_ = Step::kCount;
  Bytes pending_;
  std::uint32_t left_ = 0;
  std::size_t name_size_ = 0;
  PositionMap map_;
};

}  // namespace caddis::replica
