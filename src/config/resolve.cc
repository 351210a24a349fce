#include "config/resolve.h"

#include <algorithm>
#include <cstdlib>
#include <set>

namespace caddis::config {
namespace {

constexpr std::string_view kDefaultDataDir = "/var/lib/litefs";

std::string get(const Environment& env, const std::string& name) {
  auto it = env.find(name);
  return it == env.end() ? std::string() : it->second;
}

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

bool is_inside(const std::string& path, const std::string& dir) {
  return path.size() > dir.size() && path.starts_with(dir) && (dir == "/" || path[dir.size()] == '/');
}

class Resolver {
 public:
  Resolver(LoadResult& result, const ResolveInput& input)
      : result_(result), config_(result.config), input_(input), env_(with_fly_toml(input.env, input.fly_toml)) {}

  Resolution run() {
    out_.on_fly = is_on_fly(env_);
    out_.special_machine = is_special_machine(env_);
    environment();
    stop_timeout();
    if (!config_.user.empty()) config_.fuse.allow_other = true;
    if (out_.special_machine || !result_.parsed) return out_;
    data_dir();
    check_dirs();
    candidate();
    backup();
    lease();
    return out_;
  }

 private:
  // "caddis.yml:12: lease.candidate", or the key alone when no file has it.
  std::string at(std::string_view key) const {
    auto it = config_.given.find(key);
    return it == config_.given.end() ? std::string(key) : fmt::format("{}: {}", it->second, key);
  }
  template <class... A>
  void error(fmt::format_string<A...> text, A&&... args) {
    result_.errors.push_back(fmt::format(text, std::forward<A>(args)...));
  }
  template <class... A>
  void warning(fmt::format_string<A...> text, A&&... args) {
    result_.warnings.push_back(fmt::format(text, std::forward<A>(args)...));
  }

  // Single variables that stand above the file.
  void environment() {
    if (std::string dir = get(env_, "CADDIS_DIR"); !dir.empty()) {
      config_.fuse.dir = dir;
      config_.given["fuse.dir"] = "CADDIS_DIR";
    }
    if (std::string dir = get(env_, "CADDIS_DATA_DIR"); !dir.empty()) {
      config_.data.dir = dir;
      config_.given["data.dir"] = "CADDIS_DATA_DIR";
    }
    config_.http.secret = get(env_, "CADDIS_SECRET");
    log_level();
  }

  void log_level() {
    config_.log.level = config_.log.debug ? LogLevel::kDebug : LogLevel::kInfo;
    std::string level = get(env_, "CADDIS_LOG_LEVEL");
    auto given = config_.given.find("log.debug");
    if (level.empty() || (given != config_.given.end() && given->second == "-debug")) return;
    std::ranges::transform(level, level.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (level == "debug")
      config_.log.level = LogLevel::kDebug;
    else if (level == "info")
      config_.log.level = LogLevel::kInfo;
    else if (level == "warn" || level == "warning")
      config_.log.level = LogLevel::kWarn;
    else if (level == "error")
      config_.log.level = LogLevel::kError;
    else
      error("CADDIS_LOG_LEVEL: must be debug, info, warn or error, got '{}'", level);
    config_.log.debug = config_.log.level == LogLevel::kDebug;
  }

  // The app's share of kill_timeout: 2 s of it stay ours, or half of it when it is short.
  void stop_timeout() {
    if (config_.stop_timeout_ms) return;
    if (input_.fly_toml && input_.fly_toml->kill_timeout_ms) {
      std::int64_t kill_ms = *input_.fly_toml->kill_timeout_ms;
      config_.stop_timeout_ms = std::max(kill_ms - 2'000, kill_ms / 2);
    } else {
      config_.stop_timeout_ms = out_.on_fly ? 3'000 : 8'000;
    }
  }

  // V: fly.toml's mount of this process group, else the one mount point that is a volume. "" when none or several.
  std::string find_volume() const {
    if (input_.fly_toml && !input_.fly_toml->mount_destinations.empty()) {
      const auto& destinations = input_.fly_toml->mount_destinations;
      return destinations.size() == 1 ? without_slash(destinations[0]) : std::string();
    }
    std::set<std::string> found;
    for (const MountPoint& m : input_.mounts) {
      bool block = m.device.starts_with("/dev/vd") || m.device.starts_with("/dev/nvme");
      // Container engines bind single files (/etc/hosts) from a block device; a kernel's own partition is no volume.
      bool system = m.mount_point == "/" || m.mount_point == "/boot" || is_inside(m.mount_point, "/boot") ||
                    is_inside(m.mount_point, "/etc");
      if (block && !system && input_.is_directory(m.mount_point)) found.insert(without_slash(m.mount_point));
    }
    return found.size() == 1 ? *found.begin() : std::string();
  }

  void data_dir() {
    bool fallback = false;
    if (!config_.is_given("data.dir")) {
      out_.volume = find_volume();
      const std::string& v = out_.volume;
      fallback = v.empty();
      if (v.empty() || v == kDefaultDataDir)
        config_.data.dir = kDefaultDataDir;
      else if (input_.is_directory(v + "/dbs"))
        config_.data.dir = v;
      else if (input_.is_directory(v + "/litefs/dbs"))
        config_.data.dir = v + "/litefs";
      else
        config_.data.dir = v + "/caddis";
    }
    out_.data_on_root_device = input_.on_root_device(config_.data.dir);
    if (out_.data_on_root_device && (fallback || out_.on_fly)) {
      warning(
          "data.dir: {} is on the same device as /: EVERYTHING IN IT IS LOST when this machine is replaced; mount a "
          "volume there ([mounts] in fly.toml) or set CADDIS_DATA_DIR",
          config_.data.dir);
    }
  }

  void check_dirs() {
    std::string mount = without_slash(config_.fuse.dir);
    std::string data = without_slash(config_.data.dir);
    if (mount == data)
      error("{}: fuse directory and data directory cannot be the same path, both are {}; change one", at("fuse.dir"),
            mount);
    else if (mount == "/")
      error("{}: the mount directory cannot be /, write a path such as /litefs", at("fuse.dir"));
    else if (is_inside(data, mount))
      error("{}: {} is inside the mount directory {} and would be hidden by it, move one of the two", at("data.dir"),
            data, mount);
  }

  // Written: as written. A file with LiteFS's required lease.type: LiteFS's default, true. Else the region decides.
  void candidate() {
    if (!config_.is_given("lease.candidate")) {
      if (config_.lease.type == LeaseType::kStatic || config_.lease.type == LeaseType::kConsul) {
        if (out_.on_fly && config_.lease.type == LeaseType::kStatic) {
          warning(
              "{}: static without lease.candidate makes every machine a primary, as in LiteFS; write candidate: "
              "${{FLY_REGION == PRIMARY_REGION}}",
              at("lease.type"));
        }
      } else if (out_.on_fly) {
        candidate_by_region();
      }
    }
    if (config_.lease.candidate && !config_.lease.databases.empty()) {
      error("{}: cannot specify a database replication filter on candidate nodes, remove it or write candidate: false",
            at("lease.databases"));
    }
  }

  void candidate_by_region() {
    std::string region = get(env_, "FLY_REGION");
    std::string primary = get(env_, "PRIMARY_REGION");
    if (primary.empty()) {
      error(
          "PRIMARY_REGION: not set, so this machine cannot tell whether it may become primary; set primary_region in "
          "fly.toml and deploy, or write lease.candidate in caddis.yml");
    } else if (region.empty()) {
      error(
          "FLY_REGION: not set, so this machine cannot tell whether it is in the primary region {}; set it, or write "
          "lease.candidate in caddis.yml",
          primary);
    } else {
      config_.lease.candidate = region == primary;
    }
  }

  void backup() {
    // `backup: []` is a decision for none; LiteFS's map without a usable type is not.
    bool decided = !config_.backup.empty() || (config_.is_given("backup") && config_.backup_list);
    std::string bucket = get(env_, "BUCKET_NAME");
    if (!decided && !bucket.empty()) {
      std::string prefix = out_.on_fly ? get(env_, "FLY_APP_NAME") : "caddis";
      config_.backup.push_back(BackupTarget{.url = fmt::format("s3://{}/{}", bucket, prefix), .where = "BUCKET_NAME"});
    }
    for (BackupTarget& target : config_.backup) {
      if (target.url.starts_with("s3://")) credentials(target);
    }
    if (!config_.backup.empty()) return;
    if (config_.durability == Durability::kBackup)
      error("{}: backup needs a backup target and there is none, write backup: - url: s3://BUCKET/PREFIX",
            at("durability"));
    if (config_.restore == RestoreMode::kRequired)
      error("{}: required needs a backup target and there is none, write backup: - url: s3://BUCKET/PREFIX",
            at("restore"));
    warning(
        "backup: no target, a lost volume is lost data; run fly storage create (it sets BUCKET_NAME) or write backup: "
        "- url: s3://BUCKET/PREFIX");
  }

  // What the target does not say itself comes from the environment.
  void credentials(BackupTarget& t) {
    bool has_id = !t.access_key_id.empty() || !t.access_key_id_file.empty();
    bool has_secret = !t.secret_access_key.empty() || !t.secret_access_key_file.empty();
    if (!has_id && !has_secret) {
      bool litestream = !get(env_, "LITESTREAM_ACCESS_KEY_ID").empty();
      std::string family = litestream ? "LITESTREAM" : "AWS";
      t.access_key_id = get(env_, family + "_ACCESS_KEY_ID");
      t.secret_access_key = get(env_, family + "_SECRET_ACCESS_KEY");
      if (!litestream) t.session_token = get(env_, "AWS_SESSION_TOKEN");
      has_id = !t.access_key_id.empty();
      has_secret = !t.secret_access_key.empty();
    }
    t.endpoint = get(env_, "AWS_ENDPOINT_URL_S3");
    t.region = get(env_, "AWS_REGION");
    if (has_id && has_secret) return;
    std::string missing = !has_id && !has_secret ? "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are"
                          : has_id               ? "the secret access key is"
                                                 : "the access key id is";
    error(
        "{}: {}: {} not set; fly storage create sets both, or give the target access-key-id-file and "
        "secret-access-key-file",
        t.where, t.url, missing);
  }

  void lease() {
    ConsulConfig& consul = config_.lease.consul;
    if (consul.url.empty() && config_.lease.type != LeaseType::kStatic) consul.url = get(env_, "FLY_CONSUL_URL");
    if (config_.lease.type == LeaseType::kConsul && consul.url.empty()) {
      error("{}: consul needs lease.consul.url and FLY_CONSUL_URL is not set either; run fly consul attach",
            at("lease.type"));
    }
    const std::string& url = config_.lease.s3.url;
    bool s3_target =
        std::ranges::any_of(config_.backup, [](const BackupTarget& t) { return t.url.starts_with("s3://"); });
    if (!url.empty() && !url.starts_with("s3://")) {
      error("{}: '{}' is no bucket, write s3://BUCKET/PREFIX", at("lease.s3.url"), url);
    } else if (config_.lease.type == LeaseType::kS3 && url.empty() && !s3_target) {
      error(
          "{}: s3 needs lease.s3.url or an s3 backup target, and there is neither; write s3: {{url: "
          "\"s3://BUCKET/PREFIX\"}}",
          at("lease.type"));
    }
  }

  LoadResult& result_;
  Config& config_;
  const ResolveInput& input_;
  Environment env_;
  Resolution out_;
};

}  // namespace

bool is_on_fly(const Environment& env) { return !get(env, "FLY_APP_NAME").empty(); }

bool is_special_machine(const Environment& env) {
  return get(env, "RELEASE_COMMAND") == "1" || get(env, "FLY_TEST_COMMAND") == "1" ||
         get(env, "FLY_PROCESS_GROUP").starts_with("fly_app_");
}

Environment with_fly_toml(Environment env, const std::optional<FlyToml>& fly_toml) {
  if (fly_toml && fly_toml->primary_region && get(env, "PRIMARY_REGION").empty())
    env["PRIMARY_REGION"] = *fly_toml->primary_region;
  return env;
}

Resolution resolve(LoadResult& result, const ResolveInput& input) { return Resolver(result, input).run(); }

}  // namespace caddis::config
