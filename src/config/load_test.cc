#include "config/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "config/node.h"
#include "config/schema.h"

namespace caddis::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const Environment kFly = {
    {"FLY_REGION", "fra"},  {"PRIMARY_REGION", "fra"},          {"FLY_APP_NAME", "myapp"},
    {"HOSTNAME", "abc"},    {"LITEFS_DIR", "/litefs"},          {"INTERNAL_PORT", "8080"},
    {"PORT", "8081"},       {"DATABASE_FILENAME", "sqlite.db"}, {"FLY_CONSUL_URL", "https://:t@consul/x/"},
    {"FLY_ALLOC_ID", "abc"}};

LoadResult load_text(const std::string& text, const std::string& name = "litefs.yml", Environment env = {},
                     LoadFlags flags = {}) {
  return load({.env = std::move(env), .candidates = {{name, text}}, .flags = std::move(flags)});
}

LoadResult load_testdata(const std::string& name, Environment env) {
  std::ifstream in(std::string(CADDIS_TESTDATA) + "/config/" + name);
  EXPECT_TRUE(in) << name;
  std::stringstream text;
  text << in.rdbuf();
  return load_text(text.str(), name, std::move(env));
}

std::vector<std::string> errors_of(const std::string& text, const std::string& name = "litefs.yml",
                                   Environment env = {}) {
  return load_text(text, name, std::move(env)).errors;
}

TEST(Load, SearchPathsTakeOneNameInAllPlacesBeforeTheNextName) {
  EXPECT_THAT(search_paths("/root"),
              ElementsAre("./caddis.yml", "/root/caddis.yml", "/etc/caddis.yml", "./caddis.toml", "/root/caddis.toml",
                          "/etc/caddis.toml", "./litefs.yml", "/root/litefs.yml", "/etc/litefs.yml"));
  EXPECT_THAT(search_paths(""), SizeIs(6));
}

TEST(Load, TheFirstFileIsUsedAndTheOthersAreNamed) {
  LoadResult r = load({.candidates = {{"/a/caddis.yml", "skip-sync: true"}, {"/etc/litefs.yml", "nonsense: ["}}});
  EXPECT_THAT(r.errors, IsEmpty());
  EXPECT_TRUE(r.config.skip_sync);
  EXPECT_THAT(r.notes, ElementsAre("config file read from /a/caddis.yml, ignored: /etc/litefs.yml"));
}

TEST(Load, NoFileGivesTheDefaults) {
  LoadResult r = load({});
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(r.config.fuse.dir, "/litefs");
  EXPECT_THAT(r.notes, ElementsAre("no config file found, configured from environment, flags and defaults"));
}

TEST(Load, TheDocumentedLiteFsFileLoadsUnchanged) {
  LoadResult r = load_testdata("documented.yml", {});
  EXPECT_THAT(r.errors, IsEmpty());
  EXPECT_THAT(r.warnings, IsEmpty());
  EXPECT_EQ(r.config.lease.type, LeaseType::kConsul);
  EXPECT_EQ(r.config.lease.consul.key, "litefs/primary");
  EXPECT_EQ(r.config.lease.consul.lock_delay_ms, 1'000);
  EXPECT_THAT(r.config.proxy.passthrough, ElementsAre("*.ico", "*.png"));
  EXPECT_FALSE(r.config.exit_on_error);
  EXPECT_TRUE(r.config.http.addr_given);
  EXPECT_EQ(r.config.tracing.max_count, 10);
  ASSERT_THAT(r.config.exec, SizeIs(1));
  EXPECT_THAT(r.config.exec[0].argv, ElementsAre("myapp", "-addr", ":8080"));
}

TEST(Load, AnAppWithMigrationsAndConsulLoadsUnchanged) {
  LoadResult r = load_testdata("epic.yml", kFly);
  EXPECT_THAT(r.errors, IsEmpty());
  EXPECT_THAT(r.warnings, IsEmpty());
  EXPECT_EQ(r.config.fuse.dir, "/litefs");
  EXPECT_EQ(r.config.proxy.addr, ":8080");
  EXPECT_EQ(r.config.proxy.target, "localhost:8081");
  EXPECT_TRUE(r.config.lease.candidate);
  EXPECT_TRUE(r.config.lease.promote);
  EXPECT_EQ(r.config.lease.advertise_url, "http://abc.vm.myapp.internal:20202");
  EXPECT_EQ(r.config.lease.consul.url, "https://:t@consul/x/");
  ASSERT_THAT(r.config.exec, SizeIs(3));
  EXPECT_THAT(r.config.exec[1].argv, ElementsAre("npx", "prisma", "migrate", "deploy"));
  EXPECT_TRUE(r.config.exec[1].if_candidate);
  EXPECT_FALSE(r.config.exec[2].if_candidate);
  EXPECT_EQ(r.config.exec[2].where, "epic.yml:29");

  Environment env = kFly;
  env["FLY_REGION"] = "ord";
  EXPECT_FALSE(load_testdata("epic.yml", env).config.lease.candidate);
}

TEST(Load, TheSameFileOutsideFlyNamesEverythingThatIsMissing) {
  LoadResult r = load_testdata("epic.yml", {});
  ASSERT_THAT(r.errors, SizeIs(3));
  EXPECT_THAT(r.errors[0],
              HasSubstr("epic.yml:15: ${FLY_REGION == PRIMARY_REGION}: FLY_REGION and PRIMARY_REGION are both unset"));
  EXPECT_EQ(r.errors[1], "epic.yml:3: fuse.dir: fuse directory required, write a path such as /litefs");
  EXPECT_EQ(r.errors[2],
            "epic.yml:10: proxy.db: proxy database name required with proxy.target, write the database's file name");
  EXPECT_THAT(r.warnings[0], "epic.yml:3: ${LITEFS_DIR}: LITEFS_DIR is not set and counts as empty");
}

TEST(Load, TheExampleOfTheRepositoryLoads) {
  LoadResult r = load_testdata("../../../examples/litefs.yml", kFly);
  EXPECT_THAT(r.errors, IsEmpty());
  EXPECT_THAT(r.warnings, IsEmpty());
  EXPECT_EQ(r.config.lease.type, LeaseType::kStatic);
  EXPECT_TRUE(r.config.lease.candidate);
  EXPECT_EQ(r.config.lease.advertise_url, "http://fra.myapp.internal:20202");
}

// Every ```yaml and ```toml block of the reference.
TEST(Load, EveryExampleOfTheDocumentationLoads) {
  std::ifstream in(std::string(CADDIS_TESTDATA) + "/../../docs/config.md");
  std::string line;
  std::string block;
  std::string name;
  int blocks = 0;
  for (int number = 1; std::getline(in, line); ++number) {
    if (name.empty()) {
      if (line == "```yaml") name = fmt::format("config.md@{}.yml", number);
      if (line == "```toml") name = fmt::format("config.md@{}.toml", number);
    } else if (line == "```") {
      EXPECT_THAT(load_text(block, name, kFly).errors, IsEmpty()) << name;
      ++blocks;
      block.clear();
      name.clear();
    } else {
      block += line + "\n";
    }
  }
  EXPECT_EQ(blocks, 4);
}

TEST(Load, StaticLeaseAndOldBooleansLoadUnchanged) {
  LoadResult r = load_testdata("static.yml", kFly);
  EXPECT_THAT(r.errors, IsEmpty());
  EXPECT_FALSE(r.config.exit_on_error);
  EXPECT_TRUE(r.config.fuse.allow_other);
  EXPECT_EQ(r.config.lease.type, LeaseType::kStatic);
  EXPECT_TRUE(r.config.lease.candidate);
  EXPECT_EQ(r.config.lease.hostname, "abc");
  EXPECT_THAT(r.config.exec[0].argv, ElementsAre("su", "-l", "app", "-c", "gunicorn \"app:wsgi()\""));
}

void expect_superset(const LoadResult& r) {
  EXPECT_THAT(r.errors, IsEmpty());
  const Config& c = r.config;
  EXPECT_EQ(c.fuse.io, FuseIo::kDirect);
  EXPECT_EQ(c.data.retention_ms, 3'600'000);
  EXPECT_EQ(c.http.secret_file, "/run/secrets/caddis");
  EXPECT_EQ(c.http.snapshot_timeout_ms, 300'000);
  EXPECT_EQ(c.proxy.max_lag_ms, 5'000);
  EXPECT_EQ(c.lease.type, LeaseType::kS3);
  EXPECT_TRUE(c.lease.candidate);
  EXPECT_EQ(c.lease.s3.url, "s3://leases/app");
  EXPECT_EQ(c.lease.s3.ttl_ms, 15'000);
  ASSERT_THAT(c.backup, SizeIs(2));
  EXPECT_EQ(c.backup[0].url, "s3://bucket/prefix?endpoint=https://t3.storage.dev&region=auto");
  EXPECT_EQ(c.backup[0].sync_interval_ms, 1);
  EXPECT_EQ(c.backup[0].access_key_id_file, "/run/secrets/id");
  EXPECT_EQ(c.backup[0].secret_access_key_file, "/run/secrets/key");
  EXPECT_EQ(c.backup[1].url, "file:///backup");
  EXPECT_EQ(c.backup[1].sync_interval_ms, 1'000);
  EXPECT_EQ(c.restore, RestoreMode::kRequired);
  EXPECT_EQ(c.restore_timeout_ms, 30'000);
  EXPECT_EQ(c.durability, Durability::kBackup);
  EXPECT_EQ(c.replica_writes, ReplicaWrites::kFail);
  EXPECT_EQ(c.stop_timeout_ms, 3'000);
  EXPECT_EQ(c.user, "www-data:www-data");
  EXPECT_THAT(c.env_remove, ElementsAre("AWS_SECRET_ACCESS_KEY"));
  ASSERT_THAT(c.exec, SizeIs(3));
  EXPECT_THAT(c.exec[0].argv, ElementsAre("python", "manage.py", "migrate"));
  EXPECT_EQ(c.exec[0].timeout_ms, 600'000);
  EXPECT_THAT(c.exec[1].argv, ElementsAre("sh", "-c", "rm -f /tmp/a; exec warm"));
  EXPECT_TRUE(c.exec[1].if_primary);
  EXPECT_FALSE(c.exec[1].timeout_ms);
  EXPECT_THAT(c.exec[2].argv, ElementsAre("gunicorn", "app.wsgi"));
  EXPECT_EQ(c.log.format, LogFormat::kJson);
  EXPECT_TRUE(c.log.timestamp);
}

TEST(Load, EveryKeyOfTheSupersetLoadsFromYaml) { expect_superset(load_testdata("caddis.yml", kFly)); }
TEST(Load, EveryKeyOfTheSupersetLoadsFromToml) { expect_superset(load_testdata("caddis.toml", kFly)); }

TEST(Load, AllErrorsOfOneRunAreListedWithLineKeyAndCure) {
  EXPECT_THAT(
      errors_of(R"(fuse:
  dir: ""
  direct: true
data:
  retention: 10
lease:
  typ: static
  candidate: maybe
  candidat: true
  ttl: 10s
frobnicate: 1
log:
  format: xml
proxy: 7
stop-timeout: soon
tracing:
  max-size: big
http:
  addr: ":1"
  addr: ":2"
)"),
      ElementsAre("litefs.yml:2: fuse.dir: fuse directory required, write a path such as /litefs",
                  "litefs.yml:3: fuse.direct: unknown key, remove it; fuse has dir, allow-other, debug, io",
                  "litefs.yml:5: data.retention: a duration needs a unit, got 10; write \"10s\"",
                  "litefs.yml:7: lease.typ: unknown key, did you mean type?",
                  "litefs.yml:8: lease.candidate: must be true or false, got 'maybe'",
                  "litefs.yml:9: lease.candidat: unknown key, did you mean candidate?",
                  "litefs.yml:10: lease.ttl: unknown key here, it belongs at lease.consul.ttl",
                  HasSubstr("litefs.yml:11: frobnicate: unknown key, remove it; a configuration has fuse, data, http"),
                  "litefs.yml:13: log.format: invalid log format, must be 'text' or 'json', got: 'xml'",
                  HasSubstr("litefs.yml:14: proxy: must be a map, got '7'; its keys are addr, target"),
                  "litefs.yml:15: stop-timeout: not a duration: 'soon'; write it as \"10s\", \"1m30s\" or \"500ms\" "
                  "(units ns us ms s m h)",
                  "litefs.yml:17: tracing.max-size: must be a whole number, got 'big'",
                  "litefs.yml:20: http.addr: already written in line 19, remove one of the two"));
}

TEST(Load, TomlErrorsHaveTheSameShape) {
  EXPECT_THAT(errors_of("skip-sync = 1\n[lease]\ntyp = \"static\"\nreconnect-delay = 10\n", "caddis.toml"),
              testing::UnorderedElementsAre(
                  "caddis.toml:1: skip-sync: must be true or false, got '1'",
                  "caddis.toml:3: lease.typ: unknown key, did you mean type?",
                  "caddis.toml:4: lease.reconnect-delay: a duration needs a unit, got 10; write \"10s\""));
}

TEST(Load, SyntaxErrorsHaveALine) {
  LoadResult yaml = load_text("fuse:\n  dir: [\n");
  ASSERT_THAT(yaml.errors, SizeIs(1));
  EXPECT_THAT(yaml.errors[0], testing::MatchesRegex("litefs.yml:[0-9]+: not YAML: .*"));
  EXPECT_FALSE(yaml.parsed);
  LoadResult toml = load_text("a = 1\nb = = 2\n", "x.toml");
  ASSERT_THAT(toml.errors, SizeIs(1));
  EXPECT_THAT(toml.errors[0], testing::StartsWith("x.toml:2: not TOML: "));
  EXPECT_THAT(errors_of(""), ElementsAre("litefs.yml:1: not YAML: the file is empty"));
  EXPECT_THAT(errors_of("a = 1\na = 2\n", "x.toml"), ElementsAre(testing::StartsWith("x.toml:2: not TOML: ")));
}

TEST(Load, OnlyTheFirstYamlDocumentIsRead) {
  LoadResult r = load_text("skip-sync: true\n---\nnonsense: 1\n");
  EXPECT_THAT(r.errors, IsEmpty());
  EXPECT_TRUE(r.config.skip_sync);
}

TEST(Load, NullKeepsTheDefault) {
  LoadResult r = load_text("fuse:\ndata:\n  dir:\nlease: ~\nexec:\n");
  EXPECT_THAT(r.errors, IsEmpty());
  EXPECT_EQ(r.config.data.dir, "/var/lib/litefs");
  EXPECT_FALSE(r.config.is_given("data.dir"));
  EXPECT_THAT(r.config.exec, IsEmpty());
}

TEST(Load, AnEmptyCandidateIsAnErrorInsteadOfTrue) {
  EXPECT_THAT(errors_of("lease:\n  candidate: ${NOPE}\n"),
              ElementsAre(HasSubstr(
                  "litefs.yml:2: lease.candidate: the value is empty, and then every machine would be a candidate")));
}

TEST(Load, YamlOneOneBooleansAndQuotedOnes) {
  for (const char* yes : {"true", "y", "Y", "yes", "on", "ON", "\"true\"", "'yes'"}) {
    LoadResult r = load_text(std::string("skip-sync: ") + yes);
    EXPECT_THAT(r.errors, IsEmpty()) << yes;
    EXPECT_TRUE(r.config.skip_sync) << yes;
  }
  for (const char* no : {"false", "n", "no", "off", "Off"})
    EXPECT_FALSE(load_text(std::string("exit-on-error: ") + no).config.exit_on_error) << no;
  for (const char* bad : {"1", "0", "tru", "\"\"", "[]"})
    EXPECT_THAT(errors_of(std::string("skip-sync: ") + bad), SizeIs(1)) << bad;
}

TEST(Load, DurationsNeedAUnitExceptTheQuotedZero) {
  EXPECT_THAT(errors_of("data: {retention: \"0\"}"), IsEmpty());
  EXPECT_THAT(errors_of("data: {retention: 0}"),
              ElementsAre("litefs.yml:1: data.retention: a duration needs a unit, got 0; write \"0s\""));
  EXPECT_THAT(errors_of("data: {retention: \"10\"}"),
              ElementsAre("litefs.yml:1: data.retention: a duration needs a unit, got 10; write \"10s\""));
  EXPECT_EQ(load_text("data: {retention: -1s}").config.data.retention_ms, -1'000);
  EXPECT_THAT(errors_of("restore-timeout: 0s"),
              ElementsAre("litefs.yml:1: restore-timeout: must be at least 1ms, got 0s"));
  EXPECT_THAT(errors_of("stop-timeout: -1s"), ElementsAre("litefs.yml:1: stop-timeout: must be at least 0s, got -1s"));
}

TEST(Load, LeaseTypeMustBeKnown) {
  EXPECT_THAT(
      errors_of("lease: {type: etcd}"),
      ElementsAre(
          "litefs.yml:1: lease.type: invalid lease type, must be 'auto', 'static', 'consul' or 's3', got: 'etcd'"));
  EXPECT_THAT(errors_of("lease: {type: consul}"), ElementsAre("litefs.yml:1: lease.consul.key: must specify a consul "
                                                              "key, one for each cluster, such as \"myapp/primary\""));
}

TEST(Load, ProxyWithATargetNeedsAddressAndDatabase) {
  EXPECT_THAT(errors_of("proxy:\n  target: localhost:1\n"),
              ElementsAre(HasSubstr("litefs.yml:2: proxy.addr: proxy bind address required"),
                          HasSubstr("litefs.yml:2: proxy.db: proxy database name required")));
}

TEST(Load, ExecTakesACommandOrAListOfMaps) {
  EXPECT_THAT(load_text("exec: a 'b c'").config.exec[0].argv, ElementsAre("a", "b c"));
  EXPECT_THAT(
      errors_of("exec: \"\""),
      ElementsAre("litefs.yml:1: exec: the command is empty, write a program and its arguments or remove the entry"));
  EXPECT_THAT(
      errors_of("exec: {cmd: a}"),
      ElementsAre(
          "litefs.yml:1: exec: invalid exec config format: a map, write a command or a list of - cmd: COMMAND"));
  EXPECT_THAT(errors_of("exec:\n  - npm start\n"),
              ElementsAre("litefs.yml:2: exec[0]: an entry must be a map, got 'npm start'; write - cmd: npm start"));
  EXPECT_THAT(errors_of("exec:\n  - cmd: a\n  -\n"), ElementsAre(HasSubstr("exec[1]: the entry is empty")));
  EXPECT_THAT(errors_of("exec:\n  - if-candidate: true\n"),
              ElementsAre("litefs.yml:2: exec[0].cmd: the command is missing, write cmd: COMMAND"));
  EXPECT_THAT(errors_of("exec:\n  - cmd: a\n    if-candidat: true\n"),
              ElementsAre("litefs.yml:3: exec[0].if-candidat: unknown key, did you mean if-candidate?"));
  EXPECT_THAT(errors_of("exec:\n  - cmd: []\n"), ElementsAre(HasSubstr("exec[0].cmd: the command is empty")));
  EXPECT_THAT(errors_of("exec: migrate; serve"),
              ElementsAre("litefs.yml:1: exec: ';' outside quotes needs a shell and none runs here (LiteFS drops the "
                          "rest of the line), write "
                          "[\"sh\", \"-c\", \"migrate; serve\"]"));
}

TEST(Load, BackupTakesAListOfTargets) {
  EXPECT_THAT(errors_of("backup:\n  - url: gs://x\n"),
              ElementsAre("litefs.yml:2: backup[0].url: 'gs://x' is no target caddis can write, use s3://BUCKET/PREFIX "
                          "or file:///PATH"));
  EXPECT_THAT(errors_of("backup:\n  - url: s3:///x\n  - url: file://x\n  - sync-interval: 1s\n"),
              ElementsAre(HasSubstr("backup[0].url: 's3:///x' has no bucket"),
                          HasSubstr("backup[1].url: 'file://x' has no absolute path"),
                          HasSubstr("litefs.yml:4: backup[2].url: the target's url is missing")));
  EXPECT_THAT(errors_of("backup: [{url: file:///b}, {url: file:///b}]"), ElementsAre(HasSubstr("is a target already")));
  EXPECT_THAT(errors_of("backup: [s3://b/p]"),
              ElementsAre("litefs.yml:1: backup[0]: a target must be a map, got 's3://b/p'; write - url: s3://b/p"));
  EXPECT_THAT(errors_of("backup: s3://b/p"), ElementsAre(HasSubstr("must be a list of targets")));
  EXPECT_THAT(errors_of("backup: {url: s3://b/p}"),
              ElementsAre(HasSubstr("targets are a list, write a dash before it")));
  EXPECT_THAT(errors_of("backup: [{url: s3://b, access-key-id: x, access-key-id-file: /f}]"),
              ElementsAre("litefs.yml:1: backup[0].access-key-id: written here and in a file (access-key-id-file), "
                          "remove one of the two"));
  EXPECT_THAT(errors_of("backup: [{url: s3://b, sync-interval: 0s}]"),
              ElementsAre(HasSubstr("backup[0].sync-interval: must be at least 1ms")));
  EXPECT_TRUE(load_text("backup: []").config.backup_list);
}

TEST(Load, BackupAsAMapIsLiteFssForm) {
  LoadResult file = load_text("backup: {type: file, path: /backup}");
  EXPECT_THAT(file.errors, IsEmpty());
  ASSERT_THAT(file.config.backup, SizeIs(1));
  EXPECT_EQ(file.config.backup[0].url, "file:///backup");
  EXPECT_EQ(file.config.backup[0].layout, BackupLayout::kLiteFsFile);
  EXPECT_FALSE(file.config.backup_list);

  LoadResult cloud = load_text("backup: {type: litefs-cloud, auth-token: secret}");
  EXPECT_THAT(cloud.errors, IsEmpty());
  EXPECT_THAT(cloud.config.backup, IsEmpty());
  EXPECT_THAT(cloud.warnings,
              ElementsAre(HasSubstr("litefs.yml:1: backup.type: litefs-cloud has been shut down and is ignored")));

  EXPECT_THAT(errors_of("backup: {type: file}"), ElementsAre(HasSubstr("backup.path: backup path required")));
  EXPECT_THAT(errors_of("backup: {type: gcs}"), ElementsAre(HasSubstr("invalid backup client type: \"gcs\"")));
}

TEST(Load, FlagsStandAboveTheFile) {
  LoadResult r =
      load_text("exec: a\nlog: {debug: false}", "litefs.yml", {},
                {.debug = true, .fuse_debug = true, .tracing = true, .command = {{"sh", "-c", "exit 7", ""}}});
  EXPECT_TRUE(r.config.log.debug);
  EXPECT_TRUE(r.config.fuse.debug);
  EXPECT_TRUE(r.config.tracing.to_stdout);
  ASSERT_THAT(r.config.exec, SizeIs(1));
  EXPECT_THAT(r.config.exec[0].argv, ElementsAre("sh", "-c", "exit 7", ""));
}

TEST(Load, NoExpandEnvLeavesDollarsAlone) {
  LoadResult r = load_text("lease: {hostname: \"${A == B}$X\"}", "litefs.yml", {}, {.expand_env = false});
  EXPECT_THAT(r.errors, IsEmpty());
  EXPECT_EQ(r.config.lease.hostname, "${A == B}$X");
}

TEST(Load, UserIsANameOrNumberAndMaybeAGroup) {
  EXPECT_EQ(load_text("user: 1000").config.user, "1000");
  EXPECT_EQ(load_text("user: app:www-data").config.user, "app:www-data");
  for (const char* bad : {"\"\"", "\":1\"", "\"a:\"", "\"a:b:c\"", "\"a b\"", "[a]"})
    EXPECT_THAT(errors_of(std::string("user: ") + bad), SizeIs(1)) << bad;
}

TEST(Load, AnchorsAndMergeKeysAreResolved) {
  LoadResult r = load_text(
      "fuse: &a {dir: /m, debug: true}\ndata: {dir: /d}\nexec:\n  - &e {cmd: one, if-candidate: true}\n  - {<<: *e, "
      "cmd: two}\n");
  EXPECT_THAT(r.errors, IsEmpty());
  ASSERT_THAT(r.config.exec, SizeIs(2));
  EXPECT_THAT(r.config.exec[1].argv, ElementsAre("two"));
  EXPECT_TRUE(r.config.exec[1].if_candidate);
}

TEST(Load, AFloodOfAliasesOrLevelsIsAnError) {
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 8; ++i)
    bomb += fmt::format("a{0}: &a{0} [*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1}]\n", i, i - 1);
  EXPECT_THAT(errors_of(bomb), ElementsAre(HasSubstr("more than 20000 values")));
  EXPECT_THAT(errors_of(std::string(200, '[') + std::string(200, ']')), ElementsAre(HasSubstr("more than 100 levels")));
}

TEST(Load, NoPrefixOfAFileBreaksTheReader) {
  for (const char* name : {"caddis.yml", "caddis.toml", "epic.yml"}) {
    std::ifstream in(std::string(CADDIS_TESTDATA) + "/config/" + name);
    std::stringstream buffer;
    buffer << in.rdbuf();
    std::string text = buffer.str();
    for (std::size_t n = 0; n < text.size(); n += 7) {
      (void)load_text(text.substr(0, n), name, kFly);
      std::string flipped = text;
      flipped[n] = static_cast<char>(flipped[n] ^ 0x15);
      (void)load_text(flipped, name, kFly);
    }
  }
}

TEST(NearestName, FindsTyposOnly) {
  EXPECT_EQ(nearest_name("advertise_url", {"hostname", "advertise-url"}), "advertise-url");
  EXPECT_EQ(nearest_name("Dir", {"dir", "debug"}), "dir");
  EXPECT_EQ(nearest_name("zzz", {"dir", "debug"}), "");
}

}  // namespace
}  // namespace caddis::config
