// The supervisor without the rest of caddis, for tests/supervise/run.py and for measuring.
//   supervise_probe [--stop-timeout MS] [--group] [--leave] [--user USER] [--unset NAME] [--timeout MS] [--list] --
//   CMD…
// --list: CMD… is an exec list, its entries separated by an argument ";;"; --timeout is for each entry.
#include <fmt/core.h>

#include <charconv>
#include <string_view>

#include "supervise/signals.h"
#include "supervise/supervisor.h"

int main(int argc, char** argv) {
  caddis::supervise::block_signals();
  caddis::supervise::SupervisorOptions options;
  std::int64_t timeout_ms = 0;
  bool list = false;
  auto usage = [] {
    fmt::print(stderr, "usage: supervise_probe [OPTIONS] -- CMD\n");
    return 2;
  };
  int at = 1;
  auto number = [&](std::int64_t& out) {
    std::string_view text = ++at < argc ? argv[at] : "";
    std::from_chars(text.data(), text.data() + text.size(), out);
  };
  for (; at < argc && std::string_view(argv[at]) != "--"; ++at) {
    std::string_view flag = argv[at];
    if (flag == "--stop-timeout") {
      number(options.stop_timeout_ms);
    } else if (flag == "--timeout") {
      number(timeout_ms);
    } else if (flag == "--group") {
      options.signal_group = true;
    } else if (flag == "--leave") {
      options.leave_rest = true;
    } else if (flag == "--list") {
      list = true;
    } else if (flag == "--unset" && at + 1 < argc) {
      options.env = caddis::supervise::child_environment(std::move(options.env), {argv[++at]}, {});
    } else if (flag == "--user" && at + 1 < argc) {
      auto user = caddis::os::find_user(argv[++at]);
      if (!user) {
        fmt::print(stderr, "{}\n", user.error().message());
        return 2;
      }
      options.user = *user;
    } else {
      return usage();
    }
  }
  std::vector<caddis::supervise::ExecEntry> entries(1);
  for (++at; at < argc; ++at) {
    if (list && std::string_view(argv[at]) == ";;")
      entries.emplace_back();
    else
      entries.back().argv.emplace_back(argv[at]);
  }
  for (auto& entry : entries) {
    entry.timeout_ms = timeout_ms;
    if (entry.argv.empty()) return usage();
  }
  return caddis::supervise::run_to_end(std::move(entries), std::move(options));
}
