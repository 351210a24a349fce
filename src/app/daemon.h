// One mounted node: everything `caddis mount` keeps alive, and the acting half of BootMachine.
//
// Threads: the main thread runs the loop and is the only one that forks (children die with the thread that started
// them). Blocking steps (open, mount, unmount, close) run on the loop's pool. The peer thread steps the engine from the
// moment it is open until it is closed. FUSE workers belong to the mount.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "api/documents.h"
#include "api/node_port.h"
#include "app/backup_service.h"
#include "app/boot_machine.h"
#include "app/build_info.h"
#include "app/data_lock.h"
#include "app/importer.h"
#include "app/settings.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "db/engine.h"
#include "db/peer_thread.h"
#include "fly/role_metadata.h"
#include "fuse/mount.h"
#include "lease/leaser.h"
#include "lease/role_board.h"
#include "loop/loop.h"
#include "supervise/supervisor.h"

namespace caddis::app {

class Daemon {
 public:
  Daemon(Settings settings, BuildInfo build, bool clean_stale_mount);
  ~Daemon();
  int run();  // boot, serve, stop; the exit code. Main thread, once

 private:
  void feed(BootEvent event);
  void perform(const BootAction& action);
  // The end of the step that is under way. An error is logged here.
  void finish_step(std::uint64_t step, Status status, int exit_code, std::string_view intention);
  // A step on a pool thread, then finish_step.
  void in_pool(std::move_only_function<Status()> work, int exit_code, std::string intention);

  // Steps of boot.
  void lock_data_dir();
  void clean_stale_mount();
  void bind_port();
  void inspect_volume();
  void restore();
  void open_engine();
  void mount();
  void join();
  void run_list();
  void up(bool with_app);
  void cancel_step();
  // Steps of the stop.
  void drain();
  void flush_backup();
  void release();
  void unmount();
  void close();

  loop::Detached restore_task(std::uint64_t step);
  loop::Detached join_task(std::uint64_t step);
  loop::Detached flush_task(std::uint64_t step);
  loop::Detached release_task(std::uint64_t step);

  Status create_supervisor();
  void list_ended(const supervise::Ended& ended);
  bool entry_runs(std::size_t index) const;
  Status found_cluster();  // cluster id: read, or made by the first primary
  void role_changed(const lease::Role& role);
  std::int64_t stop_budget_ms() const;  // what is left for the rest of a stop
  db::EngineOptions engine_options();
  api::NodeFacts facts();
  std::string not_ready() const;
  std::string node_url() const;

  const Settings settings_;
  const BuildInfo build_;
  const bool clean_stale_mount_;
  const std::uint64_t node_id_;
  SystemClock clock_;
  const TimeMs started_;
  Metrics metrics_;
  loop::Loop loop_;
  BootMachine machine_;
  std::deque<BootEvent> events_;
  bool pumping_ = false;
  std::uint64_t step_ = 0;  // counts steps, so that the late end of an abandoned one is not taken for the next one's
  bool abandoned_ = false;
  std::stop_source step_stop_;
  loop::Timer stop_timer_;
  std::optional<TimeMs> stop_began_;
  std::optional<int> exit_code_;
  std::string last_error_;  // the bare line before a non-zero exit

  std::unique_ptr<supervise::Supervisor> supervisor_;
  loop::FdWatch supervisor_watch_;
  std::shared_ptr<os::Dir> data_dir_;
  std::optional<DataLock> lock_;
  std::string cluster_id_;
  lease::RoleBoard roles_;
  std::unique_ptr<lease::Leaser> leaser_;
  std::unique_ptr<fly::RoleMetadata> role_metadata_;
  std::unique_ptr<db::Engine> engine_;
  std::unique_ptr<BackupService> backup_;
  std::unique_ptr<db::PeerThread> peer_;
  std::unique_ptr<fuse::Mount> mount_;
  std::unique_ptr<Importer> importer_;
  std::unique_ptr<api::NodePort> port_;
};

}  // namespace caddis::app
