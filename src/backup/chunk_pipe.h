// From the loop to a blocking reader: pieces of a known sequence, fetched out of order, read in order, in bounded
// memory. The loop puts piece k when it has it; one reader thread takes 0, 1, 2, … and sleeps while the next one is
// missing.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "base/bytes.h"
#include "base/mutex.h"
#include "base/result.h"

namespace caddis::backup {

class ChunkPipe {
 public:
  // `taken(n)` is called on the reader's thread after n pieces have been taken.
  explicit ChunkPipe(std::function<void(std::size_t)> taken) : taken_(std::move(taken)) {}
  void put(std::size_t index, Bytes piece) EXCLUDES(mutex_);
  // Ends the pipe: the reader gets this error at once. The first one stays.
  void fail(Error error) EXCLUDES(mutex_);
  bool failed() const EXCLUDES(mutex_);
  // The next piece. Reader's thread.
  Result<Bytes> take() EXCLUDES(mutex_);

 private:
  std::function<void(std::size_t)> taken_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::map<std::size_t, Bytes> pieces_ GUARDED_BY(mutex_);
  std::size_t next_ GUARDED_BY(mutex_) = 0;
  std::optional<Error> error_ GUARDED_BY(mutex_);
};

}  // namespace caddis::backup
