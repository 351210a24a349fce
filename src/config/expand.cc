#include "config/expand.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

namespace caddis::config {
namespace {

bool is_word(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'; }
bool is_special(char c) { return std::string_view("*#$@!?-0123456789").contains(c); }

std::string_view trim(std::string_view s) {
  while (!s.empty() && is_space(s.front())) s.remove_prefix(1);
  while (!s.empty() && is_space(s.back())) s.remove_suffix(1);
  return s;
}

struct Comparison {
  std::string left;
  bool equal = true;  // ==, not !=
  std::string right;
  bool right_is_text = false;
};

// A == B, A != 'text'. nullopt: none of the forms.
std::optional<Comparison> parse_comparison(std::string_view s) {
  std::size_t end = 0;
  while (end < s.size() && is_word(s[end])) ++end;
  Comparison c{.left = std::string(s.substr(0, end))};
  s = trim(s.substr(end));
  if (c.left.empty() || !(s.starts_with("==") || s.starts_with("!="))) return std::nullopt;
  c.equal = s[0] == '=';
  s = trim(s.substr(2));
  if (s.size() >= 2 && (s[0] == '\'' || s[0] == '"') && s.back() == s[0]) {
    c.right = s.substr(1, s.size() - 2);
    c.right_is_text = true;
    return c.right.contains('\n') ? std::nullopt : std::optional(c);
  }
  if (s.empty() || !std::ranges::all_of(s, is_word)) return std::nullopt;
  c.right = s;
  return c;
}

// Whether the text from line_start to here holds the # of a comment: at the line's start or after a blank, and not
// inside quotes.
bool in_comment(std::string_view line) {
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    char c = line[i];
    char before = i == 0 ? ' ' : line[i - 1];
    if (quote != 0) {
      if (c == quote) quote = 0;
      if (c == '\\' && quote == '"') ++i;
    } else if (c == '#' && is_space(before)) {
      return true;
    } else if ((c == '"' || c == '\'') && (is_space(before) || std::string_view("[{,:=").contains(before))) {
      quote = c;
    }
  }
  return false;
}

class Expander {
 public:
  Expander(std::string_view text, const std::map<std::string, std::string>& env) : text_(text), env_(env) {}

  Expansion run() {
    while (at_ < text_.size()) {
      if (text_[at_] == '$' && at_ + 1 < text_.size())
        dollar();
      else
        out_.text += text_[at_++];
    }
    return std::move(out_);
  }

 private:
  // text_[at_] is "$" and something follows.
  void dollar() {
    char next = text_[at_ + 1];
    if (next == '{') {
      std::size_t close = text_.find('}', at_ + 2);
      if (close == std::string_view::npos) {
        at_ += 2;  // as Go: an unclosed ${ goes away
        return;
      }
      std::string_view inside = text_.substr(at_ + 2, close - at_ - 2);
      if (!inside.empty()) braces(inside);
      at_ = close + 1;
      return;
    }
    std::size_t end = at_ + 1;
    if (is_special(next))
      ++end;
    else
      while (end < text_.size() && is_word(text_[end])) ++end;
    if (end == at_ + 1) {
      out_.text += text_[at_++];
      return;
    }
    variable(text_.substr(at_ + 1, end - at_ - 1), text_.substr(at_, end - at_));
    at_ = end;
  }

  void braces(std::string_view inside) {
    std::string_view s = trim(inside);
    std::string shown = fmt::format("${{{}}}", s);
    if (std::optional<Comparison> c = parse_comparison(s)) {
      compare(*c, shown);
    } else if (s.contains("==") || s.contains("!=")) {
      error("{}: not a comparison caddis knows, write ${{A == B}} for two variables or ${{A == 'text'}} for a text",
            shown);
      out_.text += "false";
    } else {
      variable(s, shown);
    }
  }

  void compare(const Comparison& c, const std::string& shown) {
    std::string left = value(c.left);
    std::string right = c.right_is_text ? c.right : value(c.right);
    bool right_unset = !c.right_is_text && right.empty();
    bool names_primary_region = c.left == "PRIMARY_REGION" || (!c.right_is_text && c.right == "PRIMARY_REGION");
    if (left.empty() && right_unset) {
      error(
          "{}: {} and {} are both unset, so they would be equal on every machine; set them (on Fly: primary_region in "
          "fly.toml sets PRIMARY_REGION) or write a plain true or false",
          shown, c.left, c.right);
    } else if (names_primary_region && value("PRIMARY_REGION").empty()) {
      error(
          "{}: PRIMARY_REGION is not set, so no machine can tell where the primary belongs; set primary_region in "
          "fly.toml and deploy, or compare with a text: ${{FLY_REGION == 'fra'}}",
          shown);
    } else {
      if (left.empty()) unset(c.left, shown);
      if (right_unset) unset(c.right, shown);
    }
    out_.text += (left == right) == c.equal ? "true" : "false";
  }

  void variable(std::string_view name, std::string_view shown) {
    if (!env_.contains(std::string(name))) unset(name, shown);
    out_.text += value(std::string(name));
  }

  std::string value(const std::string& name) const {
    auto it = env_.find(name);
    return it == env_.end() ? std::string() : it->second;
  }

  void unset(std::string_view name, std::string_view shown) {
    if (here_is_comment()) return;
    out_.warnings.push_back({line(), fmt::format("{}: {} is not set and counts as empty", shown, name)});
  }
  template <class... A>
  void error(fmt::format_string<A...> text, A&&... args) {
    if (!here_is_comment()) out_.errors.push_back({line(), fmt::format(text, std::forward<A>(args)...)});
  }

  int line() const { return 1 + static_cast<int>(std::ranges::count(text_.substr(0, at_), '\n')); }
  bool here_is_comment() const {
    std::size_t start = text_.rfind('\n', at_);
    start = start == std::string_view::npos ? 0 : start + 1;
    return in_comment(text_.substr(start, at_ - start));
  }

  std::string_view text_;
  const std::map<std::string, std::string>& env_;
  std::size_t at_ = 0;
  Expansion out_;
};

}  // namespace

Expansion expand_env(std::string_view text, const std::map<std::string, std::string>& env) {
  return Expander(text, env).run();
}

}  // namespace caddis::config
