#include "replica/frames.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

namespace caddis::replica {
namespace {

Bytes golden(const std::string& name) {
  std::ifstream in(std::string(CADDIS_TESTDATA) + "/litefs/" + name, std::ios::binary);
  Bytes bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  EXPECT_FALSE(bytes.empty()) << name;
  return bytes;
}

struct Reading {
  std::vector<std::string> log;  // "ltx NAME", "N bytes", …
  Bytes again;                   // encoded
  std::string error;
  bool at_boundary = false;
};

std::string list(const PositionList& positions) {
  std::string out;
  for (const auto& [name, position] : positions) out += fmt::format(" {} {}", name, position);
  return out;
}

void note(const Frame& frame, Reading& r) {
  auto add = [&](std::string text) { r.log.push_back(std::move(text)); };
  std::visit([&](const auto& f) { encode(r.again, f); }, frame);
  if (const auto* ltx = std::get_if<LtxBegin>(&frame)) add("ltx " + ltx->name);
  if (const auto* bytes = std::get_if<LtxBytes>(&frame)) {
    if (!r.log.back().ends_with("bytes")) add("0 bytes");
    r.log.back() = fmt::format("{} bytes", std::stoul(r.log.back()) + bytes->bytes.size());
  }
  if (std::get_if<LtxEnd>(&frame)) add("ltx end");
  if (std::get_if<Ready>(&frame)) add("ready");
  if (std::get_if<End>(&frame)) add("end");
  if (const auto* drop = std::get_if<DropDb>(&frame)) add("drop " + drop->name);
  if (const auto* handoff = std::get_if<Handoff>(&frame)) add("handoff " + handoff->lease_id);
  if (const auto* hwm = std::get_if<Hwm>(&frame)) add(fmt::format("hwm {} {}", hwm->name, hwm->txid.value()));
  if (std::get_if<Heartbeat>(&frame)) add("heartbeat");
  if (const auto* open = std::get_if<Open>(&frame)) add(fmt::format("open {} {}", open->channel, open->name));
  if (const auto* data = std::get_if<Data>(&frame)) add(fmt::format("data {} {}", data->channel, data->bytes.size()));
  if (const auto* close = std::get_if<Close>(&frame)) add(fmt::format("close {} {}", close->channel, close->complete));
  if (const auto* state = std::get_if<State>(&frame)) {
    add(fmt::format("state {} {}{}", state->wall_ms, state->epoch, list(state->positions)));
  }
  if (const auto* past = std::get_if<Past>(&frame)) {
    add(fmt::format("past {} {}", past->name, past->positions.size()));
  }
  if (const auto* facts = std::get_if<Facts>(&frame)) {
    add(fmt::format("facts {} {} {} {} {} {} {}", facts->candidate, facts->stopping, facts->node, facts->hostname,
                    facts->url, facts->image, facts->version));
  }
  if (const auto* held = std::get_if<Held>(&frame)) add("held" + list(held->positions));
}

Reading read(ByteView bytes, std::size_t piece, FrameDecoder::Own own = FrameDecoder::Own::kAllowed) {
  Reading r;
  FrameDecoder decoder(own);
  while (!bytes.empty()) {
    ByteView in = bytes.first(std::min(piece, bytes.size()));
    bytes = bytes.subspan(in.size());
    for (;;) {
      Result<std::optional<Frame>> frame = decoder.next(in);
      if (!frame) {
        r.error = frame.error().message();
        return r;
      }
      if (!*frame) break;
      note(**frame, r);
    }
    EXPECT_TRUE(in.empty());
  }
  r.at_boundary = decoder.at_boundary();
  return r;
}

TEST(StreamFrames, OfLiteFsDecodeAndEncodeToTheSameBytes) {
  Bytes snapshot = golden("stream-snapshot.bin");
  Reading r = read(snapshot, snapshot.size(), FrameDecoder::Own::kRefused);
  EXPECT_EQ(r.error, "");
  EXPECT_EQ(r.again, snapshot);
  EXPECT_TRUE(r.at_boundary);
  std::vector<std::string> kinds;
  for (const std::string& line : r.log) {
    if (!line.ends_with("bytes") && (kinds.empty() || line != "heartbeat" || kinds.back() != line)) {
      kinds.push_back(line);
    }
  }
  EXPECT_EQ(kinds, (std::vector<std::string>{"ltx del.db", "ltx end", "ltx wal.db", "ltx end", "ready", "heartbeat",
                                             "ltx wal.db", "ltx end", "hwm wal.db 0", "ltx del.db", "ltx end",
                                             "hwm del.db 0", "heartbeat"}));
  Bytes incremental = golden("stream-incremental.bin");
  r = read(incremental, incremental.size(), FrameDecoder::Own::kRefused);
  EXPECT_EQ(r.error, "");
  EXPECT_EQ(r.again, incremental);
  EXPECT_EQ(r.log.front(), "drop gone.db");
}

TEST(StreamFrames, PositionMapOfLiteFsDecodesAndEncodesToTheSameBytes) {
  Bytes bytes = golden("stream-incremental.request.bin");
  for (std::size_t piece : {std::size_t{1}, std::size_t{7}, bytes.size()}) {
    PositionMapDecoder decoder;
    Bytes more = bytes;
    more.push_back(9);  // what follows is left alone
    ByteView rest = more;
    bool complete = false;
    while (!complete && !rest.empty()) {
      ByteView in = rest.first(std::min(piece, rest.size()));
      std::size_t before = in.size();
      Result<bool> fed = decoder.feed(in);
      ASSERT_TRUE(fed) << fed.error().message();
      complete = *fed;
      rest = rest.subspan(before - in.size());
    }
    EXPECT_TRUE(complete);
    EXPECT_EQ(rest.size(), 1u);
    EXPECT_EQ(decoder.map().size(), 2u);
    EXPECT_EQ(decoder.map()["wal.db"].txid, Txid(2));
    Bytes again;
    encode(again, decoder.map());
    EXPECT_EQ(again, bytes);
  }
}

Bytes every_frame() {
  Bytes out;
  Position p{Txid(7), Checksum(Checksum::kFlag | 5)};
  encode(out, LtxBegin{"a.db"});
  encode(out, LtxBytes{as_bytes("0123456789")});
  encode(out, LtxEnd{});
  encode(out, Hwm{"a.db", Txid(5)});
  encode(out, Ready{});
  encode(out, Heartbeat{1'700'000'000'123});
  encode(out, State{1'700'000'000'123, 9, {{"a.db", p}, {"b", p}}});
  encode(out, Open{3, "b"});
  encode(out, Data{3, as_bytes("xyz")});
  encode(out, Close{3, true});
  encode(out, Past{"b", {p, p}});
  encode(out, Facts{true, true, "id", "host", "http://h:20202", "img", "v1"});
  encode(out, Held{{{"b", p}}});
  encode(out, DropDb{"gone"});
  encode(out, Handoff{"11111111-2222"});
  encode(out, End{});
  return out;
}

TEST(StreamFrames, DecodeTheSameHoweverTheyAreCut) {
  Bytes bytes = every_frame();
  Reading whole = read(bytes, bytes.size());
  EXPECT_EQ(whole.error, "");
  EXPECT_EQ(whole.again, bytes);
  EXPECT_EQ(whole.log.size(), 16u);
  EXPECT_EQ(whole.log[6],
            "state 1700000000123 9 a.db 0000000000000007/8000000000000005 b "
            "0000000000000007/8000000000000005");
  for (std::size_t piece = 1; piece < 40; ++piece) {
    Reading r = read(bytes, piece);
    EXPECT_EQ(r.error, "");
    EXPECT_TRUE(r.at_boundary);
    if (piece >= 10) continue;
    std::erase_if(r.log, [](const std::string& line) { return line.starts_with("data 3"); });
    EXPECT_EQ(r.log.size(), 15u) << piece;
  }
  for (std::size_t size = 1; size < bytes.size(); ++size) {
    Reading r = read(ByteView(bytes).first(size), size);
    EXPECT_EQ(r.error, "");
  }
}

TEST(StreamFrames, HandoffAndEndHaveTheLayoutOfLiteFs) {
  Bytes out;
  encode(out, Handoff{"ab"});
  encode(out, End{});
  EXPECT_EQ(out, (Bytes{0, 0, 0, 5, 0, 0, 0, 2, 'a', 'b', 0, 0, 0, 3}));
}

TEST(StreamFrames, LengthsThatLieAreRefusedBeforeAnythingIsAllocated) {
  Bytes name{0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff};
  EXPECT_EQ(read(name, 8).error, "stream frame type 4: a name of 4294967295 bytes, 1 to 247 are possible");
  Bytes ltx{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(read(ltx, 16).error, "stream frame type 1: a name of 0 bytes, 1 to 247 are possible");
  Bytes own{0x63, 0x64, 0, 4, 0xff, 0xff, 0xff, 0xff};
  EXPECT_EQ(read(own, 8).error, "stream frame type 0x63640004 of 4294967295 bytes, at most 65536 are possible");
  Bytes data{0x63, 0x64, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1};
  EXPECT_EQ(read(data, 8).error, "stream frame type 0x63640002 of 4294967295 bytes, at most 1048580 are possible");
  Bytes type{0, 0, 0, 8};
  EXPECT_EQ(read(type, 8).error, "invalid stream frame type: 0x08");
  Bytes short_entry{0x63, 0x64, 0, 0x11, 0, 0, 0, 3, 1, 'a', 0};
  EXPECT_EQ(read(short_entry, 11).error, "stream frame type 0x63640011: 3 bytes do not fit its form");

  PositionMapDecoder many, long_name;
  Bytes count{0, 1, 0, 1};
  ByteView in = count;
  EXPECT_FALSE(many.feed(in));
  Bytes lie{0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff};
  in = lie;
  EXPECT_FALSE(long_name.feed(in));
}

TEST(StreamFrames, OfOursAreRefusedUnlessAnnouncedAndSkippedWhenUnknown) {
  Bytes own;
  encode(own, Open{1, "a"});
  EXPECT_EQ(read(own, 100, FrameDecoder::Own::kRefused).error, "invalid stream frame type: 0x63640001");
  Bytes unknown{0x63, 0x64, 0, 0x77, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 2};
  for (std::size_t piece = 1; piece < 16; ++piece) {
    EXPECT_EQ(read(unknown, piece).log, std::vector<std::string>{"ready"}) << piece;
  }
}

TEST(StreamFrames, ManyPositionsTakeSeveralFrames) {
  PositionList many;
  for (int i = 0; i < 20'000; ++i) many.emplace_back(fmt::format("database-{}", i), Position{Txid(1), Checksum(1)});
  Bytes bytes;
  encode(bytes, State{5, 6, many});
  FrameDecoder decoder(FrameDecoder::Own::kAllowed);
  ByteView in = bytes;
  PositionList got;
  int frames = 0;
  for (;;) {
    Result<std::optional<Frame>> frame = decoder.next(in);
    ASSERT_TRUE(frame) << frame.error().message();
    if (!*frame) break;
    const auto& state = std::get<State>(**frame);
    EXPECT_EQ(state.epoch, 6u);
    got.insert(got.end(), state.positions.begin(), state.positions.end());
    ++frames;
  }
  EXPECT_GT(frames, 5);
  EXPECT_EQ(got, many);
}

TEST(StreamFrames, FlippedBytesNeverDoMoreThanBreakTheStream) {
  std::mt19937 random(1);
  Bytes bytes = every_frame();
  for (int i = 0; i < 20'000; ++i) {
    Bytes changed = bytes;
    for (int n = 0; n < 3; ++n) changed[random() % changed.size()] = static_cast<std::uint8_t>(random());
    FrameDecoder decoder(FrameDecoder::Own::kAllowed);
    for (ByteView in = changed; !in.empty();) {
      Result<std::optional<Frame>> frame = decoder.next(in);
      if (!frame || !*frame) break;
    }
  }
}

}  // namespace
}  // namespace caddis::replica
