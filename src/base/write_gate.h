// May this node acknowledge a write at this moment? The lease answers, on the thread that asks: a gate never trusts a
// flag that another thread would have to clear in time.
#pragma once

namespace caddis {

class WriteGate {
 public:
  virtual ~WriteGate() = default;
  // Any thread. Compares the clock with the end of the lease itself, at every call.
  virtual bool open() const = 0;
};

}  // namespace caddis
