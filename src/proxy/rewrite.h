// Heads on their way through the proxy: what they say to it, and how they are sent on. Pure.
//   Dropped in both directions: hop-by-hop fields, those that Connection names, trailers and their announcement.
//   Requests also lose fly-replay* (on Fly only what Fly's proxy itself has added stays), the mark of a forwarding
//   node, and names that differ from one of these by an underscore, which many frameworks take for a dash.
//   Framing is stated anew from what the strict parser understood; everything else stays as it came, line by line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "http/parser.h"

namespace caddis::proxy {

// Set by a node's proxy on what it sends to the primary's: "request", or "write" for a read that turned out to write.
inline constexpr std::string_view kForwardMark = "Caddis-Forwarded";
// The same word in fly-replay's state=, which Fly hands on in fly-replay-src.
inline constexpr std::string_view kWriteState = "caddis-write";

enum class Known : std::uint8_t {
  kOther,
  kDropped,  // hop-by-hop, or not the client's to send
  kHost,
  kConnection,
  kFraming,
  kUpgrade,
  kCookie,
  kForwardedFor,
  kForwardedProto,
  kForwardedHost,
  kReplaySource,
  kForwardMark,
  kRequestStart,
  kFlyRequestId,
};

struct RequestNotes {
  std::vector<Known> kinds;  // of each field
  bool upgrade = false;      // to a protocol that may be tunnelled: not h2c, whose requests nobody would look at
  bool forwarded = false;    // kForwardMark
  bool replayed = false;     // fly-replay-src, on Fly
  bool marked_write = false;
  std::optional<Txid> txid;             // __txid
  std::string_view txids;               // __caddis_txids, not parsed
  std::optional<std::int64_t> seen_ms;  // by the edge, on Fly
};
// fly: the request came through Fly's proxy, whose fields are believed. out.kinds keeps its memory.
void read_request(const http::RequestView& request, const std::vector<http::Field>& fields, bool fly,
                  RequestNotes& out);

struct RequestRoute {
  std::string_view client_ip;
  std::string_view default_host;  // for HTTP/1.0 without Host
  bool upgrade = false;           // ask for the protocol change too
  bool fly = false;
  std::string_view mark;  // value of kForwardMark; empty: none
};
// Appends the head for the next server.
void append_request(std::string& out, const http::RequestView& request, const std::vector<http::Field>& fields,
                    const RequestNotes& notes, const RequestRoute& route);

struct ResponseRoute {
  int client_minor = 1;
  bool close = false;           // say so to the client
  bool upgrade = false;         // 101
  std::string_view own_fields;  // whole lines, before those of the app
};
// Appends the head for the client; how the body is to be framed for it.
http::BodyFraming::Kind append_response(std::string& out, const http::ResponseView& response,
                                        const std::vector<http::Field>& fields, const ResponseRoute& route);

// Answers like "fly-replay: instance=…".
bool asks_for_replay(const std::vector<http::Field>& fields);
// "[::1]:80" and "1.2.3.4:80" without the port, an IPv4 address without "::ffff:".
std::string_view ip_of_peer(std::string_view peer);
// "http://HOST:PORT" with the host of a node's advertised URL and the port of our own proxy address, since all nodes of
// a cluster have one configuration. Empty when one of them cannot be read.
std::string derive_proxy_url(std::string_view advertise_url, std::string_view own_proxy_addr);

}  // namespace caddis::proxy
