// The machine's `role` metadata (the ROLE column of `fly status`), set through Fly's API socket in the guest. Only
// shown to people: a failure is logged and nothing waits for it. Loop thread.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "loop/loop.h"

namespace caddis::fly {

struct RoleMetadataOptions {
  std::string app_name;
  std::string machine_id;
  std::string socket_path = "/.fly/api";
  std::int64_t timeout_ms = 2'000;  // of one attempt
  int attempts = 6;
  std::int64_t pause_ms = 1'000;  // between attempts
};

class RoleMetadata {
 public:
  RoleMetadata(loop::Loop& loop, RoleMetadataOptions options) : loop_(loop), options_(std::move(options)) {}
  ~RoleMetadata() { stop_.request_stop(); }

  // Sets role to "primary" or "replica" in the background; a newer role cancels an older attempt.
  void publish(std::string role);
  // Removes it, so that a stopped machine does not go on showing a role. One attempt of timeout_ms at most.
  loop::Task<Status> clear(std::int64_t timeout_ms, std::stop_token stop);

 private:
  loop::Loop& loop_;
  const RoleMetadataOptions options_;
  std::stop_source stop_{std::nostopstate};
};

}  // namespace caddis::fly
