// DNS messages as far as Fly's internal names need them: one TXT question, its answers. Pure: bytes only (RFC 1035,
// RFC 6891 for the size of answers).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace caddis::fly {

inline constexpr std::size_t kMaxDnsAnswer = 4096;  // bytes, announced with the question

// A recursive TXT question. `name`: letters, digits, "-", "_" and dots, at most 253 bytes; kInvalid otherwise.
Result<Bytes> encode_txt_question(std::uint16_t id, std::string_view name);

// The TXT records for `name`, each with its strings joined, in the order of the answer. Empty when the name exists and
// has none. Errors: kNotFound for NXDOMAIN; kUnavailable for SERVFAIL, REFUSED and a truncated answer; kCorrupt for
// bytes that are no answer; kConflict for an answer to another question (a late one: wait for the right one).
Result<std::vector<std::string>> decode_txt_answer(ByteView message, std::uint16_t id, std::string_view name);

}  // namespace caddis::fly
