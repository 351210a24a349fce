#include "http/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <thread>

namespace caddis::http {
namespace {

using loop::Loop;
using testing::HasSubstr;

// A certificate with its key, signed by issuer or by itself.
struct Identity {
  std::shared_ptr<EVP_PKEY> key;
  std::shared_ptr<X509> cert;
};
void add_extension(X509* cert, X509* issuer, int nid, const char* value) {
  X509V3_CTX ctx;
  X509V3_set_ctx_nodb(&ctx);
  X509V3_set_ctx(&ctx, issuer, cert, nullptr, nullptr, 0);
  X509_EXTENSION* e = X509V3_EXT_conf_nid(nullptr, &ctx, nid, value);
  ASSERT_TRUE(e);
  X509_add_ext(cert, e, -1);
  X509_EXTENSION_free(e);
}
Identity make_identity(const char* name, const char* alt_names, const Identity* issuer, long valid_seconds = 3600) {
  Identity id;
  id.key.reset(EVP_EC_gen("P-256"), EVP_PKEY_free);
  id.cert.reset(X509_new(), X509_free);
  X509* c = id.cert.get();
  X509_set_version(c, X509_VERSION_3);
  std::uint32_t serial = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial);
  ASN1_INTEGER_set(X509_get_serialNumber(c), serial >> 1);
  X509_gmtime_adj(X509_getm_notBefore(c), -7200);
  X509_gmtime_adj(X509_getm_notAfter(c), valid_seconds);
  X509_set_pubkey(c, id.key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name),
                             -1, -1, 0);
  X509* by = issuer ? issuer->cert.get() : c;
  X509_set_issuer_name(c, X509_get_subject_name(by));
  add_extension(c, by, NID_basic_constraints, issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
  if (alt_names) add_extension(c, by, NID_subject_alt_name, alt_names);
  EXPECT_GT(X509_sign(c, issuer ? issuer->key.get() : id.key.get(), EVP_sha256()), 0);
  return id;
}

// An HTTPS server in a thread of its own, with OpenSSL on a blocking socket: one connection after the other, each
// answered per request until the client leaves.
struct ServerPlan {
  int max_version = 0;       // TLS1_1_VERSION …
  bool close_notify = true;  // at the end of an answer that ends with the connection
  bool until_close = false;  // no Content-Length
  std::size_t body = 5;
};
class TlsServer {
 public:
  TlsServer(const Identity& id, ServerPlan plan) : plan_(plan), ctx_(SSL_CTX_new(TLS_server_method())) {
    SSL_CTX_use_certificate(ctx_, id.cert.get());
    SSL_CTX_use_PrivateKey(ctx_, id.key.get());
    if (plan.max_version) {
      SSL_CTX_set_security_level(ctx_, 0);
      SSL_CTX_set_min_proto_version(ctx_, 0);
      SSL_CTX_set_max_proto_version(ctx_, plan.max_version);
    }
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof a;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&a), len), 0);
    EXPECT_EQ(::listen(fd_, 8), 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&a), &len);
    port = ntohs(a.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~TlsServer() {
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
    SSL_CTX_free(ctx_);
  }
  std::uint16_t port = 0;
  std::atomic<int> handshakes = 0;

 private:
  void run() {
    for (;;) {
      int fd = ::accept(fd_, nullptr, nullptr);
      if (fd < 0) return;
      timeval limit{10, 0};
      ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
      SSL* ssl = SSL_new(ctx_);
      SSL_set_fd(ssl, fd);
      if (SSL_accept(ssl) == 1) {
        ++handshakes;
        while (answer(ssl)) {}
      }
      SSL_free(ssl);
      ::close(fd);
    }
  }
  bool answer(SSL* ssl) {
    std::string got;
    char buf[4096];
    while (got.find("\r\n\r\n") == std::string::npos) {
      int n = SSL_read(ssl, buf, sizeof buf);
      if (n <= 0) return false;
      got.append(buf, static_cast<std::size_t>(n));
    }
    std::size_t at = got.find("Content-Length: ");
    std::size_t length = at == std::string::npos ? 0 : std::stoul(got.substr(at + 16));
    for (std::size_t have = got.size() - got.find("\r\n\r\n") - 4; have < length;) {
      int n = SSL_read(ssl, buf, sizeof buf);
      if (n <= 0) return false;
      have += static_cast<std::size_t>(n);
    }
    std::string head = "HTTP/1.1 200 OK\r\n";
    if (!plan_.until_close) head += fmt::format("Content-Length: {}\r\n", plan_.body);
    head += "\r\n" + std::string(plan_.body, 'x');
    if (SSL_write(ssl, head.data(), static_cast<int>(head.size())) <= 0) return false;
    if (!plan_.until_close) return true;
    if (plan_.close_notify) SSL_shutdown(ssl);
    return false;
  }
  ServerPlan plan_;
  SSL_CTX* ctx_;
  int fd_ = -1;
  std::thread thread_;
};

struct Tls : testing::Test {
  Loop loop;
  Identity ca = make_identity("caddis test CA", nullptr, nullptr);
  std::string ca_file = fmt::format("{}caddis-ca-{}.pem", testing::TempDir(), ::getpid());
  Tls() { write_pem(ca_file, ca); }
  ~Tls() override { ::unlink(ca_file.c_str()); }
  static void write_pem(const std::string& path, const Identity& id) {
    std::FILE* f = std::fopen(path.c_str(), "w");
    ASSERT_TRUE(f);
    PEM_write_X509(f, id.cert.get());
    std::fclose(f);
  }
  Result<Response> fetch(const std::string& host, std::uint16_t port, ClientRequest r = {},
                         const char* roots = nullptr) {
    r.url = fmt::format("https://{}:{}/", host, port);
    TlsOptions tls{.ssl_cert_file = roots ? roots : ca_file};
    return loop::run_until_done(loop, http::fetch(loop, std::move(r), {}, tls));
  }
  void expect_denied(const Identity& id, const std::string& host, const std::string& reason) {
    TlsServer server(id, {});
    auto r = fetch(host, server.port);
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().code(), ErrorCode::kDenied) << r.error().message();
    EXPECT_THAT(r.error().message(), HasSubstr(reason));
    EXPECT_THAT(r.error().message(), HasSubstr(host));
  }
};

TEST_F(Tls, FetchesFromAServerWhoseNameAndIssuerAreRight) {
  TlsServer server(make_identity("x", "DNS:localhost,IP:127.0.0.1", &ca), {});
  for (std::string host : {"localhost", "127.0.0.1"}) {
    auto r = fetch(host, server.port);
    ASSERT_TRUE(r) << r.error().message();
    EXPECT_EQ(r->text(), "xxxxx");
  }
}

TEST_F(Tls, KeepsAConnectionForTheNextRequest) {
  TlsServer server(make_identity("x", "DNS:localhost", &ca), {});
  Client client(loop, {.tls = {.ssl_cert_file = ca_file}});
  for (int i = 0; i < 3; ++i) {
    auto r = loop::run_until_done(loop, client.fetch({.url = fmt::format("https://localhost:{}/", server.port)}, {}));
    ASSERT_TRUE(r) << r.error().message();
  }
  EXPECT_EQ(server.handshakes, 1);
}

TEST_F(Tls, CarriesTensOfMegabytesBothWays) {
  TlsServer server(make_identity("x", "DNS:localhost", &ca), {.body = 20'000'000});
  auto r = fetch("localhost", server.port, {.method = "PUT", .body = Bytes(20'000'000, 7), .body_limit = 30'000'000});
  ASSERT_TRUE(r) << r.error().message();
  EXPECT_EQ(r->body.size(), 20'000'000u);
}

TEST_F(Tls, WorksWithTls12) {
  TlsServer server(make_identity("x", "DNS:localhost", &ca), {.max_version = TLS1_2_VERSION});
  auto r = fetch("localhost", server.port);
  EXPECT_TRUE(r) << r.error().message();
}

TEST_F(Tls, RefusesTls11) {
  TlsServer server(make_identity("x", "DNS:localhost", &ca), {.max_version = TLS1_1_VERSION});
  auto r = fetch("localhost", server.port);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), ErrorCode::kUnavailable) << r.error().message();
}

TEST_F(Tls, RefusesAnotherHostsCertificate) {
  expect_denied(make_identity("localhost", "DNS:example.com", &ca), "localhost", "hostname mismatch");
  expect_denied(make_identity("x", "DNS:localhost,IP:127.0.0.2", &ca), "127.0.0.1", "IP address mismatch");
}

TEST_F(Tls, RefusesAnUnknownIssuerASelfSignedAndAnExpiredCertificate) {
  Identity other = make_identity("other CA", nullptr, nullptr);
  expect_denied(make_identity("x", "DNS:localhost", &other), "localhost", "local issuer");
  expect_denied(make_identity("x", "DNS:localhost", nullptr), "localhost", "self");
  expect_denied(make_identity("x", "DNS:localhost", &ca, -60), "localhost", "expired");
}

TEST_F(Tls, TellsAnEndFromACutConnection) {
  Identity id = make_identity("x", "DNS:localhost", &ca);
  TlsServer clean(id, {.until_close = true});
  auto r = fetch("localhost", clean.port);
  ASSERT_TRUE(r) << r.error().message();
  EXPECT_EQ(r->text(), "xxxxx");
  TlsServer cut(id, {.close_notify = false, .until_close = true});
  r = fetch("localhost", cut.port);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(r.error().message(), HasSubstr("cut off"));
}

TEST_F(Tls, GivesUpOnAServerThatNeverShakesHands) {
  auto listener = loop::listen_tcp(loop, {"127.0.0.1", 0});
  ASSERT_TRUE(listener);
  auto r = fetch("localhost", (*listener)->port(), {.connect_timeout_ms = 100});
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), ErrorCode::kTimeout) << r.error().message();
}

TEST_F(Tls, SaysSoWhenTheServerSpeaksPlainHttp) {
  auto listener = loop::listen_tcp(loop, {"127.0.0.1", 0});
  ASSERT_TRUE(listener);
  auto body = [](Loop& l, loop::Listener& at, std::string roots) -> Task<Result<Response>> {
    loop::TaskGroup group;
    auto plain = [](loop::Listener& from) -> Task<void> {
      auto s = co_await from.accept({});
      if (!s) co_return;
      Bytes buf(1000);
      (void)co_await (*s)->read(buf, 5000, {});
      (void)co_await (*s)->write(as_bytes("HTTP/1.1 400 Bad Request\r\n\r\n"), 5000, {});
    };
    group.spawn(plain(at));
    std::string url = fmt::format("https://localhost:{}/", at.port());
    auto r = co_await http::fetch(l, {.url = url}, {}, {.ssl_cert_file = roots});
    co_await group.join();
    co_return r;
  };
  auto r = loop::run_until_done(loop, body(loop, **listener, ca_file));
  ASSERT_FALSE(r);
  EXPECT_THAT(r.error().message(), HasSubstr("handshake failed"));
}

TEST(TlsRoots, ComeFromTheOptionsTheSystemOrTheProgram) {
  auto given = make_tls_context({.ssl_cert_file = "/nowhere/roots.pem"});
  ASSERT_FALSE(given);
  EXPECT_THAT(given.error().message(), HasSubstr("/nowhere/roots.pem"));
  given = make_tls_context({.ssl_cert_file = "/etc/passwd"});
  ASSERT_FALSE(given);
  EXPECT_EQ(given.error().code(), ErrorCode::kInvalid);
  EXPECT_FALSE(make_tls_context({.ssl_cert_dir = "/nowhere"}));
  auto dir = make_tls_context({.ssl_cert_dir = testing::TempDir()});
  ASSERT_TRUE(dir);
  EXPECT_EQ(roots_of(**dir), testing::TempDir());
  auto usual = make_tls_context({});
  ASSERT_TRUE(usual) << usual.error().message();
  auto compiled = make_tls_context_from_compiled_roots();
  ASSERT_TRUE(compiled) << compiled.error().message();
  EXPECT_EQ(roots_of(**compiled), "compiled in");
}

}  // namespace
}  // namespace caddis::http
