// Who this node is: the random id of this process start, and the id of its cluster (the file `clusterid`, LiteFS's).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "os/file.h"
#include "replica/frames.h"

namespace caddis::app {

// 64 random bits, never 0. Not persistent, as in LiteFS.
std::uint64_t random_node_id();
using replica::format_node_id;

// "LFSC" + 16 upper-case hex digits.
std::string generate_cluster_id();
// As LiteFS checks it: 20 bytes that begin with LFSC.
bool is_valid_cluster_id(std::string_view id);
// Empty when there is no file. kCorrupt: `load cluster id: invalid cluster id`.
Result<std::string> read_cluster_id(os::Dir& data_dir);
Status write_cluster_id(os::Dir& data_dir, const std::string& id);

}  // namespace caddis::app
