#include "backup/chunk_pipe.h"

namespace caddis::backup {

void ChunkPipe::put(std::size_t index, Bytes piece) {
  MutexLock lock(mutex_);
  pieces_.emplace(index, std::move(piece));
  changed_.notify_one();
}

void ChunkPipe::fail(Error error) {
  MutexLock lock(mutex_);
  if (!error_) error_ = std::move(error);
  changed_.notify_one();
}

bool ChunkPipe::failed() const {
  MutexLock lock(mutex_);
  return error_.has_value();
}

Result<Bytes> ChunkPipe::take() {
  Bytes piece;
  std::size_t taken = 0;
  {
    MutexLock lock(mutex_);
    while (!error_ && !pieces_.contains(next_)) changed_.wait(mutex_);
    if (error_) return std::unexpected(*error_);
    auto it = pieces_.find(next_);
    piece = std::move(it->second);
    pieces_.erase(it);
    taken = ++next_;
  }
  taken_(taken);
  return piece;
}

}  // namespace caddis::backup
