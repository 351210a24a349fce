// Drives upload and restore without the rest of caddis, for tests/backup/test_litestream_crosscheck.py.
//   backup_probe upload DIR NAME [--level1] [--giant] FILE...   every FILE is the database after one more transaction
//   backup_probe restore DIR NAME OUT [TXID]
// Prints "TXID/CHECKSUM". Exit 1 with a line on stderr when something fails.
#include <cstdio>
#include <fstream>
#include <iterator>

#include "backup/restore.h"
#include "backup/store_target.h"
#include "backup/test_target.h"
#include "backup/uploader.h"

namespace caddis::backup {
namespace {

int fail(const std::string& text) {
  fmt::print(stderr, "{}\n", text);
  return 1;
}

Bytes read_whole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

bool run_until(loop::Loop& loop, const std::function<bool()>& condition) {
  int looks = 0;
  bool met = false;
  loop::Timer timer = loop::Timer::every(loop, 2, [&] {
    met = condition();
    if (met || ++looks > 10'000) loop.stop();
  });
  loop.run();
  return met;
}

std::shared_ptr<Target> open_target(loop::Loop& loop, const std::string& dir) {
  store::TargetOptions options;
  options.url = "file://" + dir;
  return std::make_shared<StoreTarget>(std::move(*store::open_store(loop, options)));
}

// TXID of the newest object of a level, as text; empty when there is none.
std::string newest(loop::Loop& loop, Target& target, const std::string& name, int level) {
  std::string found;
  for (const ObjectInfo& o : loop::run_until_done(loop, target.list(name, {})).value()) {
    if (o.level == level) found = std::max(found, to_hex(o.max));
  }
  return found;
}

int upload(const std::string& dir, const std::string& name, bool level1, bool giant,
           const std::vector<std::string>& files) {
  loop::Loop loop;
  SystemClock clock;
  FakeDatabases databases;
  auto target = open_target(loop, dir);
  auto work = os::make_system_dir(dir + ".work");
  UploadOptions options;
  options.sync_interval_ms = 5;
  if (level1) options.levels = {{1, 50}};
  if (giant) {
    options.batch_limit_bytes = 20'000;
    options.part_size_bytes = 10'000;
  }
  auto uploader = Uploader::create(loop, clock, databases, **work, nullptr, {{target, options}});
  if (!uploader) return fail(uploader.error().message());
  (*uploader)->start();
  Bytes first = read_whole(files.front());
  std::uint32_t page_size = get_be16(first.data() + 16);
  TestHistory history(page_size == 1 ? 65536 : page_size);
  history.set_wall_ms(clock.wall_ms() - 60'000);
  for (const std::string& file : files) {
    history.commit_image(read_whole(file));
    databases.set(name, history);
    (*uploader)->durable(FakeDatabases::commit_of(name, history));
    auto done = [&] {
      auto all = (*uploader)->status();
      return !all.empty() && all[0].uploaded == history.position().txid;
    };
    if (!run_until(loop, done)) return fail("upload of " + file + " did not end");
  }
  int looks = 0;
  auto there = [&](int level, const std::string& txid) { return newest(loop, *target, name, level) >= txid; };
  std::string last = to_hex(history.position().txid);
  while (!there(kSnapshotLevel, to_hex(Txid(1))) || (level1 && !there(1, last))) {
    if (++looks > 500) return fail("no level 1 or no snapshot");
    run_until(loop, [n = 0]() mutable { return ++n > 5; });
  }
  loop::run_until_done(loop, (*uploader)->flush(5000));
  fmt::print("{}\n", to_text(history.position()));
  return 0;
}

int restore(const std::string& dir, const std::string& name, const std::string& out, const std::string& txid) {
  loop::Loop loop;
  auto target = open_target(loop, dir);
  RestoreOptions options;
  if (!txid.empty()) options.point.txid = Txid(parse_hex16(txid).value());
  auto slash = out.rfind('/');
  auto folder = os::open_system_dir(out.substr(0, slash));
  if (!folder) return fail(folder.error().message());
  auto result =
      loop::run_until_done(loop, restore_database(loop, *target, name, **folder, out.substr(slash + 1), options, {}));
  if (!result) return fail(result.error().message());
  fmt::print("{}\n", to_text(result->position));
  return 0;
}

}  // namespace
}  // namespace caddis::backup

int main(int argc, char** argv) {
  std::vector<std::string> args(argv + 1, argv + argc);
  bool level1 = std::erase(args, "--level1") > 0;
  bool giant = std::erase(args, "--giant") > 0;
  if (args.size() >= 4 && args[0] == "upload")
    return caddis::backup::upload(args[1], args[2], level1, giant, {args.begin() + 3, args.end()});
  if (args.size() >= 4 && args[0] == "restore")
    return caddis::backup::restore(args[1], args[2], args[3], args.size() > 4 ? args[4] : "");
  std::fputs("usage: backup_probe upload|restore DIR NAME …\n", stderr);
  return 2;
}
