#include "replica/frames.h"

#include <algorithm>

#include "base/check.h"

namespace caddis::replica {
namespace {

constexpr std::uint32_t kLtx = 1, kReady = 2, kEnd = 3, kDropDb = 4, kHandoff = 5, kHwm = 6, kHeartbeat = 7;
constexpr std::uint32_t kOwnMark = 0x6364'0000, kOwnMask = 0xffff'0000;  // "cd"
constexpr std::uint32_t kOpen = kOwnMark + 1, kData = kOwnMark + 2, kClose = kOwnMark + 3, kState = kOwnMark + 4,
                        kPast = kOwnMark + 5, kFacts = kOwnMark + 0x10, kHeld = kOwnMark + 0x11;
constexpr std::size_t kPositionBytes = 16;

void put8(Bytes& out, std::uint8_t v) { out.push_back(v); }
template <class T>
void put(Bytes& out, T v) {
  std::uint8_t bytes[sizeof v];
  store_raw(bytes, bswap(v));
  append(out, bytes);
}
void put_position(Bytes& out, const Position& p) {
  put(out, p.txid.value());
  put(out, p.checksum.value());
}
void put_name(Bytes& out, const std::string& name) {
  CHECK(!name.empty() && name.size() <= kMaxNameBytes);
  put(out, static_cast<std::uint32_t>(name.size()));
  append(out, as_bytes(name));
}
void put_short_name(Bytes& out, const std::string& name) {
  CHECK(!name.empty() && name.size() <= kMaxNameBytes);
  put8(out, static_cast<std::uint8_t>(name.size()));
  append(out, as_bytes(name));
}

// The length is filled in by end_own().
std::size_t begin_own(Bytes& out, std::uint32_t type) {
  put(out, type);
  put(out, std::uint32_t{0});
  return out.size();
}
void end_own(Bytes& out, std::size_t begin) {
  put_be32(out.data() + begin - 4, static_cast<std::uint32_t>(out.size() - begin));
}

// Frames of `type` that begin with `head`, until all positions are in one.
void put_positions(Bytes& out, std::uint32_t type, ByteView head, const PositionList& positions) {
  std::size_t next = 0;
  do {
    std::size_t begin = begin_own(out, type);
    append(out, head);
    for (; next < positions.size(); ++next) {
      const auto& [name, position] = positions[next];
      if (out.size() - begin + 1 + name.size() + kPositionBytes > kMaxOwnFrameBytes) break;
      put_short_name(out, name);
      put_position(out, position);
    }
    end_own(out, begin);
  } while (next < positions.size());
}

// Reads the payload of one of our frames; every read beyond its end gives zeros and fails ok().
class PayloadReader {
 public:
  explicit PayloadReader(ByteView bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  bool empty() const { return bytes_.empty(); }
  ByteView take(std::size_t n) {
    if (n > bytes_.size()) {
      ok_ = false;
      n = bytes_.size();
    }
    ByteView taken = bytes_.first(n);
    bytes_ = bytes_.subspan(n);
    return taken;
  }
  std::uint8_t u8() {
    ByteView b = take(1);
    return ok_ ? b[0] : std::uint8_t{0};
  }
  std::uint16_t u16() {
    ByteView b = take(2);
    return ok_ ? get_be16(b.data()) : std::uint16_t{0};
  }
  std::uint32_t u32() {
    ByteView b = take(4);
    return ok_ ? get_be32(b.data()) : 0;
  }
  std::uint64_t u64() {
    ByteView b = take(8);
    return ok_ ? get_be64(b.data()) : 0;
  }
  std::string name() {
    std::size_t n = u8();
    if (n == 0 || n > kMaxNameBytes) ok_ = false;
    return std::string(as_text(take(n)));
  }
  std::string text() {
    std::size_t n = u16();
    if (n > kMaxTextBytes) ok_ = false;
    return std::string(as_text(take(n)));
  }
  Position position() {
    Txid txid(u64());
    return {txid, Checksum(u64())};
  }
  PositionList positions() {
    PositionList out;
    while (ok_ && !empty()) {
      std::string n = name();
      out.emplace_back(std::move(n), position());
    }
    return out;
  }

 private:
  ByteView bytes_;
  bool ok_ = true;
};

}  // namespace

std::string format_node_id(std::uint64_t id) { return fmt::format("{:016X}", id); }

// ---- encoding

void encode(Bytes& out, const LtxBegin& frame) {
  put(out, kLtx);
  put(out, std::uint64_t{0});
  put_name(out, frame.name);
}

void encode(Bytes& out, const LtxBytes& frame) {
  for (ByteView rest = frame.bytes; !rest.empty();) {
    ByteView chunk = rest.first(std::min(rest.size(), kMaxChunkBytes));
    put(out, static_cast<std::uint16_t>(chunk.size()));
    append(out, chunk);
    rest = rest.subspan(chunk.size());
  }
}

void encode(Bytes& out, const LtxEnd&) { put(out, std::uint16_t{0}); }
void encode(Bytes& out, const Ready&) { put(out, kReady); }
void encode(Bytes& out, const End&) { put(out, kEnd); }

void encode(Bytes& out, const DropDb& frame) {
  put(out, kDropDb);
  put_name(out, frame.name);
}

void encode(Bytes& out, const Handoff& frame) {
  CHECK(frame.lease_id.size() <= kMaxLeaseIdBytes);
  put(out, kHandoff);
  put(out, static_cast<std::uint32_t>(frame.lease_id.size()));
  append(out, as_bytes(frame.lease_id));
}

void encode(Bytes& out, const Hwm& frame) {
  put(out, kHwm);
  put(out, frame.txid.value());
  put_name(out, frame.name);
}

void encode(Bytes& out, const Heartbeat& frame) {
  put(out, kHeartbeat);
  put(out, static_cast<std::uint64_t>(frame.wall_ms));
}

void encode(Bytes& out, const Open& frame) {
  std::size_t begin = begin_own(out, kOpen);
  put(out, frame.channel);
  put_short_name(out, frame.name);
  end_own(out, begin);
}

void encode(Bytes& out, const Data& frame) {
  CHECK(frame.bytes.size() <= kMaxDataBytes);
  std::size_t begin = begin_own(out, kData);
  put(out, frame.channel);
  append(out, frame.bytes);
  end_own(out, begin);
}

void encode(Bytes& out, const Close& frame) {
  std::size_t begin = begin_own(out, kClose);
  put(out, frame.channel);
  put8(out, frame.complete ? 1 : 0);
  end_own(out, begin);
}

void encode(Bytes& out, const State& frame) {
  Bytes head;
  put(head, static_cast<std::uint64_t>(frame.wall_ms));
  put(head, frame.epoch);
  put_positions(out, kState, head, frame.positions);
}

void encode(Bytes& out, const Past& frame) {
  std::size_t begin = begin_own(out, kPast);
  put_short_name(out, frame.name);
  for (const Position& p : frame.positions) {
    if (out.size() - begin + kPositionBytes > kMaxOwnFrameBytes) break;
    put_position(out, p);
  }
  end_own(out, begin);
}

void encode(Bytes& out, const Facts& frame) {
  std::size_t begin = begin_own(out, kFacts);
  put8(out, static_cast<std::uint8_t>((frame.candidate ? 1 : 0) | (frame.stopping ? 2 : 0)));
  for (const std::string* text : {&frame.node, &frame.hostname, &frame.url, &frame.image, &frame.version}) {
    std::string_view cut = std::string_view(*text).substr(0, kMaxTextBytes);
    put(out, static_cast<std::uint16_t>(cut.size()));
    append(out, as_bytes(cut));
  }
  end_own(out, begin);
}

void encode(Bytes& out, const Held& frame) { put_positions(out, kHeld, {}, frame.positions); }

void encode(Bytes& out, const PositionMap& map) {
  CHECK(map.size() <= kMaxDatabases);
  put(out, static_cast<std::uint32_t>(map.size()));
  for (const auto& [name, position] : map) {
    put_name(out, name);
    put_position(out, position);
  }
}

// ---- FrameDecoder

Result<std::optional<Frame>> FrameDecoder::next(ByteView& in) {
  Result<std::optional<Frame>> frame = advance(in);
  if (!frame) step_ = Step::kBroken;
  return frame;
}

// True when pending_ has `size` bytes.
bool FrameDecoder::gather(ByteView& in, std::size_t size) {
  std::size_t n = std::min(size - pending_.size(), in.size());
  append(pending_, in.first(n));
  in = in.subspan(n);
  return pending_.size() == size;
}

Frame FrameDecoder::done(Frame frame) {
  pending_.clear();
  step_ = Step::kType;
  return frame;
}

Result<std::optional<Frame>> FrameDecoder::advance(ByteView& in) {
  for (;;) {
    switch (step_) {
      case Step::kType:
        if (!gather(in, 4)) return std::nullopt;
        type_ = get_be32(pending_.data());
        pending_.clear();
        if (type_ == kReady) return done(Ready{});
        if (type_ == kEnd) return done(End{});
        TRY(begin_frame());
        break;
      case Step::kBody: {
        if (!gather(in, wanted_)) return std::nullopt;
        TRY_ASSIGN(std::optional<Frame> frame, body_frame());
        if (frame) return frame;
        break;
      }
      case Step::kName:
        if (!gather(in, wanted_)) return std::nullopt;
        return name_frame();
      case Step::kChunkSize:
        if (!gather(in, 2)) return std::nullopt;
        left_ = get_be16(pending_.data());
        pending_.clear();
        if (left_ == 0) return done(LtxEnd{});
        step_ = Step::kChunk;
        break;
      case Step::kChunk: {
        if (in.empty()) return std::nullopt;
        ByteView bytes = in.first(std::min(in.size(), left_));
        in = in.subspan(bytes.size());
        left_ -= bytes.size();
        if (left_ == 0) step_ = Step::kChunkSize;
        return LtxBytes{bytes};
      }
      case Step::kOwnLength:
        if (!gather(in, wanted_)) return std::nullopt;
        TRY(begin_own());
        break;
      case Step::kOwnData: {
        if (left_ == 0) {
          step_ = Step::kType;
          break;
        }
        if (in.empty()) return std::nullopt;
        ByteView bytes = in.first(std::min(in.size(), left_));
        in = in.subspan(bytes.size());
        left_ -= bytes.size();
        return Data{channel_, bytes};
      }
      case Step::kOwnBody: {
        if (!gather(in, wanted_)) return std::nullopt;
        TRY_ASSIGN(Frame frame, own_frame());
        return done(std::move(frame));
      }
      case Step::kSkip: {
        std::size_t n = std::min(in.size(), left_);
        in = in.subspan(n);
        left_ -= n;
        if (left_ > 0) return std::nullopt;
        step_ = Step::kType;
        break;
      }
      case Step::kBroken:
        return corrupt("stream: the frame before was broken");
    }
  }
}

Status FrameDecoder::begin_frame() {
  step_ = Step::kBody;
  switch (type_) {
    case kLtx:
    case kHwm:
      wanted_ = 12;  // u64 size or TXID, u32 name length
      return {};
    case kDropDb:
    case kHandoff:
      wanted_ = 4;
      return {};
    case kHeartbeat:
      wanted_ = 8;
      return {};
    default:
      break;
  }
  if (own_ == Own::kRefused || (type_ & kOwnMask) != kOwnMark) {
    return corrupt("invalid stream frame type: 0x{:02x}", type_);
  }
  step_ = Step::kOwnLength;
  wanted_ = type_ == kData ? 8 : 4;
  return {};
}

// The fixed part of one of LiteFS's frames is there.
Result<std::optional<Frame>> FrameDecoder::body_frame() {
  if (type_ == kHeartbeat) return done(Heartbeat{static_cast<std::int64_t>(get_be64(pending_.data()))});
  bool numbered = type_ == kLtx || type_ == kHwm;
  if (numbered) number_ = get_be64(pending_.data());
  wanted_ = get_be32(pending_.data() + (numbered ? 8 : 0));
  std::size_t limit = type_ == kHandoff ? kMaxLeaseIdBytes : kMaxNameBytes;
  if (wanted_ == 0 || wanted_ > limit) {
    return corrupt("stream frame type {}: a name of {} bytes, 1 to {} are possible", type_, wanted_, limit);
  }
  pending_.clear();
  step_ = Step::kName;
  return std::nullopt;
}

Result<std::optional<Frame>> FrameDecoder::name_frame() {
  std::string name(as_text(pending_));
  if (type_ == kDropDb) return done(DropDb{std::move(name)});
  if (type_ == kHandoff) return done(Handoff{std::move(name)});
  if (type_ == kHwm) return done(Hwm{std::move(name), Txid(number_)});
  pending_.clear();
  step_ = Step::kChunkSize;
  return LtxBegin{std::move(name)};
}

// The length of one of ours is there, and of Data the channel.
Status FrameDecoder::begin_own() {
  std::size_t length = get_be32(pending_.data());
  std::size_t limit = type_ == kData ? kMaxDataBytes + 4 : kMaxOwnFrameBytes;
  if (length > limit || (type_ == kData && length < 4)) {
    return corrupt("stream frame type 0x{:08x} of {} bytes, at most {} are possible", type_, length, limit);
  }
  if (type_ == kData) {
    channel_ = get_be32(pending_.data() + 4);
    left_ = length - 4;
    step_ = Step::kOwnData;
  } else {
    bool known = (type_ >= kOpen && type_ <= kPast) || type_ == kFacts || type_ == kHeld;
    step_ = known ? Step::kOwnBody : Step::kSkip;
    wanted_ = left_ = length;
  }
  pending_.clear();
  return {};
}

Result<Frame> FrameDecoder::own_frame() {
  PayloadReader in(pending_);
  Frame frame;
  bool open_end = false;  // a later version may add something behind what is known
  switch (type_) {
    case kOpen: {
      std::uint32_t channel = in.u32();
      frame = Open{channel, in.name()};
      open_end = true;
      break;
    }
    case kClose: {
      std::uint32_t channel = in.u32();
      frame = Close{channel, in.u8() == 1};
      open_end = true;
      break;
    }
    case kState: {
      State state;
      state.wall_ms = static_cast<std::int64_t>(in.u64());
      state.epoch = in.u64();
      state.positions = in.positions();
      frame = std::move(state);
      break;
    }
    case kPast: {
      Past past{in.name(), {}};
      while (in.ok() && !in.empty()) past.positions.push_back(in.position());
      frame = std::move(past);
      break;
    }
    case kFacts: {
      std::uint8_t flags = in.u8();
      Facts facts{.candidate = (flags & 1) != 0, .stopping = (flags & 2) != 0};
      for (std::string* text : {&facts.node, &facts.hostname, &facts.url, &facts.image, &facts.version})
        *text = in.text();
      frame = std::move(facts);
      open_end = true;
      break;
    }
    default:
      frame = Held{in.positions()};
      break;
  }
  if (!in.ok() || (!open_end && !in.empty())) {
    return corrupt("stream frame type 0x{:08x}: {} bytes do not fit its form", type_, pending_.size());
  }
  return frame;
}

// ---- PositionMapDecoder

bool PositionMapDecoder::gather(ByteView& in, std::size_t size) {
  std::size_t n = std::min(size - pending_.size(), in.size());
  append(pending_, in.first(n));
  in = in.subspan(n);
  return pending_.size() == size;
}

Result<bool> PositionMapDecoder::feed(ByteView& in) {
  for (;;) {
    switch (step_) {
      case Step::kCount:
        if (!gather(in, 4)) return false;
        left_ = get_be32(pending_.data());
        if (left_ > kMaxDatabases) return corrupt("position map of {} databases, at most {}", left_, kMaxDatabases);
        step_ = left_ == 0 ? Step::kDone : Step::kNameSize;
        break;
      case Step::kNameSize:
        if (!gather(in, 4)) return false;
        name_size_ = get_be32(pending_.data());
        if (name_size_ == 0 || name_size_ > kMaxNameBytes) {
          return corrupt("position map: a name of {} bytes, 1 to {} are possible", name_size_, kMaxNameBytes);
        }
        step_ = Step::kEntry;
        break;
      case Step::kEntry: {
        if (!gather(in, name_size_ + kPositionBytes)) return false;
        const std::uint8_t* numbers = pending_.data() + name_size_;
        std::string name(as_text(ByteView(pending_).first(name_size_)));
        map_[std::move(name)] = {Txid(get_be64(numbers)), Checksum(get_be64(numbers + 8))};
        step_ = --left_ == 0 ? Step::kDone : Step::kNameSize;
        break;
      }
      case Step::kDone:
        return true;
    }
    pending_.clear();
  }
}

}  // namespace caddis::replica
