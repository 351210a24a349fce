#include "fly/environment.h"

#include <charconv>

namespace caddis::fly {

Environment read_environment(const std::map<std::string, std::string>& env) {
  auto get = [&env](const char* name) {
    auto it = env.find(name);
    return it == env.end() ? std::string() : it->second;
  };
  Environment out;
  out.app_name = get("FLY_APP_NAME");
  out.machine_id = get("FLY_MACHINE_ID");
  if (out.machine_id.empty()) out.machine_id = get("FLY_ALLOC_ID");
  out.region = get("FLY_REGION");
  out.primary_region = get("PRIMARY_REGION");
  out.private_ip = get("FLY_PRIVATE_IP");
  out.image_ref = get("FLY_IMAGE_REF");
  out.machine_version = get("FLY_MACHINE_VERSION");
  out.process_group = get("FLY_PROCESS_GROUP");
  out.standby_for = get("FLY_STANDBY_FOR");
  out.consul_url = get("FLY_CONSUL_URL");
  std::string memory = get("FLY_VM_MEMORY_MB");
  std::int64_t mb = 0;
  auto [end, ec] = std::from_chars(memory.data(), memory.data() + memory.size(), mb);
  if (!memory.empty() && ec == std::errc() && end == memory.data() + memory.size()) out.vm_memory_mb = mb;
  return out;
}

}  // namespace caddis::fly
