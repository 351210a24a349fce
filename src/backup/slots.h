// At most n coroutines at a time in a costly place (memory of batches, connections). Loop thread.
#pragma once

#include <cstddef>
#include <stop_token>
#include <utility>

#include "loop/loop.h"

namespace caddis::backup {

class Slots {
 public:
  class Slot {  // one place, given back when destroyed
   public:
    explicit Slot(Slots* slots = nullptr) : slots_(slots) {}
    Slot(Slot&& other) noexcept : slots_(std::exchange(other.slots_, nullptr)) {}
    Slot& operator=(Slot&& other) noexcept {
      std::swap(slots_, other.slots_);
      return *this;
    }
    ~Slot() {
      if (slots_ != nullptr) slots_->give_back();
    }

   private:
    Slots* slots_;
  };
  Slots(loop::Loop& loop, std::size_t count) : free_(count), freed_(loop) {}
  loop::Task<Result<Slot>> acquire(std::stop_token stop) {
    while (free_ == 0) {
      freed_.reset();
      CO_TRY(co_await freed_.wait(0, stop));
    }
    --free_;
    co_return Slot(this);
  }

 private:
  void give_back() {
    ++free_;
    freed_.set();
  }
  std::size_t free_;
  loop::Event freed_;
};

}  // namespace caddis::backup
