// Users and groups from /etc/passwd and /etc/group, read directly: the release binary is static glibc, whose
// getpwnam() would load NSS libraries of another libc at run time. LDAP and systemd users are therefore not known.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace caddis::os {

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary, gid included
  std::string home = "/";     // "/" when passwd has no such uid
};

// spec: NAME, UID, NAME:GROUP, UID:GID (each side a name or a number). With ":GROUP" that is the only group, as with
// Docker's USER; without it gid comes from passwd and the supplementary groups from group.
// Errors: kInvalid for a name that neither file has, or a number without passwd entry and without ":GID".
Result<User> find_user(std::string_view spec, const std::string& passwd_path = "/etc/passwd",
                       const std::string& group_path = "/etc/group");

}  // namespace caddis::os
