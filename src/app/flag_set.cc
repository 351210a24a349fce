#include "app/flag_set.h"

#include <algorithm>

namespace caddis::app {
namespace {

std::optional<bool> parse_bool(std::string_view text) {  // Go's strconv.ParseBool
  for (std::string_view yes : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (text == yes) return true;
  }
  for (std::string_view no : {"0", "f", "F", "FALSE", "false", "False"}) {
    if (text == no) return false;
  }
  return std::nullopt;
}

}  // namespace

void FlagSet::boolean(std::string name, bool& out, std::string help) {
  Setter set = [&out](std::string_view value) -> Status {
    std::optional<bool> parsed = parse_bool(value);
    if (!parsed) return invalid("must be true or false");
    out = *parsed;
    return {};
  };
  flags_.push_back({std::move(name), "", std::move(help), std::move(set)});
}

void FlagSet::text(std::string name, std::string value_name, std::string& out, std::string help) {
  if (!out.empty()) help += " (default: " + out + ")";
  Setter set = [&out](std::string_view value) -> Status {
    out = value;
    return {};
  };
  flags_.push_back({std::move(name), std::move(value_name), std::move(help), std::move(set)});
}

void FlagSet::custom(std::string name, std::string value_name, std::string help, Setter set) {
  flags_.push_back({std::move(name), std::move(value_name), std::move(help), std::move(set)});
}

const FlagSet::Flag* FlagSet::find(std::string_view name) const {
  auto it = std::ranges::find(flags_, name, &Flag::name);
  return it == flags_.end() ? nullptr : &*it;
}

Result<FlagSet::Parsed> FlagSet::parse(const std::vector<std::string>& args) const {
  Parsed out;
  for (std::size_t i = 0; i < args.size(); ++i) {
    std::string_view arg = args[i];
    if (arg == "--") {
      out.rest.emplace(args.begin() + static_cast<std::ptrdiff_t>(i) + 1, args.end());
      return out;
    }
    if (arg.size() < 2 || arg[0] != '-') {  // "-" alone is a positional
      out.positionals.emplace_back(arg);
      continue;
    }
    std::string_view name = arg.substr(arg.starts_with("--") ? 2 : 1);
    if (name.empty() || name[0] == '-' || name[0] == '=') return invalid("bad flag syntax: {}", arg);
    std::optional<std::string_view> value;
    if (std::size_t equals = name.find('='); equals != std::string_view::npos) {
      value = name.substr(equals + 1);
      name = name.substr(0, equals);
    }
    const Flag* flag = find(name);
    if (flag == nullptr && (name == "h" || name == "help")) {
      out.help = true;
      return out;
    }
    if (flag == nullptr) return invalid("flag provided but not defined: -{}", name);
    if (!value && flag->value_name.empty()) value = "true";
    if (!value) {
      if (i + 1 == args.size()) return invalid("flag needs an argument: -{}", name);
      value = args[++i];
    }
    if (Status set = flag->set(*value); !set) {
      return invalid("invalid {}value \"{}\" for flag -{}: {}", flag->value_name.empty() ? "boolean " : "", *value,
                     name, set.error().message());
    }
  }
  return out;
}

std::string FlagSet::usage() const {
  std::size_t width = 0;
  auto left = [](const Flag& flag) {
    return flag.value_name.empty() ? "-" + flag.name : "-" + flag.name + " " + flag.value_name;
  };
  for (const Flag& flag : flags_) width = std::max(width, left(flag).size());
  std::string out;
  for (const Flag& flag : flags_) out += fmt::format("  {:<{}}  {}\n", left(flag), width, flag.help);
  return out;
}

}  // namespace caddis::app
