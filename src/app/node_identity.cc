#include "app/node_identity.h"

#include <sys/random.h>

#include "base/bytes.h"
#include "base/check.h"

namespace caddis::app {
namespace {
constexpr std::string_view kFileName = "clusterid";
constexpr std::string_view kPrefix = "LFSC";
constexpr std::size_t kIdSize = 20;
}  // namespace

std::uint64_t random_node_id() {
  std::uint64_t id = 0;
  while (id == 0) CHECK(getrandom(&id, sizeof id, 0) == sizeof id);
  return id;
}

std::string generate_cluster_id() { return fmt::format("{}{:016X}", kPrefix, random_node_id()); }

bool is_valid_cluster_id(std::string_view id) { return id.size() == kIdSize && id.starts_with(kPrefix); }

Result<std::string> read_cluster_id(os::Dir& data_dir) {
  Result<Bytes> bytes = os::read_file(data_dir, kFileName, 4096);
  if (!bytes && bytes.error().code() == ErrorCode::kNotFound) return std::string();
  if (!bytes) return std::unexpected(std::move(bytes).error().context("load cluster id"));
  std::string id(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  while (!id.empty() && (id.back() == '\n' || id.back() == '\r' || id.back() == ' ')) id.pop_back();
  if (!is_valid_cluster_id(id)) {
    return corrupt(
        "load cluster id: invalid cluster id: {}/{} holds {} bytes, wanted LFSC and 16 hex digits; remove the "
        "file to join or found a cluster anew",
        data_dir.path(), kFileName, bytes->size());
  }
  return id;
}

Status write_cluster_id(os::Dir& data_dir, const std::string& id) {
  std::string text = id + "\n";
  return os::write_file_durably(data_dir, kFileName, as_bytes(text));
}

}  // namespace caddis::app
