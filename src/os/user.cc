#include "os/user.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <optional>

namespace caddis::os {
namespace {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    std::size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// The largest number means "no change" to the kernel and is no id.
std::optional<std::uint32_t> parse_id(std::string_view text) {
  std::uint32_t id = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  if (id == std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  return id;
}

// Lines of a passwd-like file with at least this many fields; empty when there is no such file.
std::vector<std::vector<std::string>> read_table(const std::string& path, std::size_t fields) {
  std::vector<std::vector<std::string>> rows;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    std::vector<std::string> row = split(line, ':');
    if (row.size() >= fields && !row[0].empty() && row[0][0] != '#') rows.push_back(std::move(row));
  }
  return rows;
}

Result<gid_t> find_group(std::string_view spec, const std::string& group_path) {
  for (const auto& row : read_table(group_path, 3)) {
    if (row[0] != spec) continue;
    if (std::optional<gid_t> gid = parse_id(row[2])) return *gid;
  }
  if (std::optional<gid_t> gid = parse_id(spec)) return *gid;
  return invalid("group {:?}: not in {}; name one that is there, or a number", spec, group_path);
}

std::vector<gid_t> groups_of(const std::string& user, gid_t gid, const std::string& group_path) {
  std::vector<gid_t> groups{gid};
  for (const auto& row : read_table(group_path, 4)) {
    std::vector<std::string> members = split(row[3], ',');
    std::optional<gid_t> member_of = parse_id(row[2]);
    if (!member_of || std::find(members.begin(), members.end(), user) == members.end()) continue;
    if (std::find(groups.begin(), groups.end(), *member_of) == groups.end()) groups.push_back(*member_of);
  }
  return groups;
}

}  // namespace

Result<User> find_user(std::string_view spec, const std::string& passwd_path, const std::string& group_path) {
  std::size_t colon = spec.find(':');
  std::string_view name = spec.substr(0, colon);
  std::optional<std::uint32_t> number = parse_id(name);
  std::vector<std::string> entry;
  std::vector<std::vector<std::string>> rows = read_table(passwd_path, 6);
  for (auto& row : rows) {
    if (row[0] == name) entry = row;
  }
  for (auto& row : rows) {
    if (entry.empty() && number && parse_id(row[2]) == number) entry = row;
  }
  User user;
  if (!entry.empty()) {
    std::optional<uid_t> uid = parse_id(entry[2]);
    std::optional<gid_t> gid = parse_id(entry[3]);
    if (!uid || !gid) return invalid("user {:?}: its line in {} has no uid and gid", name, passwd_path);
    user.uid = *uid;
    user.gid = *gid;
    if (!entry[5].empty()) user.home = entry[5];
  } else if (number && colon != spec.npos) {
    user.uid = *number;
  } else if (number) {
    return invalid("user {}: not in {}; write {}:GID", name, passwd_path, name);
  } else {
    return invalid("user {:?}: not in {}; create it in the image, or write UID:GID", name, passwd_path);
  }
  if (colon != spec.npos) {
    TRY_ASSIGN(user.gid, find_group(spec.substr(colon + 1), group_path));
    user.groups = {user.gid};
  } else {
    user.groups = groups_of(entry[0], user.gid, group_path);
  }
  return user;
}

}  // namespace caddis::os
