#include "supervise/supervisor.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "supervise/descendants.h"
#include "supervise/signals.h"

namespace caddis::supervise {
namespace {

std::vector<std::string> sh(const std::string& script) { return {"/bin/sh", "-c", script}; }

class SupervisorTest : public testing::Test {
 protected:
  SupervisorTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "caddis-supervisor-XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    callbacks_.ended = [this](const Ended& e) { ended_ = e; };
    options_.stop_timeout_ms = 5000;
  }
  ~SupervisorTest() override { std::filesystem::remove_all(dir_); }

  void create() { supervisor_ = std::move(Supervisor::create(options_, callbacks_)).value(); }
  // Serves the supervisor until `done`; false after 10 s.
  bool serve_until(const std::function<bool()>& done) {
    SystemClock clock;
    TimeMs until = clock.now() + 10'000;
    while (!done() && clock.now() < until) {
      pollfd fd{.fd = supervisor_->poll_fd(), .events = POLLIN, .revents = 0};
      if (::poll(&fd, 1, 10) > 0) supervisor_->on_readable();
    }
    return done();
  }
  Ended run(std::vector<std::vector<std::string>> commands) {
    create();
    start(std::move(commands));
    EXPECT_TRUE(serve_until([this] { return ended_.has_value(); }));
    return ended_.value_or(Ended{});
  }
  void start(std::vector<std::vector<std::string>> commands) {
    std::vector<ExecEntry> entries;
    for (auto& argv : commands) entries.push_back({.argv = std::move(argv), .timeout_ms = timeout_ms_});
    supervisor_->run(std::move(entries));
  }
  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  std::string text(const std::string& name) const {
    std::ifstream in(path(name));
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string dir_;
  std::int64_t timeout_ms_ = 0;
  SupervisorOptions options_;
  SupervisorCallbacks callbacks_;
  std::unique_ptr<Supervisor> supervisor_;
  std::optional<Ended> ended_;
};

TEST_F(SupervisorTest, RunsEntriesInOrderAndEndsWithTheAppsCode) {
  std::vector<pid_t> apps;
  callbacks_.app_started = [&apps](pid_t pid) { apps.push_back(pid); };
  std::string out = path("out");
  Ended ended = run({sh("sleep 0.05; echo 1 >>" + out), sh("echo 2 >>" + out), sh("echo $$ >>" + out + "; exit 9")});
  EXPECT_EQ(ended.why, Ended::Why::kApp);
  EXPECT_EQ(ended.exit_code, 9);
  EXPECT_EQ(ended.index, 2u);
  ASSERT_EQ(apps.size(), 1u);
  EXPECT_EQ(text("out"), "1\n2\n" + std::to_string(apps[0]) + "\n");
  EXPECT_FALSE(supervisor_->running());
}

TEST_F(SupervisorTest, TheFirstFailureEndsTheListWithItsCodeAndSaysWhich) {
  Ended ended = run({sh("exit 0"), sh("exit 3"), sh("touch " + path("app"))});
  EXPECT_EQ(ended.why, Ended::Why::kEntry);
  EXPECT_EQ(ended.exit_code, 3);
  EXPECT_EQ(ended.index, 1u);
  EXPECT_EQ(ended.message, "/bin/sh [-c exit 3]: exit status 3");
  EXPECT_FALSE(std::filesystem::exists(path("app")));
}

TEST_F(SupervisorTest, AnAppThatCannotBeStartedIsAFailureWith126Or127) {
  Ended ended = run({{"no-such-program"}});
  EXPECT_EQ(ended.why, Ended::Why::kEntry);
  EXPECT_EQ(ended.exit_code, 127);
  EXPECT_NE(ended.message.find("no-such-program"), std::string::npos);
  EXPECT_EQ(run({{dir_}}).exit_code, 126);
}

TEST_F(SupervisorTest, SkippedEntriesAreNotRunAndASkippedLastOneMeansNoApp) {
  std::vector<std::size_t> asked;
  callbacks_.should_run = [&asked](std::size_t index) {
    asked.push_back(index);
    return index == 1;
  };
  Ended ended = run({sh("touch " + path("0")), sh("touch " + path("1")), sh("touch " + path("2"))});
  EXPECT_EQ(ended.why, Ended::Why::kNoApp);
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_EQ(asked, (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_FALSE(std::filesystem::exists(path("0")));
  EXPECT_TRUE(std::filesystem::exists(path("1")));
  EXPECT_EQ(run({}).why, Ended::Why::kNoApp);
}

TEST_F(SupervisorTest, AStopRequestDuringBootIsToldAndPreventsTheList) {
  int told = 0;
  callbacks_.stop_requested = [&told](int signo) { told = signo; };
  create();
  ::kill(::getpid(), SIGHUP);
  ::kill(::getpid(), SIGINT);
  EXPECT_TRUE(serve_until([&told] { return told != 0; }));
  EXPECT_EQ(told, SIGINT);
  start({sh("touch " + path("app"))});
  ASSERT_TRUE(ended_);
  EXPECT_EQ(ended_->why, Ended::Why::kStopped);
  EXPECT_EQ(ended_->exit_code, 130);
  EXPECT_FALSE(std::filesystem::exists(path("app")));
}

TEST_F(SupervisorTest, StopReachesTheEntryAndTheListEndsWith128PlusNEvenIfItExits0) {
  create();
  start({sh("trap 'exit 0' TERM; touch " + path("ready") + "; while :; do sleep 0.01; done"),
         sh("touch " + path("app"))});
  EXPECT_TRUE(serve_until([this] { return std::filesystem::exists(path("ready")); }));
  supervisor_->stop(SIGTERM);
  EXPECT_TRUE(serve_until([this] { return ended_.has_value(); }));
  EXPECT_EQ(ended_->why, Ended::Why::kEntry);
  EXPECT_EQ(ended_->exit_code, 143);
  EXPECT_FALSE(std::filesystem::exists(path("app")));
}

TEST_F(SupervisorTest, AnEntryThatTakesTooLongIsStopped) {
  timeout_ms_ = 50;
  Ended ended = run({sh("exec sleep 100"), sh("touch " + path("app"))});
  EXPECT_EQ(ended.exit_code, 143);
  EXPECT_EQ(ended.message, "/bin/sh [-c exec sleep 100]: did not end within 50 ms");
}

TEST_F(SupervisorTest, AHeldStopReachesTheAppOnlyWhenReleased) {
  callbacks_.hold_stop = [] { return true; };
  create();
  start({sh("trap 'touch " + path("told") + "; exit 4' TERM; touch " + path("ready") +
            "; while :; do sleep 0.01; done")});
  EXPECT_TRUE(serve_until([this] { return std::filesystem::exists(path("ready")); }));
  supervisor_->stop(SIGTERM);
  supervisor_->signal_app(SIGCONT);
  EXPECT_FALSE(ended_ || std::filesystem::exists(path("told")));
  supervisor_->release_stop();
  EXPECT_TRUE(serve_until([this] { return ended_.has_value(); }));
  EXPECT_EQ(ended_->exit_code, 4);
}

TEST_F(SupervisorTest, SignalAppDoesNotCountAsAStop) {
  create();
  start({sh("trap 'exit 5' TERM; touch " + path("ready") + "; while :; do sleep 0.01; done")});
  EXPECT_TRUE(serve_until([this] { return std::filesystem::exists(path("ready")); }));
  supervisor_->signal_app(SIGTERM);
  EXPECT_TRUE(serve_until([this] { return ended_.has_value(); }));
  EXPECT_EQ(ended_->exit_code, 5);
  EXPECT_EQ(supervisor_->stop_signal(), 0);
}

TEST_F(SupervisorTest, ADaemonOfAMigrationStaysForTheAppAndGoesAfterIt) {
  std::string pid_file = path("pid");
  Ended ended = run({sh("setsid sleep 100 & echo $! >" + pid_file), sh("kill -0 $(cat " + pid_file + ")")});
  EXPECT_EQ(ended.why, Ended::Why::kApp);
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_TRUE(living_descendants().empty());
}

TEST_F(SupervisorTest, ADaemonOfAMigrationGoesAlsoWhenTheAppCannotStart) {
  Ended ended = run({sh("setsid sleep 100 &"), {"no-such-program"}});
  EXPECT_EQ(ended.exit_code, 127);
  EXPECT_TRUE(living_descendants().empty());
}

TEST_F(SupervisorTest, EntriesGetTheGivenEnvironment) {
  options_.env = {"PATH=/usr/bin:/bin", "A=1"};
  create();
  supervisor_->set_environment({"PATH=/usr/bin:/bin", "A=2"});
  start({sh("echo $A >" + path("out"))});
  EXPECT_TRUE(serve_until([this] { return ended_.has_value(); }));
  EXPECT_EQ(text("out"), "2\n");
}

TEST_F(SupervisorTest, DestroyingItKillsWhatRuns) {
  create();
  start({sh("exec sleep 100")});
  pid_t pid = supervisor_->pid();
  EXPECT_EQ(::kill(pid, 0), 0);
  supervisor_.reset();
  EXPECT_EQ(::kill(pid, 0), -1);
}

TEST(ChildEnvironment, RemovesAndReplacesByName) {
  EXPECT_EQ(child_environment({"A=1", "AB=2", "SECRET=x", "CADDIS_DIR=/old"}, {"SECRET", "NOT"}, {"CADDIS_DIR=/new"}),
            (std::vector<std::string>{"A=1", "AB=2", "CADDIS_DIR=/new"}));
}

TEST(CommandText, LooksLikeLiteFS) {
  EXPECT_EQ(command_text({"sleep", "1", "2"}), "sleep [1 2]");
  EXPECT_EQ(command_text({"true"}), "true []");
}

TEST(SignalName, KnowsRealTimeSignals) {
  EXPECT_EQ(signal_name(SIGTERM), "SIGTERM");
  EXPECT_EQ(signal_name(SIGRTMIN + 3), "SIGRTMIN+3");
}

}  // namespace
}  // namespace caddis::supervise
