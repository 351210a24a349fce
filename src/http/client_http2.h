// Inside of src/http: HTTP/2 of the client. One connection to each host and port, shared by its requests. Loop thread
// only.
#pragma once

#include <map>
#include <memory>
#include <stop_token>
#include <string>

#include "http/client.h"
#include "http/wire.h"

namespace caddis::http {

std::string describe_request(const ClientRequest& request, const Url& url);  // "GET http://host/path"
// A connection to where the request goes, without TLS.
Task<Result<std::unique_ptr<loop::Stream>>> dial(loop::Loop& loop, const ClientRequest& request, const Url& url,
                                                 std::int64_t timeout_ms, std::stop_token stop);

struct Http2Link;  // one connection

class Http2Pool : public std::enable_shared_from_this<Http2Pool> {
 public:
  Http2Pool(loop::Loop& loop, std::int64_t max_idle_ms) : loop_(loop), max_idle_ms_(max_idle_ms) {}

  struct Ask {
    std::shared_ptr<const ClientRequest> request;
    Url url;
    std::string user_agent;
  };
  // whole: the deadline is for the answer's body too.
  Task<Result<std::unique_ptr<BodyReader>>> open(Ask ask, Deadline deadline, bool whole, std::stop_token stop);
  void close();  // connections end as soon as nobody uses them

 private:
  friend struct Http2Link;
  Task<Result<std::shared_ptr<Http2Link>>> connect(const Ask& ask, const std::string& key, Deadline deadline,
                                                   std::stop_token stop);

  loop::Loop& loop_;
  std::int64_t max_idle_ms_;
  std::map<std::string, std::shared_ptr<Http2Link>> links_;
  bool closed_ = false;
};

}  // namespace caddis::http
