#include "replica/publisher.h"

#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "ltx/header.h"
#include "replica/follower_stream.h"
#include "replica/publisher_state.h"

namespace caddis::replica {
namespace {

constexpr std::size_t kMaxRecent = 256;       // files a database that are found without looking into its directory
constexpr std::size_t kManyDatabases = 2048;  // from here on fewer
constexpr std::size_t kFewRecent = 16;

// As LiteFS: what is no id counts as none.
std::uint64_t parse_node_id(std::string_view text) {
  std::uint64_t id = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id, 16);
  return text.size() == 16 && error == std::errc() && end == text.data() + text.size() ? id : 0;
}

std::set<std::string> parse_filter(const http::Target& target) {
  std::set<std::string> names;
  const std::string* text = target.param("filter");
  for (std::string_view rest = text == nullptr ? std::string_view() : *text; !rest.empty();) {
    std::size_t comma = std::min(rest.find(','), rest.size());
    if (comma > 0) names.emplace(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return names;
}

Task<void> refuse(http::ResponseWriter& w, http::Headers headers, int status, std::string text) {
  headers.add("X-Content-Type-Options", "nosniff");
  (void)co_await w.send(status, std::move(headers), text + "\n");
}

}  // namespace

const Durable* Publisher::State::find(const std::string& name) const {
  auto it = databases.find(name);
  return it == databases.end() ? nullptr : &it->second;
}

FollowerStream* Publisher::State::follower(std::uint64_t node_id) const {
  for (auto it = followers.rbegin(); it != followers.rend(); ++it) {
    if ((*it)->node_id() == node_id) return *it;
  }
  return nullptr;
}

void Publisher::State::take_moved() {
  std::map<std::string, Moved> batch;
  {
    MutexLock lock(mutex);
    batch.swap(moved);
  }
  std::size_t keep = databases.size() > kManyDatabases ? kFewRecent : kMaxRecent;
  for (auto& [name, m] : batch) {
    Durable& db = databases[name];
    if (m.gap) db.recent.clear();
    db.position = m.now.position;
    db.dropped = m.now.dropped;
    if (m.now.page_size_bytes != 0) db.page_size_bytes = m.now.page_size_bytes;
    db.recent.insert(db.recent.end(), std::make_move_iterator(m.now.recent.begin()),
                     std::make_move_iterator(m.now.recent.end()));
    if (db.recent.size() > 2 * keep)
      db.recent.erase(db.recent.begin(), db.recent.end() - static_cast<std::ptrdiff_t>(keep));
    for (FollowerStream* follower : followers) follower->moved(name);
  }
}

Publisher::Publisher(loop::Loop& loop, PublisherOptions options)
    : state_(std::make_shared<State>(loop, std::move(options))) {
  db::Engine& engine = *state_->options.engine;
  for (auto& [name, position] : engine.positions(true)) {
    std::shared_ptr<db::Database> live = engine.find(name);
    state_->databases[name] = {position, live == nullptr, live == nullptr ? 0 : live->page_size_bytes(), {}};
  }
}

Publisher::~Publisher() { end_term(); }

void Publisher::durable(const db::Commit& commit) {
  MutexLock lock(state_->mutex);
  if (state_->moved.empty()) {
    state_->loop.post([weak = state_->weak_from_this()] {
      if (auto state = weak.lock()) state->take_moved();
    });
  }
  State::Moved& m = state_->moved[commit.name];
  m.now.position = commit.position;
  m.now.dropped = commit.page_count == 0;
  if (commit.page_size_bytes != 0) m.now.page_size_bytes = commit.page_size_bytes;
  db::LogEntry entry{.min = commit.min, .max = commit.position.txid};
  entry.file_name = ltx::file_name(entry.min, entry.max);
  m.now.recent.push_back(std::move(entry));
  if (m.now.recent.size() > kMaxRecent) {  // the loop does not keep up
    m.now.recent.clear();
    m.gap = true;
  }
}

void Publisher::begin_term(std::uint64_t epoch) {
  state_->epoch = epoch;
  state_->in_term = true;
}

void Publisher::end_term() {
  state_->in_term = false;
  for (FollowerStream* follower : state_->followers) follower->end();
}

Task<void> Publisher::serve(http::Request& request, http::ResponseWriter& w) {
  std::shared_ptr<State> s = state_;
  http::Headers headers{{"Litefs-Id", format_node_id(s->options.node_id)}};
  std::string cluster = s->options.cluster_id ? s->options.cluster_id() : "";
  if (!cluster.empty()) headers.add("Litefs-Cluster-Id", cluster);
  if (request.major < 2) co_return co_await refuse(w, headers, 426, "Upgrade to HTTP/2 required");
  std::uint64_t node_id = parse_node_id(request.headers.get("Litefs-Id"));
  if (node_id == s->options.node_id) co_return co_await refuse(w, headers, 400, "cannot connect to self");
  if (!s->in_term) co_return co_await refuse(w, headers, 503, "lease expired");
  bool litefs = request.headers.get(kStreamHeader) != "1";

  PositionMapDecoder decoder;
  Bytes buffer(16 * 1024), rest;
  for (bool complete = false; !complete;) {
    Result<std::size_t> n = co_await request.read(buffer);
    if (n && *n == 0) n = corrupt("the position map is cut off");
    ByteView in = ByteView(buffer).first(n.value_or(0));
    Result<bool> fed = n ? decoder.feed(in) : Result<bool>(std::unexpected(n.error()));
    if (!fed) co_return co_await refuse(w, headers, 400, fed.error().message());
    complete = *fed;
    append(rest, in);
  }
  if (!s->in_term) co_return co_await refuse(w, headers, 503, "lease expired");
  if (s->followers.size() >= s->options.max_followers) {
    co_return co_await refuse(w, headers, 503, fmt::format("{} followers are connected", s->followers.size()));
  }
  if (FollowerStream* old = node_id == 0 ? nullptr : s->follower(node_id)) old->replace();
  if (!litefs) {
    headers.add(std::string(kStreamHeader), "1");
    headers.add(std::string(kEpochHeader), std::to_string(s->epoch));
  }
  FollowerStream follower(*s, request, w, node_id, litefs, parse_filter(request.target));
  if (!co_await w.begin(200, std::move(headers))) co_return;
  co_await follower.run(std::move(decoder.map()), std::move(rest));
  s->held.set();  // who waits for it has to know that it left
}

std::vector<Peer> Publisher::peers() const {
  std::vector<Peer> out;
  for (const FollowerStream* follower : state_->followers) out.push_back(follower->peer());
  return out;
}

PositionMap Publisher::positions() const {
  PositionMap out;
  for (const auto& [name, db] : state_->databases) out[name] = db.position;
  return out;
}

Task<HandoffSent> Publisher::hand_off(std::uint64_t node_id, std::string lease_id, std::int64_t timeout_ms,
                                      std::stop_token stop) {
  std::shared_ptr<State> s = state_;
  s->take_moved();  // what became durable before this was asked for goes out first
  FollowerStream* follower = s->follower(node_id);
  if (follower == nullptr) co_return HandoffSent{false, not_found("target node is not currently connected")};
  auto handoff = std::make_shared<FollowerStream::Handoff>(s->loop);
  handoff->lease_id = std::move(lease_id);
  follower->hand_off(handoff);
  Status waited = co_await handoff->done.wait(timeout_ms, stop);
  // Without an answer it is taken back, unless it is on its way already.
  if (!handoff->status) handoff->status = std::move(waited);
  co_return HandoffSent{handoff->begun, *handoff->status};
}

Task<Status> Publisher::until_held(std::uint64_t node_id, PositionMap wanted, std::int64_t timeout_ms,
                                   std::stop_token stop) {
  std::shared_ptr<State> s = state_;
  http::Deadline deadline(timeout_ms);
  for (;;) {
    FollowerStream* follower = s->follower(node_id);
    if (follower == nullptr) co_return not_found("node {} is not connected", format_node_id(node_id));
    if (follower->litefs()) {
      co_return make_error(ErrorCode::kUnsupported, "node {} runs LiteFS, which confirms nothing",
                           format_node_id(node_id));
    }
    if (follower->confirms(wanted)) co_return {};
    if (deadline.passed()) {
      co_return make_error(ErrorCode::kTimeout, "node {} has not confirmed within {} ms", format_node_id(node_id),
                           timeout_ms);
    }
    s->held.reset();
    Status waited = co_await s->held.wait(deadline.remaining_ms(), stop);
    if (!waited && waited.error().code() == ErrorCode::kCancelled) co_return waited;
  }
}

}  // namespace caddis::replica
