#include "http/node_auth.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <charconv>
#include <optional>
#include <utility>

#include "base/check.h"

namespace caddis::http {
namespace {

constexpr std::size_t kMinSecret = 16;
constexpr std::int64_t kWindowMs = 60'000;
constexpr std::size_t kMaxRemembered = 100'000;  // requests in a window

std::string hex(ByteView data) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(data.size() * 2);
  for (std::uint8_t b : data) {
    out += kDigits[b >> 4];
    out += kDigits[b & 15];
  }
  return out;
}

bool is_hex(std::string_view text, std::size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

struct Fields {
  std::string_view time, nonce, body, mac;
};

// "v1 time=… nonce=… body=… mac=…", in this order.
std::optional<Fields> split(std::string_view header) {
  Fields f;
  std::pair<std::string_view, std::string_view*> parts[] = {
      {"v1 time=", &f.time}, {" nonce=", &f.nonce}, {" body=", &f.body}, {" mac=", &f.mac}};
  for (auto& [name, value] : parts) {
    if (!header.starts_with(name)) return std::nullopt;
    header.remove_prefix(name.size());
    *value = header.substr(0, header.find(' '));
    header.remove_prefix(value->size());
  }
  bool sound = header.empty() && is_hex(f.nonce, 32) && (f.body == kNoBody || is_hex(f.body, 64)) && is_hex(f.mac, 64);
  return sound ? std::optional(f) : std::nullopt;
}

template <class... A>
std::unexpected<Error> denied(fmt::format_string<A...> text, A&&... args) {
  return make_error(ErrorCode::kDenied, text, std::forward<A>(args)...);
}

}  // namespace

Result<NodeSecret> NodeSecret::parse(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  std::size_t begin = text.find_first_not_of(kBlank);
  text = begin == std::string_view::npos ? std::string_view()
                                         : text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
  if (text.size() < kMinSecret) {
    return invalid("a secret of {} bytes, at least {} are needed (openssl rand -hex 32)", text.size(), kMinSecret);
  }
  return NodeSecret(std::string(text));
}

std::string NodeSecret::mac(std::string_view method, std::string_view target, std::string_view time,
                            std::string_view nonce, std::string_view body) const {
  std::string text = fmt::format("v1\n{}\n{}\n{}\n{}\n{}\n", method, target, time, nonce, body);
  std::array<std::uint8_t, 32> out;
  unsigned length = 0;
  CHECK(HMAC(EVP_sha256(), secret_.data(), static_cast<int>(secret_.size()),
             reinterpret_cast<const std::uint8_t*>(text.data()), text.size(), out.data(), &length) != nullptr);
  return hex(out);
}

std::string NodeSecret::sign(std::string_view method, std::string_view target, std::string_view body_sha256,
                             std::int64_t wall_ms) const {
  std::array<std::uint8_t, 16> random;
  CHECK(RAND_bytes(random.data(), static_cast<int>(random.size())) == 1);
  std::string time = std::to_string(wall_ms);
  std::string nonce = hex(random);
  return fmt::format("v1 time={} nonce={} body={} mac={}", time, nonce, body_sha256,
                     mac(method, target, time, nonce, body_sha256));
}

Result<std::string> AuthChecker::check(std::string_view header, std::string_view method, std::string_view target) {
  if (header.empty()) return denied("this node has a secret (http.secret-file) and the request is not signed with it");
  std::optional<Fields> f = split(header);
  if (!f) return denied("the header {} can't be read", kAuthHeader);
  std::string expected = secret_.mac(method, target, f->time, f->nonce, f->body);
  if (CRYPTO_memcmp(expected.data(), f->mac.data(), expected.size()) != 0) {
    return denied("signed with another secret: http.secret-file differs between the nodes");
  }
  std::int64_t time = 0;
  auto [end, error] = std::from_chars(f->time.data(), f->time.data() + f->time.size(), time);
  std::int64_t now = clock_.wall_ms();
  if (error != std::errc() || end != f->time.data() + f->time.size())
    return denied("the time in {} can't be read", kAuthHeader);
  std::int64_t off = now > time ? now - time : time - now;
  if (off > kWindowMs) return denied("signed at a time that is {} s off: a clock is wrong", off / 1000);
  // A nonce counts as long as its time would be accepted.
  while (!used_.empty() && now - used_.front().first > 2 * kWindowMs) {
    nonces_.erase(used_.front().second);
    used_.pop_front();
  }
  if (nonces_.contains(f->nonce)) return denied("this request has been made before");
  if (used_.size() >= kMaxRemembered)
    return make_error(ErrorCode::kBusy, "too many signed requests within two minutes");
  used_.emplace_back(now, f->nonce);
  nonces_.emplace(f->nonce);
  return std::string(f->body);
}

struct BodyHash::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

BodyHash::BodyHash() : state_(std::make_unique<State>()) {
  CHECK(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1);
}
BodyHash::~BodyHash() = default;
BodyHash::BodyHash(BodyHash&&) noexcept = default;

void BodyHash::update(ByteView data) { CHECK(EVP_DigestUpdate(state_->context, data.data(), data.size()) == 1); }

std::string BodyHash::hex() {
  std::array<std::uint8_t, 32> out;
  unsigned length = 0;
  CHECK(EVP_DigestFinal_ex(state_->context, out.data(), &length) == 1);
  return http::hex(out);
}

}  // namespace caddis::http
