#include "store/s3_target.h"

#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <regex>
#include <vector>

#include "loop/stream.h"
#include "store/sigv4.h"

namespace caddis::store {
namespace {

constexpr std::uint64_t kMaxPartBytes = 1u << 30;  // a part is held in memory

bool has_suffix(std::string_view host, std::string_view domain) {
  return host == domain || (host.ends_with(domain) && host[host.size() - domain.size() - 1] == '.');
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    if (i + 2 >= text.size()) return std::nullopt;
    auto [end, error] = std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16);
    if (error != std::errc() || end != text.data() + i + 3 || value == 0) return std::nullopt;
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

// Where plain HTTP is what people mean: this machine, private networks, names without a public certificate.
bool is_local(std::string_view host) {
  if (host == "localhost" || host.ends_with(".localhost") || host.ends_with(".internal") || host.ends_with(".local") ||
      host.ends_with(".flycast"))
    return true;
  if (!loop::is_ip(host)) return host.find('.') == std::string_view::npos;
  if (host == "::1" || host.starts_with("fc") || host.starts_with("fd") || host.starts_with("fe80:")) return true;
  if (host.starts_with("127.") || host.starts_with("10.") || host.starts_with("192.168.") ||
      host.starts_with("169.254."))
    return true;
  int second = 0;
  if (!host.starts_with("172.")) return false;
  std::from_chars(host.data() + 4, host.data() + host.size(), second);
  return second >= 16 && second <= 31;
}

// The region in "s3.REGION.domain" and "REGION.domain"; empty when it is not there.
std::string region_of_host(std::string_view host) {
  if (host == "fly.storage.tigris.dev" || host == "t3.storage.dev" || has_suffix(host, "r2.cloudflarestorage.com"))
    return "auto";
  constexpr std::array<std::string_view, 7> kWithRegion = {
      "amazonaws.com",          "backblazeb2.com",        "scw.cloud",        "wasabisys.com",
      "digitaloceanspaces.com", "your-objectstorage.com", "linodeobjects.com"};
  for (std::string_view domain : kWithRegion) {
    if (!has_suffix(host, domain) || host == domain) continue;
    std::string_view rest = host.substr(0, host.size() - domain.size() - 1);
    if (rest.starts_with("dualstack.")) rest.remove_prefix(10);
    if (rest.starts_with("s3.dualstack.")) rest.remove_prefix(13);
    if (rest.starts_with("s3.") || rest.starts_with("s3-")) rest.remove_prefix(3);
    if (rest == "s3" || rest.empty() || rest.find('.') != std::string_view::npos) return {};
    return std::string(rest);
  }
  return {};
}

struct Parts {
  std::string authority, path;
  std::map<std::string, std::string> query;  // keys in lower case without dashes
};

// The keys of the query as Litestream knows them; camelCase and kebab-case fall together.
Result<Parts> split(std::string_view url) {
  std::string_view shown = url.substr(0, url.find('?'));
  Parts parts;
  std::string_view rest = shown.substr(std::string_view("s3://").size());
  std::size_t slash = std::min(rest.find('/'), rest.size());
  parts.authority = rest.substr(0, slash);
  if (parts.authority.find('@') != std::string::npos)
    return invalid(
        "backup target s3://…@…: credentials do not belong into the URL: use AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY");
  std::optional<std::string> path = percent_decode(rest.substr(slash));
  if (!path) return invalid("backup target {}: a % escape in the path is broken: write %25 for %", shown);
  parts.path = std::move(*path);
  std::string_view query = url.size() > shown.size() ? url.substr(shown.size() + 1) : std::string_view();
  while (!query.empty()) {
    std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    if (pair.empty()) continue;
    std::size_t equals = pair.find('=');
    std::string key;
    for (char c : lower(pair.substr(0, equals)))
      if (c != '-') key += c;
    std::optional<std::string> value =
        percent_decode(equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1));
    if (!value) return invalid("backup target {}: a % escape in the query is broken", shown);
    parts.query[key] = std::move(*value);
  }
  return parts;
}

// bucket.host forms. Returns false when authority is a plain bucket name.
bool split_provider_host(std::string_view authority, std::string& bucket, std::string& endpoint) {
  static const std::regex kForms(
      R"(^(.+)\.(s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com|[a-z0-9]+\.digitaloceanspaces\.com|s3\.[a-z0-9-]+\.backblazeb2\.com|s3\.filebase\.com|s3\.[a-z0-9-]+\.scw\.cloud)$)");
  std::string text(authority);
  std::smatch match;
  if (std::regex_match(text, match, kForms)) {
    bucket = match[1];
    endpoint = "https://" + match[2].str();
    return true;
  }
  std::size_t dot = text.find('.');
  if (text.find(':') == std::string::npos || dot == std::string::npos) return false;
  bucket = text.substr(0, dot);
  endpoint = text.substr(dot + 1);
  return true;
}

std::string bucket_problem(std::string_view bucket) {
  if (bucket.empty()) return "it names no bucket";
  if (bucket.starts_with("arn:")) return "access points are not supported: name the bucket";
  if (bucket.size() > 255) return "the bucket's name is too long";
  for (char c : bucket) {
    bool fine =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
    if (!fine) return "a bucket's name has letters, digits, '-', '.' and '_' only";
  }
  if (bucket == "." || bucket == "..") return "that is no bucket's name";
  return {};
}

Status apply_endpoint(std::string_view text, S3Target& t) {
  // What precedes an @ may be a password, and so may a query.
  std::string_view shown = text.find('@') == std::string_view::npos ? text.substr(0, text.find('?')) : "…@…";
  auto wrong = [shown](std::string_view why) {
    return invalid("S3 endpoint {}: {}: write https://HOST or http://HOST:PORT", shown, why);
  };
  std::string_view rest = text;
  std::optional<bool> tls;
  std::size_t scheme = text.find("://");
  if (scheme != std::string_view::npos) {
    std::string name = lower(text.substr(0, scheme));
    if (name != "http" && name != "https") return wrong("unknown scheme");
    tls = name == "https";
    rest = text.substr(scheme + 3);
  }
  while (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.find('@') != std::string_view::npos) return wrong("credentials do not belong into it");
  if (rest.find_first_of("/?#") != std::string_view::npos) return wrong("it has a path or a query");
  bool has_port = rest.ends_with(']') ? false : rest.rfind(':') != std::string_view::npos;
  std::string with_port = has_port ? std::string(rest) : std::string(rest) + ":1";
  Result<loop::HostPort> parsed = loop::parse_host_port(with_port);
  if (!parsed || parsed->host.empty() || parsed->port == 0) return wrong("it is not HOST or HOST:PORT");
  t.host = lower(parsed->host);
  for (char c : t.host)
    if (static_cast<unsigned char>(c) <= 0x20 || c == '%' || c == '\\') return wrong("the host has odd characters");
  t.tls = tls.value_or(!is_local(t.host));
  t.port = has_port ? parsed->port : std::uint16_t{t.tls ? std::uint16_t{443} : std::uint16_t{80}};
  return {};
}

Result<bool> to_bool(std::string_view url, std::string_view key, const std::string& value) {
  std::string v = lower(value);
  if (v == "true" || v == "1" || v == "t" || v.empty()) return true;
  if (v == "false" || v == "0" || v == "f") return false;
  return invalid("backup target {}: {} is \"{}\": write true or false", url, key, value);
}

// Takes what the query says of everything but endpoint and region.
Status apply_query(std::string_view url, const std::map<std::string, std::string>& query, S3Target& t) {
  for (const auto& [key, value] : query) {
    if (key == "endpoint" || key == "region" || key == "concurrency") continue;  // concurrency is ours to choose
    if (key == "forcepathstyle") {
      TRY_ASSIGN(t.path_style, to_bool(url, "forcePathStyle", value));
    } else if (key == "skipverify") {
      TRY_ASSIGN(bool skip, to_bool(url, "skipVerify", value));
      if (skip)
        return invalid("backup target {}: skipVerify: certificates are always checked: name yours in SSL_CERT_FILE",
                       url);
    } else if (key == "signpayload") {
      TRY_ASSIGN(t.sign_payload, to_bool(url, "signPayload", value));
    } else if (key == "requirecontentmd5") {
      TRY_ASSIGN(t.content_md5, to_bool(url, "requireContentMD5", value));
    } else if (key == "storageclass") {
      t.storage_class = value;
    } else if (key == "partsize") {
      auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), t.part_size_bytes);
      if (error != std::errc() || end != value.data() + value.size() || t.part_size_bytes > kMaxPartBytes)
        return invalid("backup target {}: partSize is \"{}\": bytes, 5242880 to 1073741824", url, value);
      t.part_size_bytes = std::max(t.part_size_bytes, kMinPartBytes);
    } else {
      return invalid(
          "backup target {}: unknown query key \"{}\": known are endpoint, region, forcePathStyle, skipVerify, "
          "signPayload, requireContentMD5, concurrency, partSize, storageClass",
          url, key);
    }
  }
  return {};
}

std::string trimmed_slashes(std::string_view path) {
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  return std::string(path);
}

std::string first_of(const std::map<std::string, std::string>& query, const char* key, std::string_view otherwise) {
  auto it = query.find(key);
  return it != query.end() && !it->second.empty() ? it->second : std::string(otherwise);
}

}  // namespace

Result<S3Target> parse_s3_target(std::string_view url, std::string_view endpoint, std::string_view region) {
  TRY_ASSIGN(Parts parts, split(url));
  std::string_view shown = url.substr(0, url.find('?'));
  S3Target t;
  t.bucket = parts.authority;
  std::string host_endpoint;
  if (split_provider_host(parts.authority, t.bucket, host_endpoint)) endpoint = host_endpoint;
  if (std::string why = bucket_problem(t.bucket); !why.empty())
    return invalid("backup target {}: {}: write s3://BUCKET/PREFIX", shown, why);
  t.prefix = trimmed_slashes(parts.path);
  if (("/" + t.prefix + "/").find("//") != std::string::npos && !t.prefix.empty())
    return invalid("backup target {}: a component of the prefix is empty: remove the double slash", shown);

  std::string chosen = first_of(parts.query, "endpoint", endpoint);
  std::string chosen_region = first_of(parts.query, "region", region);
  if (chosen.empty()) {
    if (chosen_region.empty() || chosen_region == "auto") chosen_region = "us-east-1";
    chosen = chosen_region == "us-east-1" ? "https://s3.amazonaws.com"
                                          : fmt::format("https://s3.{}.amazonaws.com", chosen_region);
  }
  if (Status ok = apply_endpoint(chosen, t); !ok)
    return std::unexpected(std::move(ok).error().context(fmt::format("backup target {}", shown)));
  t.region = chosen_region.empty() ? region_of_host(t.host) : chosen_region;
  if (t.region.empty()) t.region = "us-east-1";
  t.tigris_consistent = t.host == "fly.storage.tigris.dev" || t.host == "t3.storage.dev";
  t.content_md5 = !t.tigris_consistent;
  bool dots_in_tls = t.tls && t.bucket.find('.') != std::string::npos;  // no wildcard certificate covers these
  t.path_style = !has_suffix(t.host, "amazonaws.com") || dots_in_tls;
  TRY(apply_query(shown, parts.query, t));
  if (loop::is_ip(t.host)) t.path_style = true;
  return t;
}

std::string S3Target::url() const { return fmt::format("s3://{}{}{}", bucket, prefix.empty() ? "" : "/", prefix); }

std::string S3Target::endpoint() const {
  std::string shown = host.find(':') == std::string::npos ? host : "[" + host + "]";
  bool usual = port == (tls ? 443 : 80);
  return fmt::format("{}://{}{}", tls ? "https" : "http", shown, usual ? "" : fmt::format(":{}", port));
}

std::string S3Target::connect_host() const { return path_style ? host : bucket + "." + host; }

std::string S3Target::authority() const {
  std::string name = connect_host();
  if (name.find(':') != std::string::npos) name = "[" + name + "]";
  return port == (tls ? 443 : 80) ? name : fmt::format("{}:{}", name, port);
}

std::string S3Target::object_key(std::string_view key) const {
  return prefix.empty() ? std::string(key) : prefix + "/" + std::string(key);
}

std::string S3Target::list_prefix(std::string_view below) const {
  return prefix.empty() ? std::string(below) : prefix + "/" + std::string(below);
}

std::string S3Target::path_of(std::string_view full_key) const {
  std::string out = path_style ? "/" + uri_encode(bucket, false) : "";
  if (!full_key.empty()) out += "/" + uri_encode(full_key, true);
  return out.empty() ? "/" : out;
}

}  // namespace caddis::store
