#include "os/spawn.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

namespace caddis::os {
namespace {

class Spawn : public testing::Test {
 protected:
  Spawn() {
    std::string pattern = std::filesystem::temp_directory_path() / "caddis-spawn-XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    options_.env = {"PATH=/usr/bin:/bin"};
  }
  ~Spawn() override { std::filesystem::remove_all(dir_); }
  void file(const std::string& name, const std::string& text, mode_t mode) const {
    std::ofstream(dir_ + "/" + name) << text;
    ::chmod((dir_ + "/" + name).c_str(), mode);
  }
  // Runs it to the end and gives its wait status; -1 when it did not start.
  int run(const std::vector<std::string>& argv) {
    options_.argv = argv;
    Result<pid_t> pid = spawn(options_);
    if (!pid) return -1;
    int status = 0;
    EXPECT_EQ(::waitpid(*pid, &status, 0), *pid);
    return status;
  }
  // stdout of sh -c SCRIPT.
  std::string output(const std::string& script) {
    int status = run({"/bin/sh", "-c", "exec >" + dir_ + "/out\n" + script});
    EXPECT_TRUE(WIFEXITED(status)) << status;
    std::ifstream in(dir_ + "/out");
    return {std::istreambuf_iterator<char>(in), {}};
  }
  Error error_of(const std::vector<std::string>& argv) {
    options_.argv = argv;
    Result<pid_t> pid = spawn(options_);
    EXPECT_FALSE(pid);
    return pid ? Error(ErrorCode::kInternal, "it started") : std::move(pid).error();
  }
  std::string dir_;
  SpawnOptions options_;
};

TEST_F(Spawn, ArgumentsArriveByteForByte) {
  options_.argv = {"/bin/sh", "-c", "printf '<%s>' \"$@\" >" + dir_ + "/out", "sh", "a b", "", "\"'$x`", "\n", "\xff"};
  Result<pid_t> pid = spawn(options_);
  ASSERT_TRUE(pid);
  ASSERT_EQ(::waitpid(*pid, nullptr, 0), *pid);
  std::ifstream in(dir_ + "/out");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "<a b><><\"'$x`><\n><\xff>");
}

TEST_F(Spawn, LooksInThePathOfTheGivenEnvironment) {
  file("tool", "#!/bin/sh\nexit 9\n", 0755);
  EXPECT_EQ(run({"tool"}), -1);
  options_.env = {"PATH=/nowhere:" + dir_};
  EXPECT_EQ(WEXITSTATUS(run({"tool"})), 9);
  options_.env = {};
  EXPECT_EQ(run({"true"}), 0);
}

TEST_F(Spawn, SkipsAFileThatMayNotBeExecutedWhenALaterOneMay) {
  std::filesystem::create_directories(dir_ + "/first");
  file("first/tool", "", 0644);
  file("tool", "#!/bin/sh\nexit 8\n", 0755);
  options_.env = {"PATH=" + dir_ + "/first:" + dir_};
  EXPECT_EQ(WEXITSTATUS(run({"tool"})), 8);
}

TEST_F(Spawn, AScriptWithoutInterpreterLineRunsUnderSh) {
  file("script", "exit $1", 0755);
  EXPECT_EQ(WEXITSTATUS(run({dir_ + "/script", "6"})), 6);
}

TEST_F(Spawn, NotFoundIs127AndNamesTheProgramAndThePath) {
  Error error = error_of({"no-such-tool", "x"});
  EXPECT_EQ(exit_code_of(error), 127);
  EXPECT_EQ(error.message(), "cannot execute \"no-such-tool\": not found in PATH (/usr/bin:/bin)");
  EXPECT_EQ(exit_code_of(error_of({dir_ + "/none"})), 127);
  EXPECT_EQ(exit_code_of(error_of({""})), 127);
}

TEST_F(Spawn, FoundButNotExecutableIs126) {
  file("plain", "x", 0644);
  file("bad", "#!/no/such/interpreter\n", 0755);
  EXPECT_EQ(exit_code_of(error_of({dir_ + "/plain"})), 126);
  EXPECT_EQ(exit_code_of(error_of({dir_})), 126);
  Error bad = error_of({dir_ + "/bad"});
  EXPECT_EQ(exit_code_of(bad), 126);
  EXPECT_NE(bad.message().find("interpreter"), std::string::npos);
  options_.env = {"PATH=" + dir_};
  EXPECT_EQ(exit_code_of(error_of({"plain"})), 126);
  EXPECT_EQ(exit_code_of(error_of({"bad"})), 126);
}

TEST_F(Spawn, AFailedStartLeavesNoZombie) {
  error_of({"no-such-tool"});
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST_F(Spawn, ClosesEverythingBut012) {
  int leaked = ::open("/dev/null", O_RDONLY);
  ASSERT_GE(leaked, 3);
  EXPECT_EQ(output("for f in /proc/$$/fd/*; do echo ${f##*/}; done").substr(0, 6), "0\n1\n2\n");
  EXPECT_EQ(output("ls /proc/$$/fd | grep -c '^" + std::to_string(leaked) + "$'"), "0\n");
  ::close(leaked);
}

TEST_F(Spawn, SignalsAreDefaultAndUnblockedExceptThoseToBeIgnored) {
  struct sigaction ignore{};
  struct sigaction before{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &before);
  sigset_t usr1;
  ::sigemptyset(&usr1);
  ::sigaddset(&usr1, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &usr1, nullptr);
  options_.ignored_signals = signal_bit(SIGINT) | signal_bit(SIGHUP);
  std::string seen = output("exec grep -E 'SigBlk|SigIgn' /proc/self/status");
  ::sigprocmask(SIG_UNBLOCK, &usr1, nullptr);
  ::sigaction(SIGPIPE, &before, nullptr);
  EXPECT_EQ(seen, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000003\n");
}

TEST_F(Spawn, HasAProcessGroupOfItsOwnAndTheGivenDirectoryAndEnvironment) {
  options_.cwd = dir_;
  options_.env.push_back("CADDIS_DIR=/x y");
  std::string seen = output("cut -d' ' -f5 </proc/$$/stat; echo $$; pwd; echo \"$CADDIS_DIR\"; env | grep -c HOME");
  std::string pid = seen.substr(0, seen.find('\n'));
  EXPECT_EQ(seen, pid + "\n" + pid + "\n" + dir_ + "\n/x y\n0\n");
}

TEST_F(Spawn, DiesWithTheStarter) {
  // A starter that spawns a sleeper, tells its pid and ends; this process adopts nothing, so kill(pid, 0) is the proof.
  pid_t starter = ::fork();
  if (starter == 0) {
    options_.argv = {"/bin/sleep", "100"};
    Result<pid_t> pid = spawn(options_);
    std::ofstream(dir_ + "/pid") << (pid ? *pid : 0);
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(starter, nullptr, 0), starter);
  pid_t sleeper = 0;
  std::ifstream(dir_ + "/pid") >> sleeper;
  ASSERT_GT(sleeper, 0);
  auto running = [sleeper] {
    std::ifstream stat("/proc/" + std::to_string(sleeper) + "/stat");
    std::string text((std::istreambuf_iterator<char>(stat)), {});
    std::size_t at = text.rfind(") ");
    return at != text.npos && text[at + 2] != 'Z';
  };
  for (int i = 0; i < 500 && running(); ++i) ::usleep(10'000);
  EXPECT_FALSE(running());
}

TEST_F(Spawn, ChangesUserGroupAndSupplementaryGroups) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ::chmod(dir_.c_str(), 0777);
  options_.user = User{.uid = 12345, .gid = 23456, .groups = {23456, 34567}, .home = "/"};
  EXPECT_EQ(output("id -u; id -g; id -G"), "12345\n23456\n23456 34567\n");
}

TEST_F(Spawn, ARefusedDirectoryOrUserIsInvalid) {
  options_.cwd = dir_ + "/none";
  Error error = error_of({"true"});
  EXPECT_EQ(error.code(), ErrorCode::kInvalid);
  EXPECT_EQ(exit_code_of(error), 1);
  EXPECT_NE(error.message().find(dir_ + "/none"), std::string::npos);
}

}  // namespace
}  // namespace caddis::os
