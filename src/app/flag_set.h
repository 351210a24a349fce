// Go's flag package, as far as its users see it: one table of flags both parses and prints itself.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace caddis::app {

class FlagSet {
 public:
  using Setter = std::function<Status(std::string_view value)>;

  void boolean(std::string name, bool& out, std::string help);
  // value_name stands in the usage: "-config PATH". default_text: shown as "(default: …)" unless empty.
  void text(std::string name, std::string value_name, std::string& out, std::string help);
  // set's error text follows `invalid value "V" for flag -x: `.
  void custom(std::string name, std::string value_name, std::string help, Setter set);

  struct Parsed {
    std::vector<std::string> positionals;
    std::optional<std::vector<std::string>> rest;  // after "--"
    bool help = false;                             // -h, -help: stops there
  };
  // Takes -x, --x, -x=v, -x v, in any order with positionals; a flag given twice keeps the last value.
  // Errors: kInvalid, in the words of Go's flag package.
  Result<Parsed> parse(const std::vector<std::string>& args) const;

  // One aligned line per flag, in the order of definition; "" when there is none.
  std::string usage() const;

 private:
  struct Flag {
    std::string name;
    std::string value_name;  // empty: a boolean
    std::string help;
    Setter set;
  };
  const Flag* find(std::string_view name) const;

  std::vector<Flag> flags_;
};

}  // namespace caddis::app
