// A mutex that clang's -Wthread-safety understands: members are GUARDED_BY(mutex_), an unguarded access is a warning.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#define CADDIS_TSA(x) __attribute__((x))
#define GUARDED_BY(m) CADDIS_TSA(guarded_by(m))
#define REQUIRES(...) CADDIS_TSA(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) CADDIS_TSA(locks_excluded(__VA_ARGS__))

namespace caddis {

class CADDIS_TSA(capability("mutex")) Mutex {
 public:
  void lock() CADDIS_TSA(acquire_capability()) { m_.lock(); }
  void unlock() CADDIS_TSA(release_capability()) { m_.unlock(); }
  bool try_lock() CADDIS_TSA(try_acquire_capability(true)) { return m_.try_lock(); }
  std::mutex& raw() { return m_; }

 private:
  std::mutex m_;
};

class CADDIS_TSA(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& m) CADDIS_TSA(acquire_capability(m)) : m_(m) { m_.lock(); }
  ~MutexLock() CADDIS_TSA(release_capability()) { m_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& m_;
};

// A condition variable for Mutex. The caller holds the mutex.
class CondVar {
 public:
  void wait(Mutex& m) REQUIRES(m) {
    std::unique_lock<std::mutex> lock(m.raw(), std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // False when the time passed without a notification.
  bool wait_for_us(Mutex& m, long us) REQUIRES(m) {
    std::unique_lock<std::mutex> lock(m.raw(), std::adopt_lock);
    bool woken = cv_.wait_for(lock, std::chrono::microseconds(us)) == std::cv_status::no_timeout;
    lock.release();
    return woken;
  }
  void notify_one() { cv_.notify_one(); }
  void notify_all() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace caddis
