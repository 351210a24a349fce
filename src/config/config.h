// Everything a user can set, as one struct with its defaults: litefs.yml's keys and caddis's own.
// Filled by config/load.h (files) and completed by config/resolve.h (environment, fly.toml, "nothing configured").
// Durations are milliseconds; a positive duration below 1 ms in a file becomes 1 ms.
// Plain values: copy freely, no thread owns them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"

namespace caddis::config {

enum class FuseIo { kAuto, kPassthrough, kDirect };
enum class LeaseType { kAuto, kStatic, kConsul, kS3 };
// What boot does with an empty volume: kAuto restores what the targets have, kOff starts empty, kRequired treats an
// empty bucket as an error too (exit code 69), kLazy serves pages while the restore runs.
enum class RestoreMode { kAuto, kOff, kRequired, kLazy };
enum class Durability { kLocal, kReplica, kBackup };
// On a candidate that is not primary: kWait lets a writer wait in its busy_timeout, kFail refuses opens for writing.
enum class ReplicaWrites { kWait, kFail };
enum class LogFormat { kText, kJson };
std::string_view to_text(FuseIo value);
std::string_view to_text(LeaseType value);
std::string_view to_text(RestoreMode value);
std::string_view to_text(Durability value);
std::string_view to_text(ReplicaWrites value);
std::string_view to_text(LogFormat value);

struct FuseConfig {
  std::string dir = "/litefs";
  bool allow_other = false;  // also set by resolve() when `user` is given
  bool debug = false;
  FuseIo io = FuseIo::kAuto;
};

struct DataConfig {
  std::string dir = "/var/lib/litefs";
  bool compress = true;
  std::int64_t retention_ms = 600'000;                  // <= 0: LTX files are kept for ever
  std::int64_t retention_monitor_interval_ms = 60'000;  // <= 0: no monitor
};

struct HttpConfig {
  std::string addr = ":20202";
  bool addr_given = false;               // false: the caller picks the interfaces (loopback, on Fly also fly-local-6pn)
  std::int64_t snapshot_timeout_ms = 0;  // 0: data.retention
  std::string secret_file;               // the file with the secret between nodes; empty: none
  std::string secret;                    // from CADDIS_SECRET; wins over secret_file
};

struct ProxyConfig {
  std::string addr;
  std::string target;  // empty: no proxy
  std::string db;
  std::int64_t max_lag_ms = 10'000;  // 0: off
  bool debug = false;
  std::vector<std::string> passthrough;     // path patterns, `*` is a wildcard
  std::vector<std::string> always_forward;  // GET/HEAD paths treated as writes
  std::int64_t primary_redirect_timeout_ms = 5'000;
  std::int64_t read_timeout_ms = 0;  // this and the next three: 0 is none
  std::int64_t read_header_timeout_ms = 10'000;
  std::int64_t write_timeout_ms = 0;
  std::int64_t idle_timeout_ms = 30'000;
};

struct ConsulConfig {
  std::string url;  // http[s]://[:TOKEN@]HOST[:PORT][/KEYPREFIX]
  std::string key;
  std::int64_t ttl_ms = 10'000;
  std::int64_t lock_delay_ms = 1'000;
};

struct S3LeaseConfig {
  std::string url;  // empty: the first s3 backup target
  std::int64_t ttl_ms = 10'000;
};

struct LeaseConfig {
  LeaseType type = LeaseType::kAuto;
  std::string hostname;
  std::string advertise_url;
  bool candidate = true;
  bool promote = false;
  std::int64_t reconnect_delay_ms = 1'000;
  std::int64_t demote_delay_ms = 10'000;
  std::vector<std::string> databases;  // replication filter, only with candidate false; empty: all
  ConsulConfig consul;
  S3LeaseConfig s3;
};

enum class BackupLayout {
  kLitestream,  // read and written
  kLiteFsFile,  // `backup: {type: file}` of a litefs.yml: LiteFS's own layout there is read, never written
};

struct BackupTarget {
  std::string url;  // s3://BUCKET/PREFIX[?endpoint=…&region=…&forcePathStyle=…] or file:///PATH
  BackupLayout layout = BackupLayout::kLitestream;
  std::int64_t sync_interval_ms = 1'000;
  // Resolved by resolve(): the target's own keys, else LITESTREAM_*, else AWS_*. A *_file, when given, is read by the
  // caller (this module reads no disk) and wins over all of them.
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;
  std::string access_key_id_file;
  std::string secret_access_key_file;
  std::string endpoint;  // AWS_ENDPOINT_URL_S3; the URL's own query wins
  std::string region;    // AWS_REGION; the URL's own query wins
  std::string where;     // "caddis.yml:12", or "BUCKET_NAME": for error texts
};

struct ExecEntry {
  std::vector<std::string> argv;  // never empty, argv[0] never ""
  bool if_candidate = false;      // the candidate flag, as LiteFS
  bool if_primary = false;        // the role at that moment
  std::optional<std::int64_t> timeout_ms;
  std::string where;  // "litefs.yml:40", or "--"
};

struct LogConfig {
  LogFormat format = LogFormat::kText;
  bool timestamp = false;
  bool debug = false;
  LogLevel level = LogLevel::kInfo;  // after resolve(): -debug, CADDIS_LOG_LEVEL, log.debug in this order
};

struct TracingConfig {
  bool enabled = true;  // active only when path is set or to_stdout is
  std::string path;
  std::int64_t max_size_mb = 64;
  std::int64_t max_count = 8;
  bool compress = true;
  bool to_stdout = false;  // -tracing
};

struct Config {
  FuseConfig fuse;
  DataConfig data;
  HttpConfig http;
  ProxyConfig proxy;
  LeaseConfig lease;
  std::vector<BackupTarget> backup;  // empty: none
  bool backup_list = false;          // `backup` was written as a list, perhaps an empty one: BUCKET_NAME adds nothing
  RestoreMode restore = RestoreMode::kAuto;
  std::int64_t restore_timeout_ms = 60'000;  // no answer at all within this: exit 69. Progress resets it
  Durability durability = Durability::kLocal;
  ReplicaWrites replica_writes = ReplicaWrites::kWait;
  std::optional<std::int64_t> stop_timeout_ms;  // first signal to SIGKILL of the app; always set after resolve()
  std::string user;                             // "uid[:gid]" or names, for app and exec entries; empty: ours
  std::vector<std::string> env_remove;          // taken from the app's environment
  std::vector<ExecEntry> exec;                  // the last entry is the app; empty: wait for a signal
  bool exit_on_error = true;
  bool skip_sync = false;
  bool strict_verify = false;
  LogConfig log;
  TracingConfig tracing;

  // The keys that a file or flag has written, null values apart: dotted name to its place, "lease.candidate" to
  // "caddis.yml:12" or "-debug".
  std::map<std::string, std::string, std::less<>> given;
  bool is_given(std::string_view key) const { return given.contains(key); }
};

}  // namespace caddis::config
