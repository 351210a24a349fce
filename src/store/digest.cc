#include "store/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/check.h"

namespace caddis::store {

Sha256 sha256(ByteView data) {
  Sha256 out;
  unsigned length = 0;
  CHECK(EVP_Digest(data.data(), data.size(), out.data(), &length, EVP_sha256(), nullptr) == 1 && length == out.size());
  return out;
}

Sha256 hmac_sha256(ByteView key, ByteView data) {
  Sha256 out;
  unsigned length = 0;
  CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data.data(), data.size(), out.data(), &length) !=
        nullptr);
  return out;
}

std::string md5_base64(ByteView data) {
  std::array<std::uint8_t, 16> out;
  unsigned length = 0;
  CHECK(EVP_Digest(data.data(), data.size(), out.data(), &length, EVP_md5(), nullptr) == 1 && length == out.size());
  return to_base64(out);
}

std::string to_hex(ByteView data) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(data.size() * 2);
  for (std::uint8_t b : data) {
    out += kDigits[b >> 4];
    out += kDigits[b & 15];
  }
  return out;
}

std::string to_base64(ByteView data) {
  std::string out((data.size() + 2) / 3 * 4 + 1, '\0');
  int n = EVP_EncodeBlock(reinterpret_cast<std::uint8_t*>(out.data()), data.data(), static_cast<int>(data.size()));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

}  // namespace caddis::store
