#include "store/s3_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/log.h"
#include "store/s3_client.h"
#include "store/s3_reader.h"
#include "store/s3_upload.h"
#include "store/times.h"

namespace caddis::store {
namespace {

constexpr std::size_t kDeleteAtOnce = 1000;  // S3's limit of DeleteObjects
constexpr std::string_view kMetaPrefix = "x-amz-meta-";

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

ObjectHead head_of(const http::Headers& headers) {
  ObjectHead head;
  std::string_view size = headers.get("Content-Length");
  std::from_chars(size.data(), size.data() + size.size(), head.size_bytes);
  head.modified_ms = parse_http_date(headers.get("Last-Modified")).value_or(0);
  head.timestamp_ms = head.modified_ms;
  head.etag = headers.get("ETag");
  for (const http::Header& h : headers) {
    std::string name = lower(h.name);
    if (!name.starts_with(kMetaPrefix)) continue;
    name.erase(0, kMetaPrefix.size());
    if (name == "litestream-timestamp") head.timestamp_ms = parse_rfc3339(h.value).value_or(head.modified_ms);
    head.metadata.emplace_back(std::move(name), h.value);
  }
  return head;
}

class S3Store final : public Store {
 public:
  explicit S3Store(std::shared_ptr<S3Client> client) : client_(std::move(client)), url_(client_->target().url()) {}

  const std::string& describe() const override { return url_; }
  std::string level_prefix(std::string_view db, int level) const override {
    return fmt::format("{}{}{:04x}/", db, db.empty() ? "" : "/", level);
  }

  Task<Result<std::vector<ObjectInfo>>> list(std::string prefix, std::stop_token stop) override {
    CO_TRY_ASSIGN(ListPage all, co_await list_all(prefix, "", stop));
    std::size_t cut = target().list_prefix("").size();
    std::vector<ObjectInfo> out;
    for (ObjectInfo& info : all.objects) {
      info.key.erase(0, cut);
      if (!info.key.empty() && !info.key.ends_with('/')) out.push_back(std::move(info));  // not a "folder" of a console
    }
    std::sort(out.begin(), out.end(), [](const ObjectInfo& a, const ObjectInfo& b) { return a.key < b.key; });
    co_return out;
  }

  Task<Result<std::vector<std::string>>> list_dirs(std::string prefix, std::stop_token stop) override {
    if (!prefix.empty() && !prefix.ends_with('/'))
      co_return Error(ErrorCode::kInvalid, fmt::format("prefix {}: it is empty or has the form a/b/", prefix));
    CO_TRY_ASSIGN(ListPage all, co_await list_all(prefix, "/", stop));
    std::size_t cut = target().list_prefix(prefix).size();
    std::vector<std::string> out;
    for (const std::string& found : all.prefixes) {
      std::string name = found.substr(cut);
      if (name.ends_with('/')) name.pop_back();
      if (!name.empty()) out.push_back(std::move(name));
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    co_return out;
  }

  Task<Result<Bytes>> get(std::string key, std::uint64_t offset, std::uint64_t length, std::stop_token stop) override {
    std::string full_key = target().object_key(key);
    CO_TRY_ASSIGN(std::unique_ptr<S3Reader> reader,
                  co_await S3Reader::start(client_, full_key, what("get", key), offset, length, stop));
    Bytes out(reader->total_bytes());
    for (std::size_t done = 0; done < out.size();) {
      CO_TRY_ASSIGN(std::size_t n, co_await reader->read(ByteSpan(out).subspan(done), stop));
      done += n;
    }
    co_return out;
  }

  Task<Result<std::unique_ptr<ObjectReader>>> open(std::string key, std::uint64_t offset, std::uint64_t length,
                                                   std::stop_token stop) override {
    std::string full_key = target().object_key(key);
    CO_TRY_ASSIGN(std::unique_ptr<S3Reader> reader,
                  co_await S3Reader::start(client_, full_key, what("get", key), offset, length, stop));
    co_return std::unique_ptr<ObjectReader>(std::move(reader));
  }

  Task<Result<ObjectHead>> head(std::string key, std::stop_token stop) override {
    S3Call call{.op = "head", .what = what("head", key), .method = "HEAD", .full_key = target().object_key(key)};
    S3Result<S3Answer> answer = co_await client_->fetch(std::move(call), stop);
    if (!answer) co_return std::move(answer).error().error;
    co_return head_of(answer->headers);
  }

  using Store::put;
  Task<Result<std::string>> put(std::string key, std::shared_ptr<const Bytes> body, PutOptions options,
                                std::stop_token stop) override {
    return put_object(*client_, target().object_key(key), what("put", key), std::move(body), std::move(options),
                      std::move(stop));
  }

  Task<Result<std::unique_ptr<Upload>>> start_upload(std::string key, PutOptions options, std::stop_token) override {
    std::unique_ptr<Upload> upload =
        std::make_unique<S3Upload>(client_, target().object_key(key), what("put", key), std::move(options));
    co_return upload;
  }

  Task<Status> remove(std::vector<std::string> keys, std::stop_token stop) override {
    if (keys.size() == 1) co_return co_await remove_one(keys.front(), stop);
    for (std::size_t begin = 0; begin < keys.size(); begin += kDeleteAtOnce) {
      std::size_t end = std::min(begin + kDeleteAtOnce, keys.size());
      std::vector<std::string> some(keys.begin() + static_cast<std::ptrdiff_t>(begin),
                                    keys.begin() + static_cast<std::ptrdiff_t>(end));
      CO_TRY(co_await remove_some(std::move(some), stop));
    }
    co_return Status{};
  }

 private:
  const S3Target& target() const { return client_->target(); }
  std::string what(std::string_view doing, std::string_view key) const {
    return fmt::format("{} {}/{}", doing, url_, key);
  }

  // All pages, with full keys.
  Task<Result<ListPage>> list_all(std::string prefix, std::string delimiter, std::stop_token stop) {
    std::string full_prefix = target().list_prefix(prefix);
    ListPage all;
    for (std::string token;;) {
      S3Call call{.op = "list", .what = what("list", prefix), .method = "GET"};
      call.query = {{"list-type", "2"}, {"prefix", full_prefix}};
      if (!delimiter.empty()) call.query.emplace_back("delimiter", delimiter);
      if (!token.empty()) call.query.emplace_back("continuation-token", token);
      S3Result<S3Answer> answer = co_await client_->fetch(std::move(call), stop);
      if (!answer) co_return list_error(std::move(answer).error());
      Result<ListPage> page = parse_list(as_text(answer->body));
      if (!page) co_return std::move(page).error().context(what("list", prefix));
      for (ObjectInfo& o : page->objects) {
        if (!o.key.starts_with(full_prefix)) co_return foreign(prefix, o.key);
        all.objects.push_back(std::move(o));
      }
      for (std::string& p : page->prefixes) {
        if (!p.starts_with(full_prefix)) co_return foreign(prefix, p);
        all.prefixes.push_back(std::move(p));
      }
      if (page->next_token.empty()) co_return all;
      if (page->next_token == token)
        co_return Error(ErrorCode::kCorrupt, what("list", prefix) + ": the server repeats a page");
      token = page->next_token;
    }
  }

  Error foreign(const std::string& prefix, std::string_view key) const {
    return Error(ErrorCode::kCorrupt, fmt::format("{}: the server lists {}", what("list", prefix), key));
  }

  // A bucket that is not there is never "nothing there", also where the server does not give it its name.
  static Error list_error(S3CallError failed) {
    if (failed.error.code() != ErrorCode::kNotFound) return std::move(failed.error);
    return Error(ErrorCode::kUnavailable,
                 failed.error.message() + ": create the bucket, or correct its name or the endpoint");
  }

  Task<Status> remove_one(std::string key, std::stop_token stop) {
    S3Call call{.op = "delete", .what = what("delete", key), .method = "DELETE", .full_key = target().object_key(key)};
    S3Result<S3Answer> answer = co_await client_->fetch(std::move(call), stop);
    if (!answer && answer.error().error.code() != ErrorCode::kNotFound) co_return std::move(answer).error().error;
    co_return Status{};
  }

  Task<Status> remove_some(std::vector<std::string> keys, std::stop_token stop) {
    std::string intention = what("delete", keys.front()) + fmt::format(" and {} more", keys.size() - 1);
    for (std::string& key : keys) key = target().object_key(key);
    std::string document = delete_document(keys);
    S3Call call{.op = "delete", .what = intention, .method = "POST", .query = {{"delete", ""}}};
    call.headers.emplace_back("content-type", "application/xml");
    if (target().content_md5) call.headers.emplace_back("content-md5", md5_base64(as_bytes(document)));
    call.body = std::make_shared<const Bytes>(document.begin(), document.end());
    S3Result<S3Answer> answer = co_await client_->fetch(std::move(call), stop);
    if (!answer) co_return std::move(answer).error().error;
    Result<std::vector<DeleteFailure>> failed = parse_delete(as_text(answer->body));
    if (!failed) co_return std::move(failed).error().context(intention);
    std::erase_if(*failed, [](const DeleteFailure& f) { return f.code == "NoSuchKey"; });
    if (failed->empty()) co_return Status{};
    const DeleteFailure& first = failed->front();
    S3Failure failure{.status = answer->status, .code = first.code, .message = first.message};
    co_return s3_error(target(),
                       fmt::format("delete s3://{}/{} ({} of {} keys failed)", target().bucket, first.key,
                                   failed->size(), keys.size()),
                       failure);
  }

  std::shared_ptr<S3Client> client_;
  std::string url_;
};

// The one line of a file that nobody else may change.
Result<std::string> read_credential(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return from_errno(errno, "credential file {}", path);
  struct stat st{};
  char buffer[4096];
  ssize_t n = ::fstat(fd, &st) == 0 ? ::read(fd, buffer, sizeof buffer) : -1;
  int failed = errno;
  ::close(fd);
  if (n < 0) return from_errno(failed, "credential file {}", path);
  if ((st.st_mode & 0022) != 0)
    return make_error(ErrorCode::kDenied, "credential file {}: mode {:o} lets others change it: chmod 600", path,
                      st.st_mode & 0777);
  // Not an error: the secrets that container engines mount are readable by all.
  if ((st.st_mode & 0044) != 0)
    log_warn(fmt::format("credential file {}: mode {:o} lets others read it", path, st.st_mode & 0777),
             {{"cure", "chmod 600"}});
  std::string text(buffer, static_cast<std::size_t>(n));
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= 0x20) text.pop_back();
  if (text.empty() || text.find_first_of("\r\n") != std::string::npos || static_cast<std::size_t>(n) == sizeof buffer)
    return invalid("credential file {}: it must hold the credential alone, on one line", path);
  return text;
}

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

Result<Credentials> credentials_of(const TargetOptions& options) {
  Credentials c{options.access_key_id, options.secret_access_key, options.session_token};
  if (!options.access_key_id_file.empty()) {
    TRY_ASSIGN(c.access_key_id, read_credential(options.access_key_id_file));
  }
  if (!options.secret_access_key_file.empty()) {
    TRY_ASSIGN(c.secret_access_key, read_credential(options.secret_access_key_file));
  }
  if (c.access_key_id.empty() || c.secret_access_key.empty())
    return make_error(ErrorCode::kDenied, "no {}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                      c.access_key_id.empty() ? "access key id" : "secret access key");
  if (!is_printable(c.access_key_id) || !is_printable(c.secret_access_key) || !is_printable(c.session_token))
    return invalid(
        "the credentials contain blanks or odd characters: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
        "without them");
  return c;
}

}  // namespace

Result<std::unique_ptr<Store>> open_s3_store(loop::Loop& loop, const TargetOptions& options) {
  TRY_ASSIGN(S3Target target, parse_s3_target(options.url, options.endpoint, options.region));
  Result<Credentials> credentials = credentials_of(options);
  if (!credentials) return std::unexpected(std::move(credentials).error().context("backup target " + target.url()));
  auto client = std::make_shared<S3Client>(loop, std::move(target), std::move(*credentials), options);
  return std::make_unique<S3Store>(std::move(client));
}

}  // namespace caddis::store
