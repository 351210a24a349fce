#include "proxy/rewrite.h"

#include <algorithm>
#include <charconv>

#include "loop/stream.h"
#include "proxy/cookies.h"
#include "proxy/request_time.h"

namespace caddis::proxy {
namespace {

using http::equal_ignoring_case;
using http::Field;

bool has_underscore(std::string_view name) { return name.find('_') != std::string_view::npos; }

// As WSGI and CGI see it: HTTP_X_FORWARDED_FOR stands for both spellings.
bool same_to_a_framework(std::string_view name, std::string_view dashed) {
  return std::equal(name.begin(), name.end(), dashed.begin(), dashed.end(), [](char a, char b) {
    char la = a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a == '_' ? '-' : a;
    char lb = b >= 'A' && b <= 'Z' ? static_cast<char>(b + 32) : b;
    return la == lb;
  });
}

// Names whose value the proxy or Fly vouches for; the underscore form is nobody's.
Known classify_vouched(std::string_view name) {
  struct Entry {
    std::string_view name;
    Known kind;
  };
  constexpr Entry kEntries[] = {
      {"x-forwarded-for", Known::kForwardedFor},   {"x-forwarded-proto", Known::kForwardedProto},
      {"x-forwarded-host", Known::kForwardedHost}, {"x-request-start", Known::kRequestStart},
      {"fly-request-id", Known::kFlyRequestId},    {"fly-replay-src", Known::kReplaySource},
      {"fly-replay-failed", Known::kReplaySource}, {kForwardMark, Known::kForwardMark},
  };
  for (const Entry& e : kEntries) {
    if (e.name.size() == name.size() && same_to_a_framework(name, e.name)) {
      return has_underscore(name) ? Known::kDropped : e.kind;
    }
  }
  constexpr std::string_view kReplay = "fly-replay";
  bool replay = name.size() >= kReplay.size() && same_to_a_framework(name.substr(0, kReplay.size()), kReplay);
  return replay ? Known::kDropped : Known::kOther;
}

Known classify_hop_by_hop(std::string_view name) {
  auto is = [&](std::string_view other) { return equal_ignoring_case(name, other); };
  switch (name.size()) {
    case 2:
      return is("TE") ? Known::kDropped : Known::kOther;
    case 7:
      return is("Upgrade") ? Known::kUpgrade : is("Trailer") ? Known::kDropped : Known::kOther;
    case 10:
      return is("Connection") ? Known::kConnection : is("Keep-Alive") ? Known::kDropped : Known::kOther;
    case 14:
      return is("Content-Length") ? Known::kFraming : is("HTTP2-Settings") ? Known::kDropped : Known::kOther;
    case 16:
      return is("Proxy-Connection") ? Known::kDropped : Known::kOther;
    case 17:
      return is("Transfer-Encoding") ? Known::kFraming : Known::kOther;
    case 19:
      return is("Proxy-Authorization") ? Known::kDropped : Known::kOther;
    default:
      return Known::kOther;
  }
}

Known classify_request(std::string_view name) {
  char first = name.front();
  if (first == 'x' || first == 'X' || first == 'f' || first == 'F' || first == 'c' || first == 'C') {
    Known kind = classify_vouched(name);
    if (kind != Known::kOther) return kind;
  }
  if (name.size() == 4 && equal_ignoring_case(name, "Host")) return Known::kHost;
  if (name.size() == 6 && equal_ignoring_case(name, "Cookie")) return Known::kCookie;
  return classify_hop_by_hop(name);
}

template <class F>
void for_each_token(std::string_view list, F&& each) {
  while (!list.empty()) {
    std::size_t comma = std::min(list.find(','), list.size());
    std::string_view token = list.substr(0, comma);
    while (!token.empty() && (token.front() == ' ' || token.front() == '\t')) token.remove_prefix(1);
    while (!token.empty() && (token.back() == ' ' || token.back() == '\t')) token.remove_suffix(1);
    if (!token.empty()) each(token);
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
}

// A client may not take away by Connection what an edge before us has added, nor what the message stands on.
bool may_be_named(std::string_view name, Known kind) {
  return kind == Known::kOther && !(name.size() > 4 && equal_ignoring_case(name.substr(0, 4), "fly-")) &&
         !equal_ignoring_case(name, "X-Real-IP") && !equal_ignoring_case(name, "X-Forwarded-Port") &&
         !equal_ignoring_case(name, "X-Forwarded-Ssl") && !equal_ignoring_case(name, "Forwarded") &&
         !equal_ignoring_case(name, "Via") && !equal_ignoring_case(name, "Authorization");
}

bool usual_token(std::string_view token) {
  return equal_ignoring_case(token, "close") || equal_ignoring_case(token, "keep-alive") ||
         equal_ignoring_case(token, "upgrade");
}

bool is_connection(const Field& f) { return f.name.size() == 10 && equal_ignoring_case(f.name, "Connection"); }

bool named_by_connection(const std::vector<Field>& fields, std::string_view name) {
  return std::any_of(fields.begin(), fields.end(),
                     [&](const Field& f) { return is_connection(f) && http::list_has_token(f.value, name); });
}

void drop_named(const std::vector<Field>& fields, std::vector<Known>& kinds) {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    bool drop = may_be_named(fields[i].name, kinds[i]) && named_by_connection(fields, fields[i].name);
    if (drop) kinds[i] = Known::kDropped;
  }
}

// h2c and other HTTP versions would carry requests past every decision made here.
bool can_be_tunnelled(std::string_view protocols) {
  bool any = false, other_http = false;
  for_each_token(protocols, [&](std::string_view p) {
    any = true;
    other_http =
        other_http || equal_ignoring_case(p.substr(0, 3), "h2c") || equal_ignoring_case(p.substr(0, 4), "HTTP");
  });
  return any && !other_http;
}

// Runs of kept lines leave in one piece, for they stand side by side in the head.
class LineCopier {
 public:
  explicit LineCopier(std::string& out) : out_(out) {}
  void keep(std::string_view line) {
    if (run_.data() + run_.size() == line.data()) {
      run_ = std::string_view(run_.data(), run_.size() + line.size());
      return;
    }
    out_ += run_;
    run_ = line;
  }
  void finish() { out_ += run_; }

 private:
  std::string& out_;
  std::string_view run_;
};

void append_line(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

void append_length(std::string& out, std::uint64_t length) {
  char digits[24];
  auto [end, ec] = std::to_chars(std::begin(digits), std::end(digits), length);
  append_line(out, "Content-Length", std::string_view(digits, static_cast<std::size_t>(end - digits)));
}

}  // namespace

void read_request(const http::RequestView& request, const std::vector<Field>& fields, bool fly, RequestNotes& out) {
  std::vector<Known> kinds = std::move(out.kinds);
  kinds.clear();
  out = RequestNotes{};
  bool wants_upgrade = false, unusual = false;
  const Field* protocols = nullptr;
  bool several_protocols = false;
  std::optional<std::int64_t> start_ms, fly_ms;
  for (const Field& f : fields) {
    Known kind = classify_request(f.name);
    switch (kind) {
      case Known::kConnection:
        for_each_token(f.value, [&](std::string_view token) {
          wants_upgrade = wants_upgrade || equal_ignoring_case(token, "upgrade");
          unusual = unusual || !usual_token(token);
        });
        break;
      case Known::kUpgrade:
        several_protocols = protocols != nullptr;
        protocols = &f;
        break;
      case Known::kCookie:
        if (!out.txid) {
          if (auto value = find_cookie(f.value, kTxidCookie)) out.txid = parse_txid_cookie(*value);
        }
        if (out.txids.empty()) out.txids = find_cookie(f.value, kTxidsCookie).value_or(std::string_view());
        break;
      case Known::kForwardMark:
        out.forwarded = true;
        out.marked_write = out.marked_write || f.value == "write";
        break;
      case Known::kReplaySource:
        if (fly && f.name.size() == std::string_view("fly-replay-src").size()) {
          out.replayed = true;
          out.marked_write = out.marked_write || f.value.find(kWriteState) != std::string_view::npos;
        }
        break;
      case Known::kRequestStart:
        if (fly) start_ms = parse_request_start(f.value);
        break;
      case Known::kFlyRequestId:
        if (fly) fly_ms = parse_fly_request_id(f.value);
        break;
      default:
        break;
    }
    kinds.push_back(kind);
  }
  if (unusual) drop_named(fields, kinds);
  out.upgrade =
      wants_upgrade && protocols && !several_protocols && request.minor == 1 && can_be_tunnelled(protocols->value);
  out.seen_ms = fly_ms ? fly_ms : start_ms;  // a client can send the second through more edges than the first
  out.kinds = std::move(kinds);
}

void append_request(std::string& out, const http::RequestView& request, const std::vector<Field>& fields,
                    const RequestNotes& notes, const RequestRoute& route) {
  out.append(request.method).append(" ");
  if (request.target.empty() || request.target.front() == '?') out += '/';
  out.append(request.target).append(" HTTP/1.1\r\n");
  append_line(out, "Host", request.authority.empty() ? route.default_host : request.authority);
  LineCopier lines(out);
  bool proto = false, host = false, by_proxies = false;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    switch (notes.kinds[i]) {
      case Known::kDropped:
      case Known::kHost:
      case Known::kConnection:
      case Known::kFraming:
      case Known::kForwardMark:
        continue;
      case Known::kReplaySource:
        if (!route.fly) continue;
        break;
      case Known::kUpgrade:
        if (!route.upgrade) continue;
        break;
      case Known::kForwardedFor:
        by_proxies = true;
        if (!route.fly) continue;
        break;
      case Known::kForwardedProto:
        proto = true;
        break;
      case Known::kForwardedHost:
        host = true;
        break;
      default:
        break;
    }
    lines.keep(fields[i].line);
  }
  lines.finish();
  // Fly's proxy has named the client; its own address would only shift what apps count from the right.
  if (!route.fly || !by_proxies) {
    out += "X-Forwarded-For: ";
    for (std::size_t i = 0; by_proxies && i < fields.size(); ++i) {
      if (notes.kinds[i] == Known::kForwardedFor && !fields[i].value.empty()) out.append(fields[i].value).append(", ");
    }
    out.append(route.client_ip).append("\r\n");
  }
  if (!proto) out += "X-Forwarded-Proto: http\r\n";
  if (!host && !request.authority.empty()) append_line(out, "X-Forwarded-Host", request.authority);
  if (!route.mark.empty()) append_line(out, kForwardMark, route.mark);
  if (route.upgrade) out += "Connection: Upgrade\r\n";
  if (request.body.kind == http::BodyFraming::Kind::kChunked) out += "Transfer-Encoding: chunked\r\n";
  if (request.body.kind == http::BodyFraming::Kind::kLength) {
    append_length(out, request.body.length);
  }
  out += "\r\n";
}

http::BodyFraming::Kind append_response(std::string& out, const http::ResponseView& response,
                                        const std::vector<Field>& fields, const ResponseRoute& route) {
  using Kind = http::BodyFraming::Kind;
  out += "HTTP/1.1 ";
  out += static_cast<char>('0' + response.status / 100);
  out += static_cast<char>('0' + response.status / 10 % 10);
  out += static_cast<char>('0' + response.status % 10);
  out.append(" ").append(response.reason).append("\r\n").append(route.own_fields);
  // Without a body (HEAD, 304) Content-Length is about the representation and stays.
  bool length_stays = response.body.kind == Kind::kNone && response.status >= 200 && response.status != 204;
  bool names_fields = std::any_of(fields.begin(), fields.end(),
                                  [](const Field& f) { return is_connection(f) && !usual_token(f.value); });
  LineCopier lines(out);
  for (std::size_t i = 0; i < fields.size(); ++i) {
    Known kind = classify_hop_by_hop(fields[i].name);
    bool keep = kind == Known::kOther;
    if (kind == Known::kUpgrade) keep = route.upgrade || response.status == 426;
    if (kind == Known::kFraming) keep = length_stays && fields[i].name.size() == 14;
    if (keep && names_fields && kind == Known::kOther) keep = !named_by_connection(fields, fields[i].name);
    if (keep) lines.keep(fields[i].line);
  }
  lines.finish();
  Kind kind = response.body.kind;
  if (kind == Kind::kChunked || kind == Kind::kUntilClose) {
    kind = route.client_minor >= 1 ? Kind::kChunked : Kind::kUntilClose;
  }
  if (kind == Kind::kLength) {
    append_length(out, response.body.length);
  }
  if (kind == Kind::kChunked) out += "Transfer-Encoding: chunked\r\n";
  if (route.upgrade) out += "Connection: Upgrade\r\n";
  if (route.close || kind == Kind::kUntilClose) out += "Connection: close\r\n";
  out += "\r\n";
  return kind;
}

bool asks_for_replay(const std::vector<Field>& fields) {
  return std::any_of(fields.begin(), fields.end(),
                     [](const Field& f) { return equal_ignoring_case(f.name, "fly-replay") && !f.value.empty(); });
}

std::string_view ip_of_peer(std::string_view peer) {
  if (peer.starts_with('[')) {
    peer = peer.substr(1, peer.find(']') - 1);
  } else {
    peer = peer.substr(0, peer.rfind(':'));
  }
  constexpr std::string_view kMapped = "::ffff:";
  bool mapped = peer.starts_with(kMapped) && peer.find('.') != std::string_view::npos;
  return mapped ? peer.substr(kMapped.size()) : peer;
}

std::string derive_proxy_url(std::string_view advertise_url, std::string_view own_proxy_addr) {
  auto url = http::parse_url(advertise_url);
  auto own = loop::parse_host_port(own_proxy_addr);
  if (!url || !own || own->port == 0) return "";
  bool v6 = url->host.find(':') != std::string::npos;
  return fmt::format("http://{}{}{}:{}", v6 ? "[" : "", url->host, v6 ? "]" : "", own->port);
}

}  // namespace caddis::proxy
