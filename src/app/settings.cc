#include "app/settings.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "fly/fly_toml.h"

namespace caddis::app {
namespace {

constexpr std::size_t kTextLimitBytes = 1 << 20;

std::string value_of(const config::Environment& env, const std::string& name) {
  auto it = env.find(name);
  return it == env.end() ? std::string() : it->second;
}

bool is_directory(const std::string& path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

// The device of `path`, or of its nearest parent that exists, is that of "/".
bool on_root_device(std::string path) {
  struct stat root;
  struct stat st;
  if (stat("/", &root) != 0) return false;
  while (stat(path.c_str(), &st) != 0) {
    std::size_t slash = path.find_last_of('/');
    if (slash == std::string::npos || path.size() == 1) return false;
    path.resize(slash == 0 ? 1 : slash);
  }
  return st.st_dev == root.st_dev;
}

// The files config::load may choose from. With -config (or CADDIS_CONFIG) it is that one or an error.
std::vector<config::SourceFile> read_candidates(const std::string& explicit_path, const std::string& home,
                                                std::vector<std::string>& errors) {
  std::vector<config::SourceFile> files;
  if (!explicit_path.empty()) {
    Result<std::string> text = read_text_file(explicit_path);
    if (text)
      files.push_back({explicit_path, std::move(*text)});
    else
      errors.push_back(text.error().message());
    return files;
  }
  for (const std::string& path : config::search_paths(home)) {
    Result<std::string> text = read_text_file(path);
    if (text) {
      files.push_back({path, std::move(*text)});
    } else if (text.error().code() != ErrorCode::kNotFound) {
      errors.push_back(fmt::format("cannot read config file at {}: {}", path, text.error().message()));
    }
  }
  return files;
}

std::optional<config::FlyToml> read_fly_toml(const std::string& given_path, const config::Environment& env,
                                             Settings& settings) {
  std::string path = given_path.empty() ? "fly.toml" : given_path;
  Result<std::string> text = read_text_file(path);
  if (!text) {
    if (!given_path.empty()) settings.errors.push_back(fmt::format("-fly-toml: {}", text.error().message()));
    return std::nullopt;
  }
  Result<config::FlyToml> parsed = fly::parse_fly_toml(*text, path, value_of(env, "FLY_PROCESS_GROUP"));
  if (parsed) return std::move(*parsed);
  (given_path.empty() ? settings.warnings : settings.errors).push_back(parsed.error().message());
  return std::nullopt;
}

// access-key-id-file and secret-access-key-file win over every other source of the key.
void read_key_files(config::BackupTarget& target, std::vector<std::string>& errors) {
  auto read_into = [&](const std::string& path, std::string_view key, std::string& value) {
    if (path.empty()) return;
    Result<std::string> text = read_text_file(path);
    if (!text) {
      errors.push_back(fmt::format("{}: backup.{}: {}", target.where, key, text.error().message()));
      return;
    }
    while (!text->empty() && (text->back() == '\n' || text->back() == '\r' || text->back() == ' ')) text->pop_back();
    value = std::move(*text);
  };
  read_into(target.access_key_id_file, "access-key-id-file", target.access_key_id);
  read_into(target.secret_access_key_file, "secret-access-key-file", target.secret_access_key);
}

}  // namespace

config::Environment read_environment() {
  if (const char* name = getenv("HOSTNAME"); name == nullptr || *name == '\0') {
    char host[HOST_NAME_MAX + 1] = {};
    if (gethostname(host, sizeof host - 1) == 0) setenv("HOSTNAME", host, 1);
  }
  config::Environment env;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const char* equals = std::strchr(*entry, '=');
    if (equals != nullptr) env.emplace(std::string(*entry, static_cast<std::size_t>(equals - *entry)), equals + 1);
  }
  return env;
}

Settings load_settings(const MountCommand& command, config::Environment env) {
  Settings settings;
  std::optional<config::FlyToml> fly_toml = read_fly_toml(command.fly_toml_path, env, settings);
  config::LoadInput input;
  input.env = config::with_fly_toml(env, fly_toml);
  std::string config_path = command.config_path.empty() ? value_of(env, "CADDIS_CONFIG") : command.config_path;
  input.candidates = read_candidates(config_path, value_of(env, "HOME"), settings.errors);
  input.flags = {.expand_env = !command.no_expand_env,
                 .debug = command.debug,
                 .fuse_debug = command.fuse_debug,
                 .tracing = command.tracing,
                 .command = command.command};
  if (!settings.errors.empty()) return settings;

  config::LoadResult loaded = config::load(input);
  config::ResolveInput resolve_input{.env = input.env,
                                     .fly_toml = fly_toml,
                                     .mounts = parse_mounts(read_text_file("/proc/self/mounts").value_or("")),
                                     .is_directory = is_directory,
                                     .on_root_device = on_root_device};
  settings.resolution = config::resolve(loaded, resolve_input);
  for (config::BackupTarget& target : loaded.config.backup) read_key_files(target, loaded.errors);
  if (!loaded.config.user.empty()) {
    Result<os::User> user = os::find_user(loaded.config.user);
    if (user)
      settings.user = std::move(*user);
    else
      loaded.errors.push_back(fmt::format("user: {}", user.error().message()));
  }
  settings.config = std::move(loaded.config);
  settings.env = std::move(input.env);
  settings.errors = std::move(loaded.errors);
  settings.warnings.insert(settings.warnings.end(), loaded.warnings.begin(), loaded.warnings.end());
  settings.notes = std::move(loaded.notes);
  return settings;
}

std::vector<config::MountPoint> parse_mounts(const std::string& text) {
  auto unescape = [](std::string_view field) {
    std::string out;
    for (std::size_t i = 0; i < field.size(); ++i) {
      if (field[i] == '\\' && i + 3 < field.size()) {
        out += static_cast<char>((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 + (field[i + 3] - '0'));
        i += 3;
      } else {
        out += field[i];
      }
    }
    return out;
  };
  std::vector<config::MountPoint> mounts;
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line(text.data() + begin, end - begin);
    begin = end + 1;
    std::string_view fields[3];
    bool complete = true;
    for (std::string_view& field : fields) {
      std::size_t blank = line.find(' ');
      complete = complete && blank != std::string_view::npos;
      field = line.substr(0, blank);
      line = blank == std::string_view::npos ? std::string_view() : line.substr(blank + 1);
    }
    if (complete) {
      mounts.push_back(
          {.mount_point = unescape(fields[1]), .device = unescape(fields[0]), .fs_type = std::string(fields[2])});
    }
  }
  return mounts;
}

Result<std::string> read_text_file(const std::string& path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    int e = errno;  // LiteFS's text: Go's *PathError with its lower-case errno
    return from_errno(e, "open {}", path);
  }
  std::string text;
  char buffer[16384];
  ssize_t n = 0;
  while ((n = read(fd, buffer, sizeof buffer)) > 0 && text.size() <= kTextLimitBytes) {
    text.append(buffer, static_cast<std::size_t>(n));
  }
  int e = errno;
  close(fd);
  if (n < 0) return from_errno(e, "read {}", path);
  if (text.size() > kTextLimitBytes)
    return invalid("{}: larger than {} bytes, no configuration is", path, kTextLimitBytes);
  return text;
}

}  // namespace caddis::app
