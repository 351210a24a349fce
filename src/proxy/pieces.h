// A body on its way from one framing into another, without a copy: what of the received bytes can be written next, as
// a list of parts. Pure.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "http/parser.h"

namespace caddis::proxy {

class Pieces {
 public:
  // Takes what it can of input out of its framing. chunked: put it into chunks again; head: bytes to be sent before.
  // The parts point into input, head and this object.
  http::Parsed<bool> gather(http::BodyDecoder& decoder, ByteView input, bool chunked, std::string_view head = {});

  std::span<const ByteView> parts() const { return std::span(parts_).first(count_); }
  std::size_t size() const { return size_; }          // bytes of all parts
  std::size_t consumed() const { return consumed_; }  // of input
  bool done() const { return done_; }                 // the parts end the body

 private:
  static constexpr std::size_t kMaxParts = 8;  // what a stream takes at once
  void add(ByteView part);
  std::array<ByteView, kMaxParts> parts_;
  std::array<char, 24> prefix_;
  std::size_t count_ = 0, size_ = 0, consumed_ = 0;
  bool done_ = false;
};

}  // namespace caddis::proxy
