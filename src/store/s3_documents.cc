#include "store/s3_documents.h"

#include <charconv>

#include "store/times.h"
#include "store/xml.h"

namespace caddis::store {
namespace {

constexpr std::size_t kMaxMessage = 200;
constexpr char kNamespace[] = "http://s3.amazonaws.com/doc/2006-03-01/";

// A server's words for a line of log: no control characters, not too long.
std::string one_line(std::string_view text) {
  std::string out(text.substr(0, kMaxMessage));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return out;
}

Result<XmlElement> document_of(std::string_view text, std::string_view root_name) {
  TRY_ASSIGN(XmlElement root, parse_xml(text));
  if (root.name != root_name) return corrupt("the answer is a <{}>, expected <{}>", root.name, root_name);
  return root;
}

Result<ObjectInfo> parse_object(const XmlElement& contents) {
  ObjectInfo info;
  info.key = contents.text_of("Key");
  if (info.key.empty()) return corrupt("an object in the list has no key");
  std::string_view size = contents.text_of("Size");
  auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), info.size_bytes);
  if (size.empty() || error != std::errc() || end != size.data() + size.size())
    return corrupt("object {} in the list has the size \"{}\"", info.key, one_line(size));
  std::optional<std::int64_t> modified = parse_rfc3339(contents.text_of("LastModified"));
  if (!modified) return corrupt("object {} in the list has no time of modification", info.key);
  info.modified_ms = *modified;
  info.etag = contents.text_of("ETag");
  return info;
}

}  // namespace

Result<ListPage> parse_list(std::string_view document) {
  TRY_ASSIGN(XmlElement root, document_of(document, "ListBucketResult"));
  ListPage page;
  for (const XmlElement& child : root.children) {
    if (child.name == "Contents") {
      TRY_ASSIGN(ObjectInfo info, parse_object(child));
      page.objects.push_back(std::move(info));
    } else if (child.name == "CommonPrefixes") {
      std::string_view prefix = child.text_of("Prefix");
      if (prefix.empty()) return corrupt("a common prefix in the list is empty");
      page.prefixes.emplace_back(prefix);
    }
  }
  std::string_view truncated = root.text_of("IsTruncated");
  if (truncated == "true") {
    page.next_token = root.text_of("NextContinuationToken");
    if (page.next_token.empty()) return corrupt("the list is truncated and has no NextContinuationToken");
  } else if (truncated != "false" && !truncated.empty()) {
    return corrupt("the list has IsTruncated \"{}\"", one_line(truncated));
  }
  return page;
}

std::optional<S3ErrorBody> parse_s3_error(std::string_view document) {
  Result<XmlElement> root = parse_xml(document);
  if (!root || root->name != "Error") return std::nullopt;
  return S3ErrorBody{.code = one_line(root->text_of("Code")),
                     .message = one_line(root->text_of("Message")),
                     .region = one_line(root->text_of("Region"))};
}

Result<std::string> parse_upload_id(std::string_view document) {
  TRY_ASSIGN(XmlElement root, parse_xml(document));
  // rclone's server leaves out the "Result".
  if (root.name != "InitiateMultipartUploadResult" && root.name != "InitiateMultipartUpload")
    return corrupt("the answer is a <{}>, expected <InitiateMultipartUploadResult>", root.name);
  std::string id(root.text_of("UploadId"));
  if (id.empty()) return corrupt("the answer has no UploadId");
  return id;
}

Result<std::string> parse_complete(std::string_view document) {
  TRY_ASSIGN(XmlElement root, document_of(document, "CompleteMultipartUploadResult"));
  return std::string(root.text_of("ETag"));
}

std::string complete_document(const std::vector<UploadedPart>& parts) {
  std::string out = fmt::format("<CompleteMultipartUpload xmlns=\"{}\">", kNamespace);
  for (const UploadedPart& p : parts)
    out += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", p.number, xml_escape(p.etag));
  return out + "</CompleteMultipartUpload>";
}

std::string delete_document(const std::vector<std::string>& keys) {
  std::string out = fmt::format("<Delete xmlns=\"{}\"><Quiet>true</Quiet>", kNamespace);
  for (const std::string& key : keys) out += fmt::format("<Object><Key>{}</Key></Object>", xml_escape(key));
  return out + "</Delete>";
}

Result<std::vector<DeleteFailure>> parse_delete(std::string_view document) {
  TRY_ASSIGN(XmlElement root, document_of(document, "DeleteResult"));
  std::vector<DeleteFailure> out;
  for (const XmlElement& child : root.children) {
    if (child.name != "Error") continue;
    out.push_back({.key = std::string(child.text_of("Key")),
                   .code = one_line(child.text_of("Code")),
                   .message = one_line(child.text_of("Message"))});
  }
  return out;
}

}  // namespace caddis::store
