// A small strict reader for the XML documents S3 servers answer with, and escaping for those we send. Pure.
// Elements, text, the five named and the numeric entities, CDATA, comments and one XML declaration; attributes are
// checked and dropped. A DOCTYPE, other entities, other processing instructions, mismatched tags, text beside the root
// and nesting beyond kMaxXmlDepth are errors: an answer that is read differently than it was meant could delete
// backups.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace caddis::store {

inline constexpr int kMaxXmlDepth = 16;

struct XmlElement {
  std::string name;  // without namespace prefix
  std::string text;  // all text directly in it, unescaped
  std::vector<XmlElement> children;

  const XmlElement* find(std::string_view child) const;    // the first, or nullptr
  std::string_view text_of(std::string_view child) const;  // "" when absent
};

Result<XmlElement> parse_xml(std::string_view document);  // kCorrupt names what and where
std::string xml_escape(std::string_view text);

}  // namespace caddis::store
