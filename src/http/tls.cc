#include "http/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "http/ca_bundle.h"
#include "http/wire.h"

namespace caddis::http {

class TlsContext {
 public:
  TlsContext(SSL_CTX* c, std::string r) : ctx(c), roots(std::move(r)) {}
  ~TlsContext() { SSL_CTX_free(ctx); }
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  SSL_CTX* ctx;
  std::string roots;
};

namespace {

constexpr const char* kSystemBundles[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem",
                                          "/etc/pki/tls/certs/ca-bundle.crt"};
constexpr std::size_t kReadPiece = 32 * 1024;
constexpr std::size_t kWritePiece = 64 * 1024;

// The text of OpenSSL's newest error; empties its queue.
std::string openssl_error() {
  unsigned long code = ERR_peek_last_error();
  const char* reason = code != 0 ? ERR_reason_error_string(code) : nullptr;
  std::string text = reason ? reason : fmt::format("error {:#x}", code);
  ERR_clear_error();
  return text;
}

Result<std::shared_ptr<TlsContext>> new_context() {
  // No openssl.cnf: what a machine has there must not change what is verified, and a static program has no modules.
  OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
  SSL_CTX* ctx = SSL_CTX_new(TLS_client_method());
  if (!ctx) return make_error(ErrorCode::kInternal, "TLS cannot be set up: {}", openssl_error());
  auto context = std::make_shared<TlsContext>(ctx, "");
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(ctx, SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, nullptr);
  constexpr unsigned char kAlpn[] = "\x08http/1.1";
  SSL_CTX_set_alpn_protos(ctx, kAlpn, sizeof kAlpn - 1);
  return context;
}

Status load_file(TlsContext& c, const std::string& path) {
  if (::access(path.c_str(), R_OK) != 0) return from_errno(errno, "root certificates {}", path);
  if (SSL_CTX_load_verify_file(c.ctx, path.c_str()) != 1) {
    return invalid("root certificates {}: no PEM certificate can be read ({})", path, openssl_error());
  }
  c.roots += (c.roots.empty() ? "" : ", ") + path;
  return {};
}

// One directory or several with ':' between them, as in SSL_CERT_DIR.
Status load_dirs(TlsContext& c, std::string_view dirs) {
  for (;;) {
    std::size_t colon = dirs.find(':');
    std::string dir(dirs.substr(0, colon));
    std::error_code ignored;
    if (!std::filesystem::is_directory(dir, ignored)) return not_found("root certificates {}: not a directory", dir);
    if (SSL_CTX_load_verify_dir(c.ctx, dir.c_str()) != 1)
      return invalid("root certificates {}: {}", dir, openssl_error());
    c.roots += (c.roots.empty() ? "" : ", ") + dir;
    if (colon == std::string_view::npos) return {};
    dirs.remove_prefix(colon + 1);
  }
}

Status load_compiled(TlsContext& c) {
  std::string_view pem = compiled_roots();
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509_STORE* store = SSL_CTX_get_cert_store(c.ctx);
  int count = 0;
  while (X509* cert = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr)) {
    count += X509_STORE_add_cert(store, cert);
    X509_free(cert);
  }
  BIO_free(bio);
  ERR_clear_error();  // the last read ends with "no start line"
  if (count == 0) return make_error(ErrorCode::kInternal, "no root certificates are compiled in");
  c.roots = "compiled in";
  return {};
}

struct SslFree {
  void operator()(SSL* s) const { SSL_free(s); }
};

// Shared by the stream and its suspended coroutines, so that closing is safe at any moment.
struct TlsState {
  std::unique_ptr<loop::Stream> inner;
  std::shared_ptr<TlsContext> context;
  std::unique_ptr<SSL, SslFree> ssl;
  BIO* in = nullptr;   // from the network; owned by ssl
  BIO* out = nullptr;  // to the network
  std::string host;

  Error failure(ErrorCode code, std::string_view cause) const {
    return Error(code, fmt::format("TLS with {} ({}): {}", host, inner->peer(), cause));
  }
  // What OpenSSL wants to send. In its own buffer, because OpenSSL may be called meanwhile for the other direction.
  static Task<Status> flush(std::shared_ptr<TlsState> s, Deadline deadline, std::stop_token stop) {
    while (std::size_t pending = BIO_ctrl_pending(s->out)) {
      Bytes data(pending);
      int n = BIO_read(s->out, data.data(), static_cast<int>(pending));
      if (n <= 0) break;
      data.resize(static_cast<std::size_t>(n));
      CO_TRY(co_await s->inner->write(data, deadline.remaining_ms(), stop));
    }
    co_return {};
  }
  // More bytes for OpenSSL; false at the end of the connection.
  static Task<Result<bool>> feed(std::shared_ptr<TlsState> s, Deadline deadline, std::stop_token stop) {
    Bytes buf(kReadPiece);
    if (deadline.passed()) co_return s->failure(ErrorCode::kTimeout, "no data in time");
    CO_TRY_ASSIGN(std::size_t n, co_await s->inner->read(buf, deadline.remaining_ms(), stop));
    if (n > 0) BIO_write(s->in, buf.data(), static_cast<int>(n));
    co_return n > 0;
  }
};

class TlsStream final : public loop::Stream {
 public:
  explicit TlsStream(std::shared_ptr<TlsState> state) : state_(std::move(state)) {}
  ~TlsStream() override { state_->inner->close(); }

  // Answers of OpenSSL itself (to a key update) wait for the next write: the protocol wants them no sooner.
  Task<Result<std::size_t>> read(ByteSpan out, std::int64_t timeout_ms, std::stop_token stop) override {
    std::shared_ptr<TlsState> s = state_;
    Deadline deadline(timeout_ms);
    for (;;) {
      ERR_clear_error();
      int size = static_cast<int>(std::min<std::size_t>(out.size(), 1u << 30));
      int n = SSL_read(s->ssl.get(), out.data(), size);
      if (n > 0) co_return static_cast<std::size_t>(n);
      int error = SSL_get_error(s->ssl.get(), n);
      if (error == SSL_ERROR_ZERO_RETURN) co_return std::size_t{0};
      if (error != SSL_ERROR_WANT_READ) co_return s->failure(ErrorCode::kUnavailable, openssl_error());
      CO_TRY_ASSIGN(bool more, co_await TlsState::feed(s, deadline, stop));
      if (!more) co_return s->failure(ErrorCode::kUnavailable, "the connection was cut off (no TLS close message)");
    }
  }

  Task<Status> write(ByteView data, std::int64_t timeout_ms, std::stop_token stop) override {
    std::shared_ptr<TlsState> s = state_;
    while (!data.empty()) {
      ByteView piece = data.first(std::min(data.size(), kWritePiece));
      ERR_clear_error();
      int n = SSL_write(s->ssl.get(), piece.data(), static_cast<int>(piece.size()));
      if (n <= 0) {
        Error error = s->failure(ErrorCode::kUnavailable, openssl_error());
        s->inner->close();
        co_return error;
      }
      data = data.subspan(static_cast<std::size_t>(n));
      CO_TRY(co_await TlsState::flush(s, Deadline(timeout_ms), stop));  // of progress
    }
    co_return {};
  }

  Task<Status> shutdown_write() override {
    std::shared_ptr<TlsState> s = state_;
    ERR_clear_error();
    SSL_shutdown(s->ssl.get());
    CO_TRY(co_await TlsState::flush(s, Deadline(0), {}));
    co_return co_await s->inner->shutdown_write();
  }

  void close() override { state_->inner->close(); }
  std::string peer() const override { return state_->inner->peer(); }

 private:
  std::shared_ptr<TlsState> state_;
};

Status set_name(SSL* ssl, const std::string& host) {
  X509_VERIFY_PARAM* param = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  bool ok = loop::is_ip(host)
                ? X509_VERIFY_PARAM_set1_ip_asc(param, host.c_str()) == 1
                : SSL_set1_host(ssl, host.c_str()) == 1 && SSL_set_tlsext_host_name(ssl, host.c_str()) == 1;
  if (!ok) return invalid("TLS with \"{}\": not a host name", host);
  return {};
}

Error handshake_error(const TlsState& s) {
  long verified = SSL_get_verify_result(s.ssl.get());
  if (verified == X509_V_OK) return s.failure(ErrorCode::kUnavailable, "handshake failed: " + openssl_error());
  ERR_clear_error();
  return s.failure(ErrorCode::kDenied,
                   fmt::format("the server's certificate is not accepted: {} (roots: {}; SSL_CERT_FILE names others)",
                               X509_verify_cert_error_string(verified), s.context->roots));
}

}  // namespace

Result<std::shared_ptr<TlsContext>> make_tls_context(const TlsOptions& options) {
  TRY_ASSIGN(std::shared_ptr<TlsContext> context, new_context());
  if (!options.ssl_cert_file.empty()) TRY(load_file(*context, options.ssl_cert_file));
  if (!options.ssl_cert_dir.empty()) TRY(load_dirs(*context, options.ssl_cert_dir));
  if (!context->roots.empty()) return context;
  for (const char* path : kSystemBundles) {
    if (::access(path, F_OK) != 0) continue;
    TRY(load_file(*context, path));
    return context;
  }
  TRY(load_compiled(*context));
  return context;
}

Result<std::shared_ptr<TlsContext>> make_tls_context_from_compiled_roots() {
  TRY_ASSIGN(std::shared_ptr<TlsContext> context, new_context());
  TRY(load_compiled(*context));
  return context;
}

std::string roots_of(const TlsContext& context) { return context.roots; }

Task<Result<std::unique_ptr<loop::Stream>>> tls_connect(std::unique_ptr<loop::Stream> stream,
                                                        std::shared_ptr<TlsContext> context, std::string host,
                                                        std::int64_t timeout_ms, std::stop_token stop) {
  Deadline deadline(timeout_ms);
  auto s = std::make_shared<TlsState>();
  s->inner = std::move(stream);
  s->context = std::move(context);
  s->host = std::move(host);
  s->ssl.reset(SSL_new(s->context->ctx));
  s->in = BIO_new(BIO_s_mem());
  s->out = BIO_new(BIO_s_mem());
  if (!s->ssl || !s->in || !s->out) co_return s->failure(ErrorCode::kInternal, openssl_error());
  SSL_set_bio(s->ssl.get(), s->in, s->out);
  SSL_set_connect_state(s->ssl.get());
  CO_TRY(set_name(s->ssl.get(), s->host));
  for (;;) {
    ERR_clear_error();
    int rc = SSL_do_handshake(s->ssl.get());
    bool failed = rc != 1 && SSL_get_error(s->ssl.get(), rc) != SSL_ERROR_WANT_READ;
    std::optional<Error> error;
    if (failed) error = handshake_error(*s);
    Status flushed = co_await TlsState::flush(s, deadline, stop);  // also the alert that tells the server why
    if (failed) co_return std::move(*error);
    if (!flushed) co_return std::move(flushed).error().context("TLS with " + s->host);
    if (rc == 1) break;
    Result<bool> more = co_await TlsState::feed(s, deadline, stop);
    if (!more) co_return std::move(more).error().context("TLS handshake with " + s->host);
    if (!*more) co_return s->failure(ErrorCode::kUnavailable, "the server closed the connection during the handshake");
  }
  std::unique_ptr<loop::Stream> out = std::make_unique<TlsStream>(std::move(s));
  co_return out;
}

}  // namespace caddis::http
