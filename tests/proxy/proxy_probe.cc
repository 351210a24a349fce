// The proxy with a node that is scripted over stdin, so that real clients and servers can be put around it.
//
//   proxy_probe --addr 127.0.0.1:0 --target localhost:8081 [--db app.db] [--more-db NAME]... [--passthrough PATTERN]...
//               [--always-forward PATTERN]... [--fly] [--debug] [--bound] [--OPTION-ms N]...
//
// Prints "listening PORT", then answers each line of stdin with "ok …" or "error …":
//   role primary | role none | role replica HOSTNAME [PROXY_URL]      gate open|shut
//   txid DB N | primary-txid DB N | lag MS | refuse-write | capture fail|fine | capture-ms N
//   start | drain | stop GRACE_MS | metrics | running | times
// The end of stdin ends it. `proxy_probe --hello ADDR` is a small app instead: caddis's own server, 13 bytes for any
// GET.
#include <unistd.h>

#include <cstdio>
#include <map>
#include <sstream>

#include "base/log.h"
#include "http/server.h"
#include "proxy/proxy.h"
#include "proxy/scripted_node.h"

namespace {

using namespace caddis;
using proxy::testing_support::ScriptedGate;
using proxy::testing_support::ScriptedNode;

struct Probe {
  loop::Loop loop;
  ScriptedNode node{loop};
  ScriptedGate gate;
  Metrics metrics;
  std::unique_ptr<proxy::Proxy> proxy;
  loop::FdWatch input;
  std::string line;
};

void say(const std::string& text) {
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

loop::Detached stop(Probe& p, std::int64_t grace_ms) {
  co_await p.proxy->stop(grace_ms);
  say("ok stopped");
}

std::string run(Probe& p, const std::string& text) {
  std::istringstream in(text);
  std::string verb, a, b, c;
  in >> verb >> a >> b >> c;
  auto number = [](const std::string& s) { return std::strtoll(s.c_str(), nullptr, 0); };
  if (verb == "role")
    p.node.set_role({.primary = a == "primary", .hostname = b, .proxy_url = c});
  else if (verb == "gate")
    p.gate.set(a == "open");
  else if (verb == "txid")
    p.node.set_txid(a, static_cast<std::uint64_t>(number(b)));
  else if (verb == "primary-txid")
    p.node.set_primary_txid(a, static_cast<std::uint64_t>(number(b)));
  else if (verb == "lag")
    p.node.lag = number(a);
  else if (verb == "refuse-write")
    p.node.refuse_write();
  else if (verb == "capture")
    p.node.capture_fails = a == "fail";
  else if (verb == "capture-ms")
    p.node.capture_ms = number(a);
  else if (verb == "start") {
    Status ok = p.proxy->start();
    return ok ? "ok" : "error " + ok.error().message();
  } else if (verb == "drain")
    p.proxy->drain();
  else if (verb == "stop") {
    stop(p, number(a));
    return "";
  } else if (verb == "metrics") {
    std::string all = p.metrics.render(), out;
    std::istringstream lines(all);
    for (std::string one; std::getline(lines, one);) {
      if (!one.starts_with('#')) out += one + ";";
    }
    return "ok " + out;
  } else if (verb == "running")
    return "ok " + std::to_string(p.proxy->running());
  else if (verb == "times") {
    std::string out = "ok";
    for (std::int64_t t : p.node.request_times) out += " " + std::to_string(t);
    return out;
  } else
    return "error unknown: " + text;
  return "ok";
}

void on_input(Probe& p) {
  char buf[4096];
  ssize_t n = ::read(0, buf, sizeof buf);
  if (n <= 0) {
    p.input.stop();
    p.loop.stop();
    return;
  }
  p.line.append(buf, static_cast<std::size_t>(n));
  for (std::size_t end; (end = p.line.find('\n')) != std::string::npos;) {
    std::string one = p.line.substr(0, end);
    p.line.erase(0, end + 1);
    std::string reply = run(p, one);
    if (!reply.empty()) say(reply);
  }
}

int serve_hello(const std::string& addr) {
  loop::Loop loop;
  auto answer = [](http::Request&, http::ResponseWriter& w) -> loop::Task<void> {
    (void)co_await w.send(200, {}, std::string("Hello, World!"));
  };
  auto server = http::Server::listen(loop, addr, answer);
  if (!server) {
    std::fprintf(stderr, "ERROR: %s\n", server.error().message().c_str());
    return 1;
  }
  (*server)->serve();
  say("listening " + std::to_string((*server)->port()));
  auto input = loop::watch_fd(loop, 0, [&loop] { loop.stop(); });
  loop.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--hello") return serve_hello(argv[2]);
  proxy::Options o{.db = "app.db"};
  bool bound = false;
  std::map<std::string, std::int64_t*> times = {
      {"--max-lag-ms", &o.max_lag_ms},
      {"--primary-redirect-timeout-ms", &o.primary_redirect_timeout_ms},
      {"--read-timeout-ms", &o.read_timeout_ms},
      {"--read-header-timeout-ms", &o.read_header_timeout_ms},
      {"--write-timeout-ms", &o.write_timeout_ms},
      {"--idle-timeout-ms", &o.idle_timeout_ms},
      {"--txid-timeout-ms", &o.txid_timeout_ms},
      {"--word-timeout-ms", &o.word_timeout_ms},
      {"--target-timeout-ms", &o.target_timeout_ms},
      {"--body-idle-ms", &o.body_idle_ms},
      {"--stall-ms", &o.stall_ms},
  };
  for (int i = 1; i < argc; ++i) {
    std::string flag = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    if (flag == "--fly" || flag == "--debug" || flag == "--bound") {
      (flag == "--fly" ? o.fly : flag == "--debug" ? o.debug : bound) = true;
      continue;
    }
    ++i;
    if (flag == "--addr")
      o.addr = value;
    else if (flag == "--target")
      o.target = value;
    else if (flag == "--db")
      o.db = value;
    else if (flag == "--more-db")
      o.more_dbs.push_back(value);
    else if (flag == "--passthrough")
      o.passthrough.push_back(value);
    else if (flag == "--always-forward")
      o.always_forward.push_back(value);
    else if (flag == "--max-connections")
      o.max_connections = static_cast<std::size_t>(std::atoll(value.c_str()));
    else if (times.contains(flag))
      *times[flag] = std::atoll(value.c_str());
    else {
      std::fprintf(stderr, "proxy_probe: unknown flag %s\n", flag.c_str());
      return 2;
    }
  }
  Probe p;
  p.node.set_role({.primary = true});
  p.proxy = std::make_unique<proxy::Proxy>(p.loop, o, p.node, p.gate, p.metrics);
  Status ok = bound ? p.proxy->listen() : p.proxy->start();
  if (!ok) {
    std::fprintf(stderr, "ERROR: %s\n", ok.error().message().c_str());
    return 1;
  }
  say("listening " + std::to_string(p.proxy->port()));
  auto watch = loop::watch_fd(p.loop, 0, [&p] { on_input(p); });
  if (!watch) return 1;
  p.input = std::move(*watch);
  p.loop.run();
  loop::run_until_done(p.loop, p.proxy->stop(0));
  p.proxy.reset();
  return 0;
}
