#include "config/resolve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace caddis::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const Environment kFly = {{"FLY_APP_NAME", "myapp"}, {"FLY_REGION", "fra"}, {"PRIMARY_REGION", "fra"}};
const Environment kBucket = {{"BUCKET_NAME", "b"},
                             {"AWS_ACCESS_KEY_ID", "id"},
                             {"AWS_SECRET_ACCESS_KEY", "key"},
                             {"AWS_ENDPOINT_URL_S3", "https://t3.storage.dev"},
                             {"AWS_REGION", "auto"}};

Environment plus(Environment env, const Environment& more) {
  for (const auto& [name, value] : more) env[name] = value;
  return env;
}

struct Case {
  std::string file;  // litefs.yml's text; "": none
  Environment env;
  std::optional<FlyToml> fly_toml;
  std::vector<MountPoint> mounts;
  std::set<std::string> directories;
  std::set<std::string> files;  // of the mount points; the others are directories
  bool root_device = false;
  LoadFlags flags;
};

struct Outcome {
  LoadResult loaded;
  Resolution resolution;
  const Config& config() const { return loaded.config; }
};

Outcome run(const Case& c) {
  LoadInput input{.env = with_fly_toml(c.env, c.fly_toml), .flags = c.flags};
  if (!c.file.empty()) input.candidates = {{"litefs.yml", c.file}};
  Outcome out{.loaded = load(input)};
  auto is_directory = [&c](const std::string& path) {
    auto here = [&](const MountPoint& m) { return m.mount_point == path; };
    return c.directories.contains(path) || (!c.files.contains(path) && std::ranges::any_of(c.mounts, here));
  };
  out.resolution = resolve(out.loaded, {.env = c.env,
                                        .fly_toml = c.fly_toml,
                                        .mounts = c.mounts,
                                        .is_directory = is_directory,
                                        .on_root_device = [&c](const std::string&) { return c.root_device; }});
  return out;
}

// Rule 1
TEST(Resolve, OnFlyMeansANonEmptyAppName) {
  EXPECT_TRUE(run({.env = kFly}).resolution.on_fly);
  EXPECT_FALSE(run({.env = {{"FLY_APP_NAME", ""}}}).resolution.on_fly);
}

TEST(Resolve, FlyTomlIsUsedOnlyWhereTheEnvironmentIsSilent) {
  Environment env = {{"FLY_APP_NAME", "myapp"}, {"FLY_REGION", "fra"}};
  Outcome silent = run({.env = env, .fly_toml = FlyToml{.primary_region = "fra"}});
  EXPECT_THAT(silent.loaded.errors, IsEmpty());
  EXPECT_TRUE(silent.config().lease.candidate);
  EXPECT_FALSE(run({.env = plus(env, {{"PRIMARY_REGION", "ord"}}), .fly_toml = FlyToml{.primary_region = "fra"}})
                   .config()
                   .lease.candidate);
  Outcome expression = run({.file = "lease: {candidate: \"${FLY_REGION == PRIMARY_REGION}\"}",
                            .env = env,
                            .fly_toml = FlyToml{.primary_region = "fra"}});
  EXPECT_THAT(expression.loaded.errors, IsEmpty());
  EXPECT_TRUE(expression.config().lease.candidate);
}

// Rule 2
TEST(Resolve, DataDirectoryIsTheVariableThenTheFileThenTheVolume) {
  std::vector<MountPoint> mounts = {
      {"/", "/dev/vda", "ext4"}, {"/data", "/dev/vdb", "ext4"}, {"/proc", "proc", "proc"}};
  EXPECT_EQ(run({.file = "data: {dir: /f}", .env = plus(kFly, {{"CADDIS_DATA_DIR", "/e"}}), .mounts = mounts})
                .config()
                .data.dir,
            "/e");
  EXPECT_EQ(run({.file = "data: {dir: /f}", .env = kFly, .mounts = mounts}).config().data.dir, "/f");
  EXPECT_EQ(run({.env = kFly, .mounts = mounts}).config().data.dir, "/data/caddis");
  EXPECT_EQ(run({.env = kFly, .mounts = mounts}).resolution.volume, "/data");
}

TEST(Resolve, FlyTomlsMountIsTheVolumeBeforeAnyMountPoint) {
  std::vector<MountPoint> mounts = {{"/data", "/dev/vdb", "ext4"}};
  EXPECT_EQ(
      run({.env = kFly, .fly_toml = FlyToml{.mount_destinations = {"/vol/"}}, .mounts = mounts}).config().data.dir,
      "/vol/caddis");
}

TEST(Resolve, AnExistingLiteFsDirectoryOnTheVolumeIsTaken) {
  std::vector<MountPoint> mounts = {{"/data", "/dev/nvme1n1", "ext4"}};
  EXPECT_EQ(run({.env = kFly, .mounts = mounts, .directories = {"/data/dbs", "/data/litefs/dbs"}}).config().data.dir,
            "/data");
  EXPECT_EQ(run({.env = kFly, .mounts = mounts, .directories = {"/data/litefs/dbs"}}).config().data.dir,
            "/data/litefs");
}

TEST(Resolve, NoVolumeOrSeveralGiveTheDefaultAndALoudLineOnTheRootDevice) {
  Outcome none = run({.mounts = {{"/", "/dev/vda", "ext4"}, {"/x", "tmpfs", "tmpfs"}}, .root_device = true});
  EXPECT_EQ(none.config().data.dir, "/var/lib/litefs");
  EXPECT_TRUE(none.resolution.data_on_root_device);
  EXPECT_THAT(
      none.loaded.warnings,
      testing::Contains(HasSubstr("data.dir: /var/lib/litefs is on the same device as /: EVERYTHING IN IT IS LOST")));
  Outcome several = run({.env = kFly, .mounts = {{"/a", "/dev/vdb", "ext4"}, {"/b", "/dev/vdc", "ext4"}}});
  EXPECT_EQ(several.config().data.dir, "/var/lib/litefs");
  EXPECT_FALSE(several.resolution.data_on_root_device);
  EXPECT_EQ(run({.env = kFly, .fly_toml = FlyToml{.mount_destinations = {"/a", "/b"}}}).config().data.dir,
            "/var/lib/litefs");
}

TEST(Resolve, AVolumeAtLiteFssDefaultPlaceIsUsedAsItIs) {
  EXPECT_EQ(run({.env = kFly, .mounts = {{"/var/lib/litefs", "/dev/vdb", "ext4"}}}).config().data.dir,
            "/var/lib/litefs");
}

TEST(Resolve, FilesThatAContainerEngineBindsAndBootPartitionsAreNoVolumes) {
  EXPECT_EQ(run({.mounts = {{"/etc/hosts", "/dev/vda1", "ext4"},
                            {"/run/a-file", "/dev/vda1", "ext4"},
                            {"/boot/efi", "/dev/nvme0n1p1", "vfat"},
                            {"/data", "/dev/vda1", "ext4"},
                            {"/data", "/dev/vdb", "ext4"}},
                 .files = {"/etc/hosts", "/run/a-file"}})
                .config()
                .data.dir,
            "/data/caddis");
}

// Rule 3
TEST(Resolve, MountDirectoryIsTheVariableThenTheFileThenTheDefault) {
  EXPECT_EQ(run({}).config().fuse.dir, "/litefs");
  EXPECT_EQ(run({.file = "fuse: {dir: /f}"}).config().fuse.dir, "/f");
  EXPECT_EQ(run({.file = "fuse: {dir: /f}", .env = {{"CADDIS_DIR", "/e"}}}).config().fuse.dir, "/e");
}

TEST(Resolve, MountAndDataDirectoryMustNotHideEachOther) {
  EXPECT_THAT(run({.file = "fuse: {dir: /a/}\ndata: {dir: /a}"}).loaded.errors,
              ElementsAre("litefs.yml:1: fuse.dir: fuse directory and data directory cannot be the same path, both are "
                          "/a; change one"));
  EXPECT_THAT(run({.file = "fuse: {dir: /a}\ndata: {dir: /a/b}"}).loaded.errors,
              ElementsAre("litefs.yml:2: data.dir: /a/b is inside the mount directory /a and would be hidden by it, "
                          "move one of the two"));
  EXPECT_THAT(run({.file = "fuse: {dir: /a/b}\ndata: {dir: /a}"}).loaded.errors, IsEmpty());
  EXPECT_THAT(run({.file = "fuse: {dir: /ab}\ndata: {dir: /abc}"}).loaded.errors, IsEmpty());
  EXPECT_THAT(run({.file = "fuse: {dir: /}"}).loaded.errors, SizeIs(1));
}

// Rule 4
TEST(Resolve, OnFlyTheCandidateIsTheMachineInThePrimaryRegion) {
  EXPECT_TRUE(run({.env = kFly}).config().lease.candidate);
  EXPECT_FALSE(run({.env = plus(kFly, {{"FLY_REGION", "ord"}})}).config().lease.candidate);
  EXPECT_TRUE(run({}).config().lease.candidate);
}

TEST(Resolve, OnFlyAnUnsetPrimaryRegionIsAnErrorThatSaysSo) {
  Outcome o = run({.env = {{"FLY_APP_NAME", "myapp"}, {"FLY_REGION", "fra"}}});
  EXPECT_THAT(
      o.loaded.errors,
      ElementsAre(
          "PRIMARY_REGION: not set, so this machine cannot tell whether it may become primary; set primary_region in "
          "fly.toml and deploy, or write lease.candidate in caddis.yml"));
}

TEST(Resolve, AWrittenCandidateStandsAndALiteFsLeaseKeepsItsDefault) {
  Environment env = {{"FLY_APP_NAME", "myapp"}, {"FLY_REGION", "fra"}};
  Outcome written = run({.file = "lease: {candidate: false}", .env = env});
  EXPECT_THAT(written.loaded.errors, IsEmpty());
  EXPECT_FALSE(written.config().lease.candidate);
  Outcome litefs = run({.file = "lease: {type: static}", .env = env});
  EXPECT_THAT(litefs.loaded.errors, IsEmpty());
  EXPECT_TRUE(litefs.config().lease.candidate);
  EXPECT_THAT(litefs.loaded.warnings,
              testing::Contains(
                  HasSubstr("litefs.yml:1: lease.type: static without lease.candidate makes every machine a primary")));
}

TEST(Resolve, AReplicationFilterIsForNonCandidatesOnly) {
  EXPECT_THAT(run({.file = "lease:\n  databases: [a]\n"}).loaded.errors,
              ElementsAre("litefs.yml:2: lease.databases: cannot specify a database replication filter on candidate "
                          "nodes, remove it or write candidate: false"));
  EXPECT_THAT(run({.file = "lease: {databases: [a], candidate: false}"}).loaded.errors, IsEmpty());
}

// Rule 5
TEST(Resolve, ABucketIsTheBackupTarget) {
  Outcome o = run({.env = plus(kFly, kBucket)});
  EXPECT_THAT(o.loaded.errors, IsEmpty());
  ASSERT_THAT(o.config().backup, SizeIs(1));
  const BackupTarget& t = o.config().backup[0];
  EXPECT_EQ(t.url, "s3://b/myapp");
  EXPECT_EQ(t.endpoint, "https://t3.storage.dev");
  EXPECT_EQ(t.region, "auto");
  EXPECT_EQ(t.access_key_id, "id");
  EXPECT_EQ(t.secret_access_key, "key");
  EXPECT_EQ(run({.env = kBucket}).config().backup[0].url, "s3://b/caddis");
}

TEST(Resolve, ABucketWithoutKeysIsAnError) {
  EXPECT_THAT(run({.env = {{"BUCKET_NAME", "b"}}}).loaded.errors,
              ElementsAre("BUCKET_NAME: s3://b/caddis: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set; fly "
                          "storage create sets both, or give the "
                          "target access-key-id-file and secret-access-key-file"));
  EXPECT_THAT(run({.env = {{"BUCKET_NAME", "b"}, {"AWS_ACCESS_KEY_ID", "x"}}}).loaded.errors,
              ElementsAre(HasSubstr("the secret access key is not set")));
}

TEST(Resolve, NoBucketIsAWarning) {
  Outcome o = run({});
  EXPECT_THAT(o.loaded.errors, IsEmpty());
  EXPECT_THAT(o.config().backup, IsEmpty());
  EXPECT_THAT(o.loaded.warnings, testing::Contains(HasSubstr("backup: no target")));
}

TEST(Resolve, AWrittenBackupSectionStandsBeforeTheBucket) {
  EXPECT_EQ(run({.file = "backup: [{url: file:///b}]", .env = kBucket}).config().backup[0].url, "file:///b");
  EXPECT_THAT(run({.file = "backup: []", .env = kBucket}).config().backup, IsEmpty());
  EXPECT_THAT(run({.file = "backup: {type: litefs-cloud}", .env = kBucket}).config().backup, SizeIs(1));
}

TEST(Resolve, ATargetsOwnKeysThenLitestreamsThenAws) {
  Environment env = plus(
      kBucket,
      {{"LITESTREAM_ACCESS_KEY_ID", "lid"}, {"LITESTREAM_SECRET_ACCESS_KEY", "lkey"}, {"AWS_SESSION_TOKEN", "tok"}});
  Outcome own = run({.file = "backup: [{url: s3://x, access-key-id: a, secret-access-key: b}]", .env = env});
  EXPECT_EQ(own.config().backup[0].access_key_id, "a");
  EXPECT_EQ(own.config().backup[0].session_token, "");
  Outcome litestream = run({.env = env});
  EXPECT_EQ(litestream.config().backup[0].access_key_id, "lid");
  EXPECT_EQ(litestream.config().backup[0].secret_access_key, "lkey");
  EXPECT_EQ(run({.env = plus(kBucket, {{"AWS_SESSION_TOKEN", "tok"}})}).config().backup[0].session_token, "tok");
  Outcome files = run({.file = "backup: [{url: s3://x, access-key-id-file: /i, secret-access-key-file: /k}]"});
  EXPECT_THAT(files.loaded.errors, IsEmpty());
}

TEST(Resolve, ModesThatNeedATargetSaySo) {
  EXPECT_THAT(run({.file = "restore: required\ndurability: backup\n"}).loaded.errors,
              ElementsAre(HasSubstr("litefs.yml:2: durability: backup needs a backup target"),
                          HasSubstr("litefs.yml:1: restore: required needs a backup target")));
}

// Rule 6
TEST(Resolve, ReleaseConsoleAndTestMachinesAreSpecial) {
  EXPECT_TRUE(is_special_machine({{"RELEASE_COMMAND", "1"}}));
  EXPECT_TRUE(is_special_machine({{"FLY_TEST_COMMAND", "1"}}));
  EXPECT_TRUE(is_special_machine({{"FLY_PROCESS_GROUP", "fly_app_console"}}));
  EXPECT_FALSE(is_special_machine({{"FLY_PROCESS_GROUP", "app"}, {"RELEASE_COMMAND", "0"}}));
  Outcome o = run({.env = {{"FLY_APP_NAME", "myapp"}, {"RELEASE_COMMAND", "1"}, {"BUCKET_NAME", "b"}}});
  EXPECT_TRUE(o.resolution.special_machine);
  EXPECT_THAT(o.loaded.errors, IsEmpty());
  EXPECT_THAT(o.config().backup, IsEmpty());
}

TEST(Resolve, StopTimeoutComesFromFileThenKillTimeoutThenThePlace) {
  EXPECT_EQ(run({.file = "stop-timeout: 1s", .fly_toml = FlyToml{.kill_timeout_ms = 10'000}}).config().stop_timeout_ms,
            1'000);
  EXPECT_EQ(run({.fly_toml = FlyToml{.kill_timeout_ms = 10'000}}).config().stop_timeout_ms, 8'000);
  EXPECT_EQ(run({.fly_toml = FlyToml{.kill_timeout_ms = 2'000}}).config().stop_timeout_ms, 1'000);
  EXPECT_EQ(run({.env = kFly}).config().stop_timeout_ms, 3'000);
  EXPECT_EQ(run({}).config().stop_timeout_ms, 8'000);
}

TEST(Resolve, AUserImpliesAllowOther) {
  EXPECT_TRUE(run({.file = "user: www-data"}).config().fuse.allow_other);
  EXPECT_FALSE(run({}).config().fuse.allow_other);
}

TEST(Resolve, LogLevelIsTheFlagThenTheVariableThenTheFile) {
  EXPECT_EQ(run({.env = {{"CADDIS_LOG_LEVEL", "warn"}}}).config().log.level, LogLevel::kWarn);
  EXPECT_EQ(run({.file = "log: {debug: true}", .env = {{"CADDIS_LOG_LEVEL", "ERROR"}}}).config().log.level,
            LogLevel::kError);
  EXPECT_EQ(run({.file = "log: {debug: true}"}).config().log.level, LogLevel::kDebug);
  EXPECT_EQ(run({.env = {{"CADDIS_LOG_LEVEL", "warn"}}, .flags = {.debug = true}}).config().log.level,
            LogLevel::kDebug);
  EXPECT_THAT(run({.env = {{"CADDIS_LOG_LEVEL", "loud"}}}).loaded.errors,
              ElementsAre("CADDIS_LOG_LEVEL: must be debug, info, warn or error, got 'loud'"));
}

TEST(Resolve, ConsulTakesFlysUrlAndNamesItsAbsence) {
  EXPECT_EQ(run({.file = "lease: {type: consul, consul: {key: k}}", .env = {{"FLY_CONSUL_URL", "https://c"}}})
                .config()
                .lease.consul.url,
            "https://c");
  EXPECT_THAT(run({.file = "lease: {type: consul, consul: {key: k}}"}).loaded.errors,
              ElementsAre(HasSubstr("fly consul attach")));
}

TEST(Resolve, AnS3LeaseNeedsABucket) {
  EXPECT_THAT(run({.file = "lease: {type: s3}"}).loaded.errors,
              ElementsAre(HasSubstr("s3 needs lease.s3.url or an s3 backup target")));
  EXPECT_THAT(run({.file = "lease: {type: s3}", .env = kBucket}).loaded.errors, IsEmpty());
  EXPECT_THAT(run({.file = "lease: {type: s3, s3: {url: /x}}"}).loaded.errors,
              ElementsAre(HasSubstr("'/x' is no bucket")));
}

TEST(Resolve, AFileThatCannotBeParsedHasOneErrorOnly) {
  EXPECT_THAT(run({.file = "a: [", .env = {{"FLY_APP_NAME", "x"}}}).loaded.errors, SizeIs(1));
}

}  // namespace
}  // namespace caddis::config
