// GET /export and POST /import: whole databases over HTTP. Loop thread; disk work on the pool.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "db/engine.h"
#include "db/snapshot.h"
#include "http/server.h"
#include "loop/loop.h"

namespace caddis::api {

// A consistent image of the database as of now.
loop::Task<Result<std::shared_ptr<db::SnapshotReader>>> take_snapshot(loop::Loop& loop, db::Engine& engine,
                                                                      std::shared_ptr<db::Database> database);
// Answers 200 with all pages. An error after the head cuts the connection, so that the client sees it.
loop::Task<Status> send_snapshot(loop::Loop& loop, std::shared_ptr<db::SnapshotReader> snapshot, http::Headers headers,
                                 http::ResponseWriter& response);
// The request's body into a new file of `dir`; its path. The file is removed on an error.
// Errors: of the client (kCorrupt, kUnavailable, kTimeout) and of the disk (kNoSpace, kIo).
loop::Task<Result<std::string>> receive_file(loop::Loop& loop, std::string dir, http::Request& request);

}  // namespace caddis::api
