// Errors as values: Result<T> = std::expected<T, Error>, with context added on the way up.
// An Error has a code to switch on, a text for the operator (intention first, cause last, with the values) and,
// when the kernel said no, its errno.
#pragma once

#include <fmt/core.h>

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace caddis {

enum class ErrorCode {
  kNotFound,     // the named thing is not there
  kExists,       // it is there already
  kCorrupt,      // bytes that break their format
  kInvalid,      // a value the caller may not use
  kIo,           // the disk or kernel failed (EIO and everything unnamed)
  kNoSpace,      // ENOSPC, EDQUOT
  kDenied,       // EACCES, EPERM, HTTP 401/403
  kReadOnly,     // EROFS, or this node is not primary
  kTimeout,      // no answer within the deadline
  kUnavailable,  // the other side refused, reset or answered 5xx
  kCancelled,    // a stop was requested
  kBusy,         // somebody holds a lock
  kConflict,     // a precondition failed (HTTP 409, 412)
  kUnsupported,  // asked for and impossible here
  kInternal,     // everything else
};
std::string_view error_code_name(ErrorCode code);

class Error {
 public:
  Error(ErrorCode code, std::string message, int sys_errno = 0)
      : code_(code), errno_(sys_errno), message_(std::move(message)) {}
  ErrorCode code() const { return code_; }
  int sys_errno() const { return errno_; }  // 0 when the kernel was not the source
  const std::string& message() const { return message_; }
  // "intention: cause". Consumes the error: Result<T> r = …; return
  // std::unexpected(std::move(r).error().context("upload x"));
  Error context(std::string_view intention) && {
    message_ = fmt::format("{}: {}", intention, message_);
    return std::move(*this);
  }

 private:
  ErrorCode code_;
  int errno_;
  std::string message_;
};

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

template <class... A>
[[nodiscard]] std::unexpected<Error> make_error(ErrorCode code, fmt::format_string<A...> text, A&&... args) {
  return std::unexpected(Error(code, fmt::format(text, std::forward<A>(args)...)));
}
template <class... A>
[[nodiscard]] std::unexpected<Error> corrupt(fmt::format_string<A...> text, A&&... args) {
  return make_error(ErrorCode::kCorrupt, text, std::forward<A>(args)...);
}
template <class... A>
[[nodiscard]] std::unexpected<Error> invalid(fmt::format_string<A...> text, A&&... args) {
  return make_error(ErrorCode::kInvalid, text, std::forward<A>(args)...);
}
template <class... A>
[[nodiscard]] std::unexpected<Error> not_found(fmt::format_string<A...> text, A&&... args) {
  return make_error(ErrorCode::kNotFound, text, std::forward<A>(args)...);
}
// "TEXT: No space left on device", code derived from the errno.
Error errno_error(int sys_errno, std::string text);
template <class... A>
[[nodiscard]] std::unexpected<Error> from_errno(int sys_errno, fmt::format_string<A...> text, A&&... args) {
  return std::unexpected(errno_error(sys_errno, fmt::format(text, std::forward<A>(args)...)));
}
// The errno a file system answers with: sys_errno when there is one, else one that fits the code.
int to_errno(const Error& error);

#define CADDIS_CONCAT_(a, b) a##b
#define CADDIS_CONCAT(a, b) CADDIS_CONCAT_(a, b)
// Returns the error of EXPR from the enclosing function, if it has one.
#define TRY(expr)                                             \
  do {                                                        \
    if (auto try_result_ = (expr); !try_result_) [[unlikely]] \
      return std::unexpected(std::move(try_result_).error()); \
  } while (0)
// TRY_ASSIGN(auto x, f()): x gets the value, or the error is returned.
#define TRY_ASSIGN(decl, expr) TRY_ASSIGN_(CADDIS_CONCAT(try_value_, __COUNTER__), decl, expr)
#define TRY_ASSIGN_(tmp, decl, expr)                \
  auto tmp = (expr);                                \
  if (!tmp) [[unlikely]]                            \
    return std::unexpected(std::move(tmp).error()); \
  decl = std::move(*tmp) /* NOLINT(bugprone-macro-parentheses) */
// The same two inside a coroutine.
#define CO_TRY(expr)                                             \
  do {                                                           \
    if (auto try_result_ = (expr); !try_result_) [[unlikely]]    \
      co_return std::unexpected(std::move(try_result_).error()); \
  } while (0)
#define CO_TRY_ASSIGN(decl, expr) CO_TRY_ASSIGN_(CADDIS_CONCAT(try_value_, __COUNTER__), decl, expr)
#define CO_TRY_ASSIGN_(tmp, decl, expr)                \
  auto tmp = (expr);                                   \
  if (!tmp) [[unlikely]]                               \
    co_return std::unexpected(std::move(tmp).error()); \
  decl = std::move(*tmp) /* NOLINT(bugprone-macro-parentheses) */

}  // namespace caddis
