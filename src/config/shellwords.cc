#include "config/shellwords.h"

namespace caddis::config {
namespace {

// s as a JSON text, which is also a YAML and (for what commands hold) a TOML text.
std::string quote(std::string_view s) {
  std::string out = "\"";
  for (char c : s) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else
      out += c;
  }
  return out + '"';
}

class Splitter {
 public:
  explicit Splitter(std::string_view text) : text_(text) {}

  Result<std::vector<std::string>> run() {
    for (char c : text_) TRY(take(c));
    if (have_word_) args_.push_back(word_);
    if (escaped_) return invalid("invalid command line string: it ends in a backslash, remove it or double it");
    if (quote_ != 0) return invalid("invalid command line string: {} is never closed, add the second one", quote_);
    if (in_dollar_)
      return invalid("invalid command line string: $( is never closed; no shell runs here, write [\"sh\", \"-c\", {}]",
                     quote(text_));
    return std::move(args_);
  }

 private:
  Status take(char c) {
    if (escaped_) {
      escaped_ = false;
      append(c == 't' ? '\t' : c == 'n' ? '\n' : c);
      return {};
    }
    if (c == '\\') {
      if (quote_ == '\'')
        word_ += c;
      else
        escaped_ = true;
      return {};
    }
    bool protected_here = quote_ != 0 || in_dollar_;
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
      if (protected_here)
        word_ += c;
      else
        end_word();
      return {};
    }
    if ((c == '"' || c == '\'') && !in_dollar_ && (quote_ == 0 || quote_ == c)) {
      if (quote_ == c) have_word_ = true;  // "" is a word
      quote_ = quote_ == c ? '\0' : c;
      return {};
    }
    if (c == '`' && !in_dollar_ && (quote_ == 0 || quote_ == '`')) quote_ = quote_ == '`' ? '\0' : '`';
    if ((c == '(' || c == ')') && quote_ == 0) TRY(take_parenthesis(c));
    if (!protected_here && (c == ';' || c == '&' || c == '|' || c == '<' || c == '>')) {
      return invalid(
          "'{}' outside quotes needs a shell and none runs here (LiteFS drops the rest of the line), write [\"sh\", "
          "\"-c\", {}]",
          c, quote(text_));
    }
    append(c);
    return {};
  }

  Status take_parenthesis(char c) {
    bool opens = c == '(' && !in_dollar_ && word_.ends_with('$');
    bool closes = c == ')' && in_dollar_;
    if (!opens && !closes) {
      return invalid(
          "invalid command line string: '{}' outside quotes, put the word in quotes or write [\"sh\", \"-c\", {}]", c,
          quote(text_));
    }
    in_dollar_ = opens;
    return {};
  }

  void append(char c) {
    word_ += c;
    have_word_ = true;
  }

  void end_word() {
    if (have_word_) args_.push_back(word_);
    word_.clear();
    have_word_ = false;
  }

  std::string_view text_;
  std::vector<std::string> args_;
  std::string word_;
  bool have_word_ = false;
  bool escaped_ = false;
  bool in_dollar_ = false;  // inside $(…), which is kept as text
  char quote_ = 0;          // the open quote: ' " ` or none
};

}  // namespace

Result<std::vector<std::string>> split_command(std::string_view text) { return Splitter(text).run(); }

}  // namespace caddis::config
