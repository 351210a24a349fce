// What Fly puts into a machine's environment, as a typed view. Pure: the environment is passed in.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace caddis::fly {

// Empty texts are unset variables.
struct Environment {
  std::string app_name;                      // FLY_APP_NAME; non-empty: this is a Fly machine
  std::string machine_id;                    // FLY_MACHINE_ID, else FLY_ALLOC_ID (its older name)
  std::string region;                        // FLY_REGION
  std::string primary_region;                // PRIMARY_REGION
  std::string private_ip;                    // FLY_PRIVATE_IP, the 6PN address; changes when a machine moves
  std::string image_ref;                     // FLY_IMAGE_REF, the same on all machines of one deploy
  std::string machine_version;               // FLY_MACHINE_VERSION
  std::string process_group;                 // FLY_PROCESS_GROUP
  std::string standby_for;                   // FLY_STANDBY_FOR: comma-separated machine ids, on a standby machine
  std::optional<std::int64_t> vm_memory_mb;  // FLY_VM_MEMORY_MB
  std::string consul_url;                    // FLY_CONSUL_URL; holds a token, never log it

  bool on_fly() const { return !app_name.empty(); }
};

Environment read_environment(const std::map<std::string, std::string>& env);

}  // namespace caddis::fly
