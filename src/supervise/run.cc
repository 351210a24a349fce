#include <poll.h>

#include <algorithm>
#include <string_view>

#include "base/log.h"
#include "supervise/supervisor.h"

namespace caddis::supervise {

int run_to_end(std::vector<ExecEntry> entries, SupervisorOptions options) {
  std::optional<Ended> ended;
  SupervisorCallbacks callbacks;
  callbacks.ended = [&ended](const Ended& e) { ended = e; };
  auto supervisor = Supervisor::create(std::move(options), std::move(callbacks));
  if (!supervisor) {
    log_error("supervisor", supervisor.error());
    return 1;
  }
  (*supervisor)->run(std::move(entries));
  while (!ended) {
    pollfd readable{.fd = (*supervisor)->poll_fd(), .events = POLLIN, .revents = 0};
    ::poll(&readable, 1, -1);
    (*supervisor)->on_readable();
  }
  if (!ended->message.empty()) log_record(LogLevel::kError, ended->message);
  return ended->exit_code;
}

int run_plain(std::vector<std::string> argv, SupervisorOptions options) {
  std::vector<ExecEntry> entries;
  entries.push_back({.argv = std::move(argv)});
  return run_to_end(std::move(entries), std::move(options));
}

std::vector<std::string> child_environment(std::vector<std::string> base, const std::vector<std::string>& remove,
                                           const std::vector<std::string>& set) {
  auto name_of = [](std::string_view entry) { return entry.substr(0, entry.find('=')); };
  std::erase_if(base, [&](const std::string& entry) {
    std::string_view name = name_of(entry);
    auto has_name = [&](const std::string& s) { return name_of(s) == name; };
    return std::ranges::find(remove, name) != remove.end() || std::ranges::any_of(set, has_name);
  });
  base.insert(base.end(), set.begin(), set.end());
  return base;
}

std::string command_text(const std::vector<std::string>& argv) {
  std::string text = argv.empty() ? "" : argv[0];
  text += " [";
  for (std::size_t i = 1; i < argv.size(); ++i) text += (i > 1 ? " " : "") + argv[i];
  return text + "]";
}

}  // namespace caddis::supervise
