// TLS 1.2 and 1.3 for clients, over any Stream. The server's certificate and name are always verified. Loop thread
// only, but for make_tls_context.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "http/client.h"
#include "loop/stream.h"

namespace caddis::http {

class TlsContext;  // roots and settings; shared by connections

// Reads the roots: options' file and directory, else the first system bundle that exists, else the one compiled in. Any
// thread (takes some 20 ms: offload it). An error names the file or directory.
Result<std::shared_ptr<TlsContext>> make_tls_context(const TlsOptions& options);
// Where make_tls_context took the roots from, for messages: a path or "compiled in".
std::string roots_of(const TlsContext& context);
// For tests of the last resort.
Result<std::shared_ptr<TlsContext>> make_tls_context_from_compiled_roots();

// The handshake. host: a name (sent as SNI) or an IP address, which the certificate must state. kDenied: it is not
// trusted, with the reason; other failures are kUnavailable, kTimeout, kCancelled.
// Of the stream: the end without the TLS close message is kUnavailable (cut off), not an end.
Task<Result<std::unique_ptr<loop::Stream>>> tls_connect(std::unique_ptr<loop::Stream> stream,
                                                        std::shared_ptr<TlsContext> context, std::string host,
                                                        std::int64_t timeout_ms, std::stop_token stop);

}  // namespace caddis::http
