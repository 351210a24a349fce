// The only file of this module that sees toml++.
#include "fly/fly_toml.h"

#include <toml++/toml.h>

#include <algorithm>
#include <limits>

#include "config/duration.h"

namespace caddis::fly {
namespace {

class Reader {
 public:
  Reader(const toml::table& root, std::string_view name, std::string_view process_group)
      : root_(root), name_(name), default_group_(default_group(root)), group_(process_group) {
    if (group_.empty()) group_ = default_group_;
  }

  Result<config::FlyToml> run() {
    config::FlyToml out;
    if (const toml::node* region = root_.get("primary_region")) {
      const auto* text = region->as_string();
      if (text == nullptr) return wrong(*region, "primary_region", "must be a text, write a region such as \"fra\"");
      if (!text->get().empty()) out.primary_region = text->get();
    }
    TRY(kill_timeout(out));
    TRY(mounts(out));
    return out;
  }

 private:
  // "app" when there is no [processes] or it has an app, else its first name in order.
  static std::string default_group(const toml::table& root) {
    const toml::table* processes = root["processes"].as_table();
    if (processes == nullptr || processes->empty() || processes->contains("app")) return "app";
    return std::string(processes->begin()->first.str());  // a toml::table is sorted
  }

  std::unexpected<Error> wrong(const toml::node& node, std::string_view key, std::string_view text) const {
    return invalid("{}:{}: {}: {}", name_, node.source().begin.line, key, text);
  }

  Status kill_timeout(config::FlyToml& out) const {
    const toml::node* node = root_.get("kill_timeout");
    if (node == nullptr) return {};
    std::optional<std::int64_t> ms;
    if (const auto* seconds = node->as_integer();
        seconds != nullptr && seconds->get() <= std::numeric_limits<std::int32_t>::max()) {
      ms = seconds->get() * 1'000;
    } else if (const auto* text = node->as_string()) {
      ms = config::parse_duration_ms(text->get());
    }
    if (!ms || *ms < 0) return wrong(*node, "kill_timeout", "must be whole seconds or a duration, write 5 or \"5s\"");
    out.kill_timeout_ms = ms;
    return {};
  }

  Status mounts(config::FlyToml& out) const {
    const toml::node* node = root_.get("mounts");
    if (node == nullptr) return {};
    if (const toml::table* one = node->as_table()) return mount(*one, out);
    const toml::array* list = node->as_array();
    if (list == nullptr) return wrong(*node, "mounts", "must be a table or a list of tables, write [mounts]");
    for (const toml::node& item : *list) {
      const toml::table* one = item.as_table();
      if (one == nullptr) return wrong(item, "mounts", "must be a list of tables, write [[mounts]]");
      TRY(mount(*one, out));
    }
    return {};
  }

  Status mount(const toml::table& table, config::FlyToml& out) const {
    if (!matches(table)) return {};
    const toml::node* destination = table.get("destination");
    if (destination == nullptr) return wrong(table, "mounts.destination", "missing, write destination = \"/data\"");
    const auto* path = destination->as_string();
    if (path == nullptr || !path->get().starts_with('/') || path->get() == "/") {
      return wrong(*destination, "mounts.destination", "must be an absolute path other than /, write \"/data\"");
    }
    out.mount_destinations.push_back(path->get());
    return {};
  }

  bool matches(const toml::table& mount) const {
    const toml::array* processes = mount["processes"].as_array();
    if (processes == nullptr || processes->empty()) return group_ == default_group_;
    return std::ranges::any_of(*processes, [this](const toml::node& item) {
      const auto* text = item.as_string();
      return text != nullptr && text->get() == group_;
    });
  }

  const toml::table& root_;
  std::string_view name_;
  std::string default_group_;
  std::string group_;
};

}  // namespace

Result<config::FlyToml> parse_fly_toml(std::string_view text, std::string_view name, std::string_view process_group) {
  try {
    toml::table root = toml::parse(text);
    return Reader(root, name, process_group).run();
  } catch (const toml::parse_error& e) {
    return invalid("{}:{}: not TOML: {}", name, e.source().begin.line, e.description());
  }
}

}  // namespace caddis::fly
