#include "app/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::app {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

Command parse(std::vector<std::string> args) {
  args.insert(args.begin(), "/usr/local/bin/caddis");
  return parse_command_line(args).command;
}
template <class C>
C parse_as(std::vector<std::string> args) {
  Command command = parse(std::move(args));
  if (const auto* error = std::get_if<UsageError>(&command)) ADD_FAILURE() << error->text;
  EXPECT_TRUE(std::holds_alternative<C>(command));
  return std::holds_alternative<C>(command) ? std::get<C>(command) : C{};
}
std::string error_of(std::vector<std::string> args) {
  Command command = parse(std::move(args));
  EXPECT_TRUE(std::holds_alternative<UsageError>(command));
  return std::holds_alternative<UsageError>(command) ? std::get<UsageError>(command).text : "";
}

TEST(Cli, FlagsTakeOneOrTwoDashesAndAnEqualsSignOrABlank) {
  for (std::vector<std::string> args : {std::vector<std::string>{"mount", "-config", "/x"},
                                        {"mount", "--config", "/x"},
                                        {"mount", "-config=/x"},
                                        {"mount", "--config=/x"}}) {
    EXPECT_EQ(parse_as<MountCommand>(args).config_path, "/x");
  }
  EXPECT_EQ(parse_as<MountCommand>({"mount", "-config="}).config_path, "");
  EXPECT_EQ(parse_as<MountCommand>({"mount", "-config", "-debug"}).config_path, "-debug");
  EXPECT_EQ(parse_as<MountCommand>({"mount", "-config", "a", "-config=b=c"}).config_path, "b=c");
}

TEST(Cli, BooleansStandAloneOrWithAValue) {
  EXPECT_TRUE(parse_as<MountCommand>({"mount", "-debug"}).debug);
  EXPECT_FALSE(parse_as<MountCommand>({"mount", "-debug=false"}).debug);
  EXPECT_FALSE(parse_as<MountCommand>({"mount", "-debug", "-debug=0"}).debug);
  EXPECT_TRUE(parse_as<MountCommand>({"mount", "--fuse.debug=T"}).fuse_debug);
  EXPECT_EQ(error_of({"mount", "-debug=maybe"}),
            "invalid boolean value \"maybe\" for flag -debug: must be true or false; caddis mount -h lists the flags");
}

TEST(Cli, EveryFlagOfMountIsKnown) {
  MountCommand c = parse_as<MountCommand>({"mount", "-config", "c", "-no-expand-env", "-fly-toml", "f", "-skip-unmount",
                                           "-debug", "-fuse.debug", "-tracing"});
  EXPECT_EQ(c.config_path, "c");
  EXPECT_TRUE(c.no_expand_env);
  EXPECT_EQ(c.fly_toml_path, "f");
  EXPECT_TRUE(c.skip_unmount);
  EXPECT_TRUE(c.debug);
  EXPECT_TRUE(c.fuse_debug);
  EXPECT_TRUE(c.tracing);
  EXPECT_FALSE(c.command);
}

TEST(Cli, WhatFollowsTheDashesIsUntouched) {
  MountCommand c = parse_as<MountCommand>({"mount", "-debug", "--", "sh", "-c", "exit 7", "", "--", "-h", "a b\n$X"});
  EXPECT_THAT(*c.command, ElementsAre("sh", "-c", "exit 7", "", "--", "-h", "a b\n$X"));
  EXPECT_THAT(parse_as<RunCommand>({"run", "--", "--help"}).command, ElementsAre("--help"));
}

TEST(Cli, FlagsMayFollowPositionals) {
  ExportCommand c = parse_as<ExportCommand>({"export", "/tmp/x", "-name", "app.db", "-url=http://h:1"});
  EXPECT_EQ(c.path, "/tmp/x");
  EXPECT_EQ(c.name, "app.db");
  EXPECT_EQ(c.url, "http://h:1");
  EXPECT_EQ(parse_as<ImportCommand>({"import", "-name", "a", "--", "-odd-name"}).path, "-odd-name");
  EXPECT_EQ(parse_as<ImportCommand>({"import", "-name", "a", "-"}).path, "-");
}

TEST(Cli, FlagErrorsUseGosWords) {
  EXPECT_EQ(error_of({"mount", "-x"}), "flag provided but not defined: -x; caddis mount -h lists the flags");
  EXPECT_EQ(error_of({"mount", "-config"}), "flag needs an argument: -config; caddis mount -h lists the flags");
  EXPECT_EQ(error_of({"mount", "---x"}), "bad flag syntax: ---x; caddis mount -h lists the flags");
  EXPECT_EQ(error_of({"mount", "-=x"}), "bad flag syntax: -=x; caddis mount -h lists the flags");
}

TEST(Cli, MountTakesItsCommandOnlyAfterTheDashes) {
  EXPECT_EQ(error_of({"mount", "npm", "start"}), "too many arguments, specify a '--' to specify an exec command");
  EXPECT_THAT(error_of({"mount", "--"}), StartsWith("no command after '--'"));
  EXPECT_THAT(error_of({"mount", "--", ""}), StartsWith("no command after '--'"));
}

TEST(Cli, RunWithoutFlagsIsAPlainSupervisor) {
  RunCommand plain = parse_as<RunCommand>({"run", "-v", "--", "a"});
  EXPECT_TRUE(plain.is_plain());
  EXPECT_TRUE(plain.verbose);
  EXPECT_EQ(plain.url, "http://localhost:20202");
  for (const char* flag : {"-promote", "-if-candidate", "-with-halt-lock-on=/litefs/db", "-on-primary"}) {
    EXPECT_FALSE(parse_as<RunCommand>({"run", flag, "--", "a"}).is_plain()) << flag;
  }
}

TEST(Cli, RunsErrorsAreLiteFss) {
  EXPECT_EQ(error_of({"run", "--"}), "no subcommand specified, write caddis run -- CMD");
  EXPECT_EQ(error_of({"run", "npm"}), "too many arguments, specify a '--' to specify an exec command");
  EXPECT_EQ(error_of({"run", "-promote", "-with-halt-lock-on", "d", "--", "a"}),
            "cannot specify both -promote & -with-halt-lock-on");
}

TEST(Cli, ExportAndImportNeedANameAndOnePath) {
  EXPECT_THAT(error_of({"export", "p"}), StartsWith("database name required"));
  EXPECT_THAT(error_of({"import", "-name", "n", "p", "q"}), StartsWith("too many arguments"));
}

TEST(Cli, EveryFlagOfRestoreIsKnown) {
  RestoreCommand c =
      parse_as<RestoreCommand>({"restore", "-o", "f", "-txid", "000000000000002a", "-if-db-not-exists",
                                "-if-replica-exists", "-force", "-dry-run", "-json", "-integrity-check", "full",
                                "-parallelism", "3", "-config", "c", "-no-expand-env", "s3://b/p/app.db"});
  EXPECT_EQ(c.source, "s3://b/p/app.db");
  EXPECT_EQ(c.output_path, "f");
  EXPECT_EQ(c.txid, Txid(42));
  EXPECT_TRUE(c.if_db_not_exists && c.if_replica_exists && c.force && c.dry_run && c.json && c.no_expand_env);
  EXPECT_EQ(c.integrity_check, IntegrityCheck::kFull);
  EXPECT_EQ(c.parallelism, 3);
  EXPECT_EQ(c.config_path, "c");
  EXPECT_EQ(parse_as<RestoreCommand>({"restore", "app.db"}).parallelism, 8);
  EXPECT_EQ(parse_as<RestoreCommand>({"restore", "-timestamp", "1970-01-01T00:00:01Z", "app.db"}).timestamp_ms, 1'000);
}

TEST(Cli, RestoresValuesAreChecked) {
  EXPECT_THAT(error_of({"restore", "-txid", "2a", "d"}),
              HasSubstr("invalid value \"2a\" for flag -txid: must be 16 lower-case hex digits"));
  EXPECT_THAT(error_of({"restore", "-txid", "0000000000000000", "d"}), HasSubstr("for flag -txid"));
  EXPECT_THAT(error_of({"restore", "-timestamp", "yesterday", "d"}),
              HasSubstr("for flag -timestamp: must be a time with zone"));
  EXPECT_THAT(error_of({"restore", "-integrity-check", "some", "d"}), HasSubstr("must be none, quick or full"));
  EXPECT_THAT(error_of({"restore", "-parallelism", "0", "d"}), HasSubstr("must be a number from 1 to 256"));
  EXPECT_EQ(error_of({"restore", "-txid", "0000000000000001", "-timestamp", "2026-01-01T00:00:00Z", "d"}),
            "cannot specify both -txid & -timestamp");
  EXPECT_EQ(error_of({"restore", "s3://b/p"}), "output path required with a URL, write -o FILE");
  EXPECT_THAT(error_of({"restore", "a", "b"}), StartsWith("too many arguments"));
}

TEST(Cli, StatusTakesADatabase) {
  StatusCommand c = parse_as<StatusCommand>({"status", "app.db", "-json", "-watch"});
  EXPECT_EQ(c.database, "app.db");
  EXPECT_TRUE(c.json && c.watch);
  EXPECT_EQ(parse_as<StatusCommand>({"status"}).database, "");
}

TEST(Cli, HelpGoesToStdoutWithCodeZero) {
  for (std::vector<std::string> args : {std::vector<std::string>{"-h"}, {"--help"}, {"help"}}) {
    HelpCommand help = parse_as<HelpCommand>(args);
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_FALSE(help.to_stderr);
    EXPECT_THAT(help.text, HasSubstr("caddis COMMAND"));
  }
  EXPECT_EQ(parse_as<HelpCommand>({"mount", "-debug", "-h"}).text, usage_text("mount"));
  EXPECT_EQ(parse_as<HelpCommand>({"help", "run"}).text, usage_text("run"));
}

TEST(Cli, NothingAskedForIsUsageOnStderrWithCodeTwo) {
  for (std::vector<std::string> args :
       {std::vector<std::string>{}, {"run"}, {"export"}, {"import", "-name", "x"}, {"restore"}}) {
    HelpCommand help = parse_as<HelpCommand>(args);
    EXPECT_EQ(help.exit_code, 2);
    EXPECT_TRUE(help.to_stderr);
  }
  EXPECT_TRUE(std::holds_alternative<HelpCommand>(parse_command_line({}).command));
}

TEST(Cli, UnknownCommandsAreNamed) {
  EXPECT_EQ(error_of({"mont"}), "caddis mont: unknown command, caddis help lists them");
  EXPECT_EQ(error_of({"-debug", "mount"}), "flag provided before the command: -debug, write caddis COMMAND -debug");
  EXPECT_EQ(error_of({"help", "x"}), "caddis x: unknown command, caddis help lists them");
  EXPECT_EQ(std::get<UsageError>(parse_command_line({"litefs", "x"}).command).text,
            "litefs x: unknown command, litefs help lists them");
}

TEST(Cli, TheProgramsNameChangesTheVersionTextOnly) {
  EXPECT_EQ(parse_command_line({"/usr/local/bin/litefs", "version"}).program, "litefs");
  EXPECT_EQ(parse_command_line({"caddis"}).program, "caddis");
  EXPECT_EQ(version_text("caddis", "v0.1.0", "abc"), "caddis v0.1.0, commit=abc");
  EXPECT_EQ(version_text("litefs", "v0.1.0", "abc"), "LiteFS v0.5.14, commit=abc (caddis v0.1.0)");
  EXPECT_TRUE(parse_as<VersionCommand>({"version", "-json"}).json);
}

TEST(Cli, UsageIsAlignedAndHasExamples) {
  EXPECT_EQ(usage_text("export"),
            "caddis export: write a database of the node into a file\n\n"
            "Usage:\n  caddis export -name DB [flags] PATH\n\n"
            "Downloads a consistent copy while the app runs. PATH is replaced only after a complete download.\n\n"
            "Flags (-x and --x, -x=v and -x v are the same):\n"
            "  -url URL  the node (default: http://localhost:20202)\n"
            "  -name DB  the database's name in the mount (required)\n\n"
            "Examples:\n  caddis export -name app.db /tmp/app.db\n");
}

TEST(Cli, Rfc3339TimesAreReadToTheMillisecond) {
  EXPECT_EQ(parse_rfc3339_ms("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(parse_rfc3339_ms("2026-11-22T03:34:36Z"), 1795318476000);
  EXPECT_EQ(parse_rfc3339_ms("2026-11-22T04:34:36.5+01:00"), 1795318476500);
  EXPECT_EQ(parse_rfc3339_ms("2026-11-22T03:34:36.123456789Z"), 1795318476123);
  EXPECT_EQ(parse_rfc3339_ms("1969-12-31T23:59:59Z"), -1000);
  for (const char* bad :
       {"", "2026-11-22", "2026-11-22T03:34:36", "2026-02-30T00:00:00Z", "2026-11-22T24:00:00Z",
        "2026-11-22T03:34:36.Z", "2026-11-22T03:34:36+1:00", "2026-11-22T03:34:36Zx", "2026-1-22T03:34:36Z"}) {
    EXPECT_FALSE(parse_rfc3339_ms(bad)) << bad;
  }
}

}  // namespace
}  // namespace caddis::app
