// Hashes and text encodings that S3 asks for (OpenSSL stays inside digest.cc). Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace caddis::store {

using Sha256 = std::array<std::uint8_t, 32>;

Sha256 sha256(ByteView data);
Sha256 hmac_sha256(ByteView key, ByteView data);
std::string md5_base64(ByteView data);  // the value of Content-MD5
std::string to_hex(ByteView data);      // lower case
std::string to_base64(ByteView data);

}  // namespace caddis::store
