// A receive buffer that grows with what arrives and is given back when idle.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>

#include "base/bytes.h"

namespace caddis::proxy {

class Inlet {
 public:
  static constexpr std::size_t kSmall = 4 * 1024, kUsual = 16 * 1024, kLarge = 64 * 1024;

  ByteView view() const { return {buffer_.get() + begin_, end_ - begin_}; }
  std::string_view text() const { return as_text(view()); }
  bool empty() const { return begin_ == end_; }
  void consume(std::size_t n) {
    begin_ += n;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  // Space behind view(), never empty. Moves and grows: views from before are no longer valid. A buffer that the last
  // read filled is doubled up to kLarge; one that is full beyond it grows on (the caller limits what it keeps).
  ByteSpan room(std::size_t least = kUsual) {
    std::size_t wanted = std::max(least, size_);
    if (filled_ && wanted < kLarge) wanted = std::min(2 * wanted, kLarge);
    if (end_ - begin_ == wanted) wanted *= 2;
    make(wanted);
    return {buffer_.get() + end_, size_ - end_};
  }
  void took(std::size_t n) {
    end_ += n;
    filled_ = end_ == size_;
  }
  void append(ByteView bytes) {
    if (bytes.empty()) return;
    make(std::max(size_, end_ - begin_ + bytes.size()));
    std::memcpy(buffer_.get() + end_, bytes.data(), bytes.size());
    end_ += bytes.size();
  }
  // Before a wait: an empty buffer larger than `most` goes, unless the last read has filled it.
  void relax(std::size_t most) {
    if (empty() && !filled_ && size_ > most) release();
  }
  void release() {
    if (!empty()) return;
    buffer_.reset();
    size_ = 0;
    filled_ = false;
  }

 private:
  // What is held stands in front of at least size bytes, not initialised.
  void make(std::size_t size) {
    std::size_t held = end_ - begin_;
    if (size > size_) {
      auto larger = std::make_unique_for_overwrite<std::uint8_t[]>(size);
      if (held > 0) std::memcpy(larger.get(), buffer_.get() + begin_, held);
      buffer_ = std::move(larger);
      size_ = size;
    } else if (begin_ > 0) {
      std::memmove(buffer_.get(), buffer_.get() + begin_, held);
    }
    begin_ = 0;
    end_ = held;
  }

  std::unique_ptr<std::uint8_t[]> buffer_;
  std::size_t size_ = 0, begin_ = 0, end_ = 0;
  bool filled_ = false;
};

}  // namespace caddis::proxy
