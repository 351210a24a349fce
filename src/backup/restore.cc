#include "backup/restore.h"

#include <algorithm>
#include <thread>

#include "backup/chunk_pipe.h"
#include "backup/database_writer.h"
#include "base/clock.h"

namespace caddis::backup {
namespace {

using loop::Loop;
using loop::Task;

constexpr std::uint64_t kChunkSizeBytes = 2u << 20;
constexpr int kMaxPlans = 3;
constexpr std::int64_t kFirstRetryMs = 250;
constexpr std::int64_t kLastRetryMs = 5'000;

struct Chunk {
  std::size_t object = 0;  // index in the plan
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

std::vector<Chunk> cut(const RestorePlan& plan) {
  std::vector<Chunk> chunks;
  for (std::size_t i = 0; i < plan.objects.size(); ++i) {
    std::uint64_t size = plan.objects[i].size_bytes;
    for (std::uint64_t at = 0; at < size; at += kChunkSizeBytes)
      chunks.push_back({i, at, std::min(kChunkSizeBytes, size - at)});
  }
  return chunks;
}

int clamp_parallelism(int n) { return std::clamp(n, 1, 64); }

// Reads the chunks of a plan side by side, never far ahead of the reader.
class Fetcher : public std::enable_shared_from_this<Fetcher> {
 public:
  Fetcher(Loop& loop, Target& target, std::string name, RestorePlan plan, RestoreOptions options)
      : loop_(loop),
        target_(target),
        name_(std::move(name)),
        plan_(std::move(plan)),
        options_(std::move(options)),
        chunks_(cut(plan_)),
        room_(loop),
        pipe_([this](std::size_t taken) { on_taken(taken); }) {
    window_ = static_cast<std::size_t>(clamp_parallelism(options_.parallelism)) * 2;
  }
  ChunkPipe& pipe() { return pipe_; }
  const RestorePlan& plan() const { return plan_; }
  const std::vector<Chunk>& chunks() const { return chunks_; }

  // Ends when everything was read, or after the first error (which the reader gets).
  Task<void> run(std::stop_token stop) {
    std::stop_callback on_stop(stop, [this] {
      pipe_.fail(Error(ErrorCode::kCancelled, "stopped"));
      failed_.request_stop();
    });
    loop::TaskGroup group;
    for (int i = 0; i < clamp_parallelism(options_.parallelism); ++i) group.spawn(worker(failed_.get_token()));
    co_await group.join();
  }
  // The reader has ended: what is not read yet is not needed.
  void cancel() { failed_.request_stop(); }

 private:
  void on_taken(std::size_t taken) {  // reader's thread
    loop_.post([weak = weak_from_this(), taken] {
      if (auto self = weak.lock()) {
        self->taken_ = std::max(self->taken_, taken);
        self->room_.set();
      }
    });
  }

  Task<void> worker(std::stop_token stop) {
    while (next_ < chunks_.size() && !stop.stop_requested()) {
      if (next_ >= taken_ + window_) {
        room_.reset();
        (void)co_await room_.wait(0, stop);
        continue;
      }
      std::size_t index = next_++;
      const Chunk chunk = chunks_[index];
      const ObjectInfo& object = plan_.objects[chunk.object];
      Result<Bytes> data = co_await read_patiently(object, chunk, stop);
      if (data && data->size() != chunk.length)
        data = corrupt("{} bytes at {}, expected {}", data->size(), chunk.offset, chunk.length);
      if (!data) {
        pipe_.fail(std::move(data).error().context(to_text(object)));
        failed_.request_stop();
        co_return;
      }
      done_bytes_ += chunk.length;
      pipe_.put(index, std::move(*data));
      if (options_.progress) options_.progress({done_bytes_, plan_.total_bytes});
    }
  }

  Task<Result<Bytes>> read_patiently(ObjectInfo object, Chunk chunk, std::stop_token stop) {
    for (std::int64_t wait_ms = kFirstRetryMs;; wait_ms = std::min(wait_ms * 2, kLastRetryMs)) {
      Result<Bytes> data = co_await target_.read(name_, object, chunk.offset, chunk.length, stop);
      if (data) {
        last_answer_ = clock_.now();
        co_return data;
      }
      bool silence = data.error().code() == ErrorCode::kUnavailable || data.error().code() == ErrorCode::kTimeout;
      if (!silence || stop.stop_requested() || clock_.now() - last_answer_ >= options_.patience_ms) co_return data;
      (void)co_await loop::sleep(loop_, wait_ms, stop);
    }
  }

  Loop& loop_;
  Target& target_;
  SystemClock clock_;
  TimeMs last_answer_ = clock_.now();
  std::string name_;
  RestorePlan plan_;
  RestoreOptions options_;
  std::vector<Chunk> chunks_;
  std::size_t next_ = 0;
  std::size_t taken_ = 0;
  std::size_t window_ = 0;
  std::uint64_t done_bytes_ = 0;
  loop::Event room_;
  ChunkPipe pipe_;
  std::stop_source failed_;
};

// The bytes of one object, out of the pipe.
class ObjectReader {
 public:
  ObjectReader(ChunkPipe& pipe, std::size_t chunks) : pipe_(pipe), left_(chunks) {}
  Result<std::size_t> read(ByteSpan out) {
    if (at_ == piece_.size()) {
      if (left_ == 0) return std::size_t{0};
      TRY_ASSIGN(piece_, pipe_.take());
      at_ = 0;
      --left_;
    }
    std::size_t n = std::min(out.size(), piece_.size() - at_);
    std::copy_n(piece_.begin() + static_cast<std::ptrdiff_t>(at_), n, out.begin());
    at_ += n;
    return n;
  }

 private:
  ChunkPipe& pipe_;
  std::size_t left_;
  Bytes piece_;
  std::size_t at_ = 0;
};

// Reader's thread.
Result<RestoreResult> write_all(Fetcher& fetcher, os::Dir& dir, const std::string& tmp_name) {
  TRY_ASSIGN(std::unique_ptr<os::File> file, dir.open(tmp_name, os::OpenMode::kTruncate));
  DatabaseWriter writer(*file);
  const RestorePlan& plan = fetcher.plan();
  for (std::size_t i = 0; i < plan.objects.size(); ++i) {
    auto of_object = [i](const Chunk& c) { return c.object == i; };
    auto count = static_cast<std::size_t>(std::count_if(fetcher.chunks().begin(), fetcher.chunks().end(), of_object));
    ObjectReader reader(fetcher.pipe(), count);
    auto decoder = ltx::make_decoder(ltx::Version::kV3, [&reader](ByteSpan out) { return reader.read(out); });
    if (Status applied = writer.apply(*decoder); !applied) {
      Error error = std::move(applied).error();
      // What comes through the pipe names the object already.
      if (fetcher.pipe().failed()) return std::unexpected(std::move(error));
      return std::unexpected(std::move(error).context(to_text(plan.objects[i])));
    }
  }
  TRY(writer.finish());
  const ltx::Header& last = writer.last_header();
  return RestoreResult{writer.position(), last.page_size_bytes, last.commit,    last.timestamp_ms,
                       plan.total_bytes,  plan.objects.size(),  writer.proven()};
}

Task<Result<RestoreResult>> run_plan(Loop& loop, Target& target, std::string name, os::Dir& dir, std::string tmp_name,
                                     RestorePlan plan, RestoreOptions options, std::stop_token stop) {
  auto fetcher = std::make_shared<Fetcher>(loop, target, name, std::move(plan), std::move(options));
  loop::OneShot<Result<RestoreResult>> written;
  std::thread reader([&] {
    Result<RestoreResult> result = write_all(*fetcher, dir, tmp_name);
    loop.post([&written, fetcher, result = std::move(result)]() mutable {
      fetcher->cancel();
      written.set(std::move(result));
    });
  });
  co_await fetcher->run(stop);
  Result<RestoreResult> result = co_await written;
  reader.join();
  if (!result) (void)dir.unlink(tmp_name);
  co_return result;
}

// created_ms of every object becomes the time in its header: LastModified of a copied target says nothing.
Task<Status> read_timestamps(Target& target, std::string name, std::vector<ObjectInfo>& objects, int parallelism,
                             std::stop_token stop) {
  std::size_t next = 0;
  Status status;
  auto worker = [&]() -> Task<void> {
    while (next < objects.size() && status) {
      ObjectInfo& object = objects[next++];
      Result<Bytes> head = co_await target.read(name, object, 0, ltx::kHeaderSizeBytes, stop);
      if (!head && head.error().code() == ErrorCode::kNotFound)
        continue;  // retention took it; a read of it plans again
      Result<ltx::Header> header = head ? ltx::decode_header(*head, ltx::Version::kV3) : std::unexpected(head.error());
      if (!header) {
        status = std::unexpected(std::move(header).error().context(to_text(object)));
      } else {
        object.created_ms = header->timestamp_ms;
      }
    }
  };
  loop::TaskGroup group;
  for (int i = 0; i < parallelism; ++i) group.spawn(worker());
  co_await group.join();
  co_return status;
}

}  // namespace

Task<Result<RestorePlan>> plan_database(Loop& loop, Target& target, std::string name, RestoreOptions options,
                                        std::stop_token stop) {
  (void)loop;
  CO_TRY_ASSIGN(std::vector<ObjectInfo> objects, co_await target.list(name, stop));
  if (options.point.timestamp_ms)
    CO_TRY(co_await read_timestamps(target, name, objects, clamp_parallelism(options.parallelism), stop));
  co_return plan_restore(objects, options.point);
}

Task<Result<RestoreResult>> restore_database(Loop& loop, Target& target, std::string name, os::Dir& dir,
                                             std::string tmp_name, RestoreOptions options, std::stop_token stop) {
  for (int attempt = 1;; ++attempt) {
    CO_TRY_ASSIGN(RestorePlan plan, co_await plan_database(loop, target, name, options, stop));
    Result<RestoreResult> result = co_await run_plan(loop, target, name, dir, tmp_name, std::move(plan), options, stop);
    bool object_gone = !result && result.error().code() == ErrorCode::kNotFound;
    if (!object_gone || attempt == kMaxPlans) co_return result;
  }
}

}  // namespace caddis::backup
