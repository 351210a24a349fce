#include "api/node_port.h"

#include <unistd.h>

#include <utility>

#include "api/node_metrics.h"
#include "api/transfer.h"
#include "base/log.h"
#include "base/mutex.h"
#include "db/log.h"
#include "http/server.h"

namespace caddis::api {

using loop::Task;

struct NodePort::Impl {
  Impl(loop::Loop& l, NodePortHooks h) : loop(l), hooks(std::move(h)), node_metrics(*hooks.metrics) {}

  Task<void> route(http::Request& request, http::ResponseWriter& w);
  Task<void> health(http::ResponseWriter& w);
  Task<void> metrics(http::ResponseWriter& w);
  Task<void> export_database(http::Request& request, http::ResponseWriter& w);
  Task<void> import_database(http::Request& request, http::ResponseWriter& w);
  Task<void> refuse(http::ResponseWriter& w, int status, std::string message);
  http::Headers headers(std::string content_type = "text/plain; charset=utf-8") const;
  std::string render_metrics(NodeFacts facts, db::Engine* engine);

  loop::Loop& loop;
  NodePortHooks hooks;
  std::unique_ptr<http::Server> server;
  std::uint16_t port = 0;
  Mutex render_mutex;  // two scrapes may be rendered on two pool threads
  NodeMetrics node_metrics GUARDED_BY(render_mutex);
};

namespace {

// What LiteFS answers by the kind of failure: the request's own fault, no room for it, or ours.
int import_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kCorrupt:
    case ErrorCode::kInvalid:
    case ErrorCode::kNotFound:
      return 400;
    case ErrorCode::kNoSpace:
      return 507;
    case ErrorCode::kBusy:
    case ErrorCode::kReadOnly:
      return 503;
    default:
      return 500;
  }
}

struct Route {
  std::string_view path;
  std::string_view method;
};
constexpr Route kRoutes[] = {{"/info", "GET"},   {"/health", "GET"},  {"/metrics", "GET"},
                             {"/export", "GET"}, {"/import", "POST"}, {"/caddis/v1/status", "GET"}};

// 200 when there is such a route, else 404 or 405. HEAD is a GET whose body is not sent.
int find_route(std::string_view path, std::string_view method) {
  for (const Route& route : kRoutes) {
    if (route.path == path) return route.method == method || (method == "HEAD" && route.method == "GET") ? 200 : 405;
  }
  return 404;
}

}  // namespace

Result<std::unique_ptr<NodePort>> NodePort::bind(loop::Loop& loop, const std::vector<ListenAddress>& addresses,
                                                 NodePortHooks hooks) {
  auto impl = std::make_shared<Impl>(loop, std::move(hooks));
  // The handler keeps what it uses: it may end after the port has been closed (which ends the circle).
  http::Handler handler = [impl](http::Request& request, http::ResponseWriter& w) { return impl->route(request, w); };
  for (const ListenAddress& address : addresses) {
    Status bound;
    if (!impl->server) {
      auto server = http::Server::listen(loop, address.text, handler);
      if (server)
        impl->server = std::move(*server);
      else
        bound = std::unexpected(std::move(server).error());
    } else if (auto port = impl->server->also_listen(address.text); !port) {
      bound = std::unexpected(std::move(port).error());
    }
    if (!bound && !address.optional) return std::unexpected(std::move(bound).error());
    if (!bound) log_debug("node port: address left out", {{"cause", bound.error().message()}});
  }
  CHECK(impl->server != nullptr);
  impl->port = impl->server->port();
  return std::unique_ptr<NodePort>(new NodePort(std::move(impl)));
}

NodePort::NodePort(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
NodePort::~NodePort() { close(); }
void NodePort::serve() { impl_->server->serve(); }
void NodePort::close() { impl_->server.reset(); }
std::uint16_t NodePort::port() const { return impl_->port; }

http::Headers NodePort::Impl::headers(std::string content_type) const {
  http::Headers h{{"Content-Type", std::move(content_type)}, {"Litefs-Id", hooks.node_id}};
  std::string cluster_id = hooks.facts().cluster_id;
  if (!cluster_id.empty()) h.add("Litefs-Cluster-Id", std::move(cluster_id));
  return h;
}

Task<void> NodePort::Impl::refuse(http::ResponseWriter& w, int status, std::string message) {
  http::Headers h = headers();
  h.add("X-Content-Type-Options", "nosniff");
  (void)co_await w.send(status, std::move(h), message + "\n");
}

Task<void> NodePort::Impl::route(http::Request& request, http::ResponseWriter& w) {
  const std::string& path = request.target.path;
  int status = find_route(path, request.method);
  if (status != 200) {
    std::string message = status == 404 ? "404 page not found" : "method not allowed";
    if (!path.starts_with("/caddis/")) co_return co_await refuse(w, status, std::move(message));
    (void)co_await w.send(status, headers("application/json"), error_json(message));
  } else if (path == "/info") {
    (void)co_await w.send(200, headers(), info_json(hooks.facts()));
  } else if (path == "/health") {
    co_await health(w);
  } else if (path == "/metrics") {
    co_await metrics(w);
  } else if (path == "/export") {
    co_await export_database(request, w);
  } else if (path == "/import") {
    co_await import_database(request, w);
  } else {
    (void)co_await w.send(200, headers("application/json"), status_json(hooks.facts()));
  }
}

Task<void> NodePort::Impl::health(http::ResponseWriter& w) {
  std::string reason = hooks.facts().not_ready;
  if (!reason.empty()) co_return co_await refuse(w, 503, std::move(reason));
  (void)co_await w.send(200, headers(), std::string("ok\n"));
}

std::string NodePort::Impl::render_metrics(NodeFacts facts, db::Engine* engine) {
  for (DatabaseFacts& db : facts.databases) {
    Result<std::vector<db::LogEntry>> entries = engine->log().list(db.name);
    if (!entries) continue;
    db.ltx_count = entries->size();
    for (const db::LogEntry& entry : *entries) db.ltx_bytes += entry.size_bytes;
  }
  MutexLock lock(render_mutex);
  node_metrics.update(facts);
  return hooks.metrics->render();
}

Task<void> NodePort::Impl::metrics(http::ResponseWriter& w) {
  NodeFacts facts = hooks.facts();
  db::Engine* engine = hooks.engine();
  if (engine == nullptr) facts.databases.clear();
  auto render = [this, &facts, engine] { return render_metrics(std::move(facts), engine); };
  std::string text = co_await loop::offload(loop, render);
  (void)co_await w.send(200, {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}}, std::move(text));
}

Task<void> NodePort::Impl::export_database(http::Request& request, http::ResponseWriter& w) {
  const std::string* name = request.target.param("name");
  if (name == nullptr || name->empty()) co_return co_await refuse(w, 400, "name required");
  db::Engine* engine = hooks.engine();
  if (engine == nullptr) co_return co_await refuse(w, 503, "starting or stopping");
  std::shared_ptr<db::Database> database = engine->find(*name);
  if (database == nullptr || database->page_count() == 0) co_return co_await refuse(w, 404, "database not found");
  auto snapshot = co_await take_snapshot(loop, *engine, database);
  if (!snapshot) co_return co_await refuse(w, 500, "write snapshot: " + snapshot.error().message());
  Status sent = co_await send_snapshot(loop, std::move(*snapshot), headers(), w);
  if (!sent) log_warn("export was cut off", {{"db", *name}, {"cause", sent.error().message()}});
}

Task<void> NodePort::Impl::import_database(http::Request& request, http::ResponseWriter& w) {
  const std::string* name = request.target.param("name");
  if (name == nullptr || name->empty()) co_return co_await refuse(w, 400, "name required");
  Status valid = db::validate_name(*name);
  if (!valid) co_return co_await refuse(w, 400, valid.error().message());
  if (hooks.engine() == nullptr || !hooks.facts().primary) co_return co_await refuse(w, 503, "lease expired");
  Result<std::string> path = co_await receive_file(loop, hooks.import_dir, request);
  if (!path) co_return co_await refuse(w, import_status(path.error().code()), "import: " + path.error().message());
  Status imported = co_await hooks.import(*name, *path, request.stop());
  ::unlink(path->c_str());
  if (!imported) co_return co_await refuse(w, import_status(imported.error().code()), imported.error().message());
  log_info("imported database", {{"db", *name}});
  (void)co_await w.send(200, headers(), std::string());
}

}  // namespace caddis::api
