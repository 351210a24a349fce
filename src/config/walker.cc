#include "config/walker.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "config/duration.h"

namespace caddis::config {
namespace {

// Where a key that was written in the wrong place belongs: {"candidate", "lease.candidate"}. Only names that exist
// once, and the names of LiteFS before 0.4.
struct Elsewhere {
  std::string_view name;
  std::string_view path;
};
constexpr Elsewhere kElsewhere[] = {
    {"candidate", "lease.candidate"},
    {"promote", "lease.promote"},
    {"hostname", "lease.hostname"},
    {"advertise-url", "lease.advertise-url"},
    {"databases", "lease.databases"},
    {"consul", "lease.consul"},
    {"ttl", "lease.consul.ttl"},
    {"lock-delay", "lease.consul.lock-delay"},
    {"allow-other", "fuse.allow-other"},
    {"mount-dir", "fuse.dir"},
    {"data-dir", "data.dir"},
    {"retention", "data.retention"},
    {"compress", "data.compress"},
    {"target", "proxy.target"},
    {"passthrough", "proxy.passthrough"},
    {"always-forward", "proxy.always-forward"},
    {"debug", "log.debug"},
    {"secret-file", "http.secret-file"},
    {"sync-interval", "backup[].sync-interval"},
};

std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row[b.size()];
}

// "x_y" and "X-Y" are near to "x-y" at no cost.
std::string plain(std::string word) {
  for (char& c : word) {
    if (c == '_') c = '-';
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return word;
}

bool is_integer(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<bool> parse_boolean(std::string_view text) {
  for (std::string_view yes : {"true", "True", "TRUE", "y", "Y", "yes", "Yes", "YES", "on", "On", "ON"}) {
    if (text == yes) return true;
  }
  for (std::string_view no : {"false", "False", "FALSE", "n", "N", "no", "No", "NO", "off", "Off", "OFF"}) {
    if (text == no) return false;
  }
  return std::nullopt;
}

}  // namespace

std::string nearest_name(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;  // exclusive
  for (const std::string& candidate : candidates) {
    std::size_t distance = edit_distance(plain(word), candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

void Walker::error(int line, const std::string& path, std::string_view text) {
  out_.errors.push_back(path.empty() ? fmt::format("{}:{}: {}", file_, line, text)
                                     : fmt::format("{}:{}: {}: {}", file_, line, path, text));
}

void Walker::warning(int line, const std::string& path, std::string_view text) {
  out_.warnings.push_back(fmt::format("{}:{}: {}: {}", file_, line, path, text));
}

void Walker::map(const Node& node, const std::string& path, const std::vector<Field>& fields) {
  if (node.kind == Node::Kind::kNull) return;
  if (node.kind != Node::Kind::kMap) {
    std::vector<std::string> names;
    for (const Field& field : fields) names.push_back(field.name);
    error(node.line, path,
          fmt::format("must be a map, got {}; its keys are {}", describe(node), fmt::join(names, ", ")));
    return;
  }
  std::map<std::string, int> seen;
  for (const NodeEntry& entry : node.entries) {
    std::string key_path = path.empty() ? entry.key : fmt::format("{}.{}", path, entry.key);
    auto [first, fresh] = seen.emplace(entry.key, entry.line);
    if (!fresh) {
      error(entry.line, key_path, fmt::format("already written in line {}, remove one of the two", first->second));
      continue;
    }
    auto field = std::ranges::find(fields, entry.key, &Field::name);
    if (field == fields.end()) {
      unknown(entry, path, fields);
    } else if (entry.value.kind != Node::Kind::kNull) {
      config_.given.emplace(key_path, fmt::format("{}:{}", file_, entry.line));
      field->handler(entry.value, key_path);
    } else if (key_path == "lease.candidate") {
      error(entry.line, key_path,
            "the value is empty, and then every machine would be a candidate; write true, false or ${FLY_REGION == "
            "PRIMARY_REGION}");
    }
  }
}

void Walker::unknown(const NodeEntry& entry, const std::string& path, const std::vector<Field>& fields) {
  std::vector<std::string> names;
  for (const Field& field : fields) names.push_back(field.name);
  std::string key_path = path.empty() ? entry.key : fmt::format("{}.{}", path, entry.key);
  if (std::string near = nearest_name(entry.key, names); !near.empty()) {
    error(entry.line, key_path, fmt::format("unknown key, did you mean {}?", near));
    return;
  }
  for (const Elsewhere& other : kElsewhere) {
    if (other.name != entry.key) continue;
    error(entry.line, key_path, fmt::format("unknown key here, it belongs at {}", other.path));
    return;
  }
  error(entry.line, key_path,
        fmt::format("unknown key, remove it; {} has {}", path.empty() ? "a configuration" : path,
                    fmt::join(names, ", ")));
}

Walker::Handler Walker::boolean(bool& out) {
  return [this, &out](const Node& node, const std::string& path) {
    std::optional<bool> value = node.kind == Node::Kind::kScalar ? parse_boolean(node.text) : std::nullopt;
    if (value)
      out = *value;
    else
      error(node.line, path, fmt::format("must be true or false, got {}", describe(node)));
  };
}

Walker::Handler Walker::text(std::string& out, std::string_view need) {
  return [this, &out, need = std::string(need)](const Node& node, const std::string& path) {
    if (node.kind != Node::Kind::kScalar)
      error(node.line, path, fmt::format("must be a text, got {}", describe(node)));
    else if (node.text.empty() && !need.empty())
      error(node.line, path, need);
    else
      out = node.text;
  };
}

Walker::Handler Walker::text_list(std::vector<std::string>& out) {
  return [this, &out](const Node& node, const std::string& path) {
    if (node.kind != Node::Kind::kSequence) {
      error(node.line, path, fmt::format("must be a list, got {}; write [\"…\", \"…\"]", describe(node)));
      return;
    }
    out.clear();
    for (const Node& item : node.items) {
      if (item.kind == Node::Kind::kScalar)
        out.push_back(item.text);
      else
        error(item.line, path, fmt::format("must be a list of texts, got {} in it", describe(item)));
    }
  };
}

Walker::Handler Walker::integer(std::int64_t& out, std::int64_t min) {
  return [this, &out, min](const Node& node, const std::string& path) {
    std::int64_t value = 0;
    const char* end = node.text.data() + node.text.size();
    auto [stop, ec] = std::from_chars(node.text.data(), end, value);
    if (node.kind != Node::Kind::kScalar || node.quoted || ec != std::errc() || stop != end) {
      error(node.line, path, fmt::format("must be a whole number, got {}", describe(node)));
    } else if (value < min) {
      error(node.line, path, fmt::format("must be at least {}, got {}", min, value));
    } else {
      out = value;
    }
  };
}

Walker::Handler Walker::duration(std::int64_t& out, std::int64_t min_ms) {
  return [this, &out, min_ms](const Node& node, const std::string& path) {
    bool bare = node.kind == Node::Kind::kScalar && is_integer(node.text) && !(node.quoted && node.text == "0");
    if (bare) {
      error(node.line, path, fmt::format("a duration needs a unit, got {}; write \"{}s\"", node.text, node.text));
      return;
    }
    std::optional<std::int64_t> ms = node.kind == Node::Kind::kScalar ? parse_duration_ms(node.text) : std::nullopt;
    if (!ms) {
      error(node.line, path,
            fmt::format("not a duration: {}; write it as \"10s\", \"1m30s\" or \"500ms\" (units ns us ms s m h)",
                        describe(node)));
    } else if (*ms < min_ms) {
      error(node.line, path,
            fmt::format("must be at least {}, got {}", min_ms == 0 ? "0s" : fmt::format("{}ms", min_ms), node.text));
    } else {
      out = *ms;
    }
  };
}

Walker::Handler Walker::duration(std::optional<std::int64_t>& out, std::int64_t min_ms) {
  return [this, &out, min_ms](const Node& node, const std::string& path) {
    std::int64_t value = std::numeric_limits<std::int64_t>::min();
    duration(value, min_ms)(node, path);
    if (value != std::numeric_limits<std::int64_t>::min()) out = value;
  };
}

void Walker::wrong_choice(const Node& node, const std::string& path, const std::vector<std::string>& names,
                          const std::string& what) {
  std::vector<std::string> quoted;
  for (const std::string& name : names) quoted.push_back("'" + name + "'");
  std::string last = quoted.back();
  quoted.pop_back();
  error(node.line, path,
        fmt::format("{}, must be {} or {}, got: {}", what, fmt::join(quoted, ", "), last, describe(node)));
}

}  // namespace caddis::config
