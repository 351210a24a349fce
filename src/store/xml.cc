#include "store/xml.h"

#include <cstdint>

namespace caddis::store {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_name_char(char c) { return is_name_start(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == ':'; }

void append_utf8(std::string& out, std::uint32_t c) {
  auto byte = [&out](std::uint32_t b) { out += static_cast<char>(b); };
  if (c < 0x80) {
    byte(c);
  } else if (c < 0x800) {
    byte(0xc0 | (c >> 6));
    byte(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    byte(0xe0 | (c >> 12));
    byte(0x80 | ((c >> 6) & 0x3f));
    byte(0x80 | (c & 0x3f));
  } else {
    byte(0xf0 | (c >> 18));
    byte(0x80 | ((c >> 12) & 0x3f));
    byte(0x80 | ((c >> 6) & 0x3f));
    byte(0x80 | (c & 0x3f));
  }
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<XmlElement> document() {
    if (rest().starts_with("\xef\xbb\xbf")) at_ += 3;
    if (rest().starts_with("<?xml") && text_.size() > at_ + 5 && is_space(text_[at_ + 5])) {
      std::size_t end = text_.find("?>", at_);
      if (end == std::string_view::npos) return wrong("the XML declaration does not end");
      at_ = end + 2;
    }
    TRY(skip_misc());
    XmlElement root;
    TRY(element(root, 0));
    TRY(skip_misc());
    if (at_ != text_.size()) return wrong("something follows the root element");
    return root;
  }

 private:
  std::string_view rest() const { return text_.substr(at_); }
  std::unexpected<Error> wrong(std::string_view what) const { return corrupt("XML at byte {}: {}", at_, what); }
  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }
  bool take(std::string_view token) {
    if (!rest().starts_with(token)) return false;
    at_ += token.size();
    return true;
  }

  // White space and comments.
  Status skip_misc() {
    for (;;) {
      skip_space();
      if (!rest().starts_with("<!--")) return {};
      TRY(comment());
    }
  }

  Status comment() {
    std::size_t end = text_.find("-->", at_ + 4);
    if (end == std::string_view::npos) return wrong("a comment does not end");
    at_ = end + 3;
    return {};
  }

  Result<std::string_view> name() {
    std::size_t begin = at_;
    if (at_ >= text_.size() || !is_name_start(text_[at_])) return wrong("a name is expected");
    while (at_ < text_.size() && is_name_char(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  Status attributes() {
    for (;;) {
      bool space = at_ < text_.size() && is_space(text_[at_]);
      skip_space();
      if (rest().starts_with(">") || rest().starts_with("/>")) return {};
      if (!space) return wrong("a tag has the form <name> or <name attribute=\"value\">");
      TRY(name());
      skip_space();
      if (!take("=")) return wrong("an attribute has no value");
      skip_space();
      if (at_ >= text_.size() || (text_[at_] != '"' && text_[at_] != '\'')) return wrong("an attribute is not quoted");
      std::size_t end = text_.find(text_[at_], at_ + 1);
      if (end == std::string_view::npos || text_.substr(at_, end - at_).find('<') != std::string_view::npos)
        return wrong("the value of an attribute does not end");
      at_ = end + 1;
    }
  }

  Status element(XmlElement& out, int depth) {
    if (depth >= kMaxXmlDepth) return wrong("elements are nested too deep");
    if (!take("<")) return wrong("an element is expected");
    TRY_ASSIGN(std::string_view full_name, name());
    out.name = full_name.substr(full_name.rfind(':') + 1);
    TRY(attributes());
    if (take("/>")) return {};
    if (!take(">")) return wrong("a tag does not end");
    TRY(content(out, depth));
    TRY_ASSIGN(std::string_view closing, name());
    if (closing != full_name) return wrong(fmt::format("</{}> closes <{}>", closing, full_name));
    skip_space();
    if (!take(">")) return wrong("a tag does not end");
    return {};
  }

  // Up to and with the "</" of the closing tag.
  Status content(XmlElement& out, int depth) {
    for (;;) {
      if (at_ >= text_.size()) return wrong(fmt::format("the document ends within <{}>", out.name));
      if (take("</")) return {};
      if (rest().starts_with("<!--")) {
        TRY(comment());
      } else if (take("<![CDATA[")) {
        std::size_t end = text_.find("]]>", at_);
        if (end == std::string_view::npos) return wrong("CDATA does not end");
        out.text += text_.substr(at_, end - at_);
        at_ = end + 3;
      } else if (text_[at_] == '<') {
        out.children.emplace_back();
        TRY(element(out.children.back(), depth + 1));
      } else if (text_[at_] == '&') {
        TRY(entity(out.text));
      } else {
        out.text += text_[at_++];
      }
    }
  }

  Status entity(std::string& out) {
    std::size_t end = text_.find(';', at_);
    if (end == std::string_view::npos || end - at_ > 10) return wrong("an entity does not end");
    std::string_view body = text_.substr(at_ + 1, end - at_ - 1);
    if (body == "amp") {
      out += '&';
    } else if (body == "lt") {
      out += '<';
    } else if (body == "gt") {
      out += '>';
    } else if (body == "quot") {
      out += '"';
    } else if (body == "apos") {
      out += '\'';
    } else if (body.starts_with('#')) {
      TRY(numeric(body.substr(1), out));
    } else {
      return wrong(fmt::format("unknown entity &{};", body));
    }
    at_ = end + 1;
    return {};
  }

  Status numeric(std::string_view digits, std::string& out) {
    std::uint32_t base = 10;
    if (digits.starts_with('x')) {
      base = 16;
      digits.remove_prefix(1);
    }
    std::uint32_t value = 0;
    if (digits.empty()) return wrong("a character reference has no digits");
    for (char c : digits) {
      std::uint32_t d = 99;
      if (c >= '0' && c <= '9') d = static_cast<std::uint32_t>(c - '0');
      if (c >= 'a' && c <= 'f') d = static_cast<std::uint32_t>(c - 'a' + 10);
      if (c >= 'A' && c <= 'F') d = static_cast<std::uint32_t>(c - 'A' + 10);
      if (d >= base) return wrong("a character reference has a wrong digit");
      value = value * base + d;
      if (value > 0x10ffff) return wrong("a character reference is too large");
    }
    if (value == 0 || (value >= 0xd800 && value < 0xe000)) return wrong("a character reference is not a character");
    append_utf8(out, value);
    return {};
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

const XmlElement* XmlElement::find(std::string_view child) const {
  for (const XmlElement& c : children)
    if (c.name == child) return &c;
  return nullptr;
}

std::string_view XmlElement::text_of(std::string_view child) const {
  const XmlElement* c = find(child);
  return c == nullptr ? std::string_view() : std::string_view(c->text);
}

Result<XmlElement> parse_xml(std::string_view document) { return Parser(document).document(); }

std::string xml_escape(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&apos;";
        break;
      default:
        // Control characters as references, or the other side's line ends would be ours.
        if (static_cast<unsigned char>(c) < 0x20)
          out += fmt::format("&#{};", static_cast<int>(c));
        else
          out += c;
    }
  }
  return out;
}

}  // namespace caddis::store
