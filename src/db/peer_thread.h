// The thread that steps an Engine. It makes kernel-local calls only (see MountView) and works on the data directory.
#pragma once

#include <atomic>
#include <thread>

#include "db/engine.h"

namespace caddis::db {

class PeerThread {
 public:
  explicit PeerThread(Engine& engine) : engine_(engine), thread_([this] { run(); }) {}
  ~PeerThread() { stop(); }
  // Ends after the jobs that are queued now. The mount must be gone: nobody answers its requests afterwards.
  void stop() {
    if (!thread_.joinable()) return;
    stopping_.store(true, std::memory_order_release);
    engine_.wake();
    thread_.join();
  }

 private:
  void run() {
    while (!stopping_.load(std::memory_order_acquire)) engine_.wait(engine_.step());
    engine_.step();
  }
  Engine& engine_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace caddis::db
