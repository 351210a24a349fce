#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace caddis {

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound:
      return "not found";
    case ErrorCode::kExists:
      return "exists";
    case ErrorCode::kCorrupt:
      return "corrupt";
    case ErrorCode::kInvalid:
      return "invalid";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kNoSpace:
      return "no space";
    case ErrorCode::kDenied:
      return "denied";
    case ErrorCode::kReadOnly:
      return "read-only";
    case ErrorCode::kTimeout:
      return "timeout";
    case ErrorCode::kUnavailable:
      return "unavailable";
    case ErrorCode::kCancelled:
      return "cancelled";
    case ErrorCode::kBusy:
      return "busy";
    case ErrorCode::kConflict:
      return "conflict";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kInternal:
      return "internal";
  }
  return "unknown";
}

Error errno_error(int sys_errno, std::string text) {
  ErrorCode code = ErrorCode::kIo;
  switch (sys_errno) {
    case ENOENT:
      code = ErrorCode::kNotFound;
      break;
    case EEXIST:
      code = ErrorCode::kExists;
      break;
    case ENOSPC:
    case EDQUOT:
      code = ErrorCode::kNoSpace;
      break;
    case EACCES:
    case EPERM:
      code = ErrorCode::kDenied;
      break;
    case EROFS:
      code = ErrorCode::kReadOnly;
      break;
    case ETIMEDOUT:
      code = ErrorCode::kTimeout;
      break;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ENETUNREACH:
    case EHOSTUNREACH:
      code = ErrorCode::kUnavailable;
      break;
    case ECANCELED:
      code = ErrorCode::kCancelled;
      break;
    case EAGAIN:
    case EBUSY:
      code = ErrorCode::kBusy;
      break;
    case EINVAL:
      code = ErrorCode::kInvalid;
      break;
    case EOPNOTSUPP:
    case ENOSYS:
      code = ErrorCode::kUnsupported;
      break;
    default:
      break;
  }
  return Error(code, fmt::format("{}: {}", text, strerror(sys_errno)), sys_errno);
}

int to_errno(const Error& error) {
  if (error.sys_errno() != 0) return error.sys_errno();
  switch (error.code()) {
    case ErrorCode::kNotFound:
      return ENOENT;
    case ErrorCode::kExists:
      return EEXIST;
    case ErrorCode::kInvalid:
      return EINVAL;
    case ErrorCode::kNoSpace:
      return ENOSPC;
    case ErrorCode::kDenied:
      return EACCES;
    case ErrorCode::kReadOnly:
      return EROFS;
    case ErrorCode::kTimeout:
      return ETIMEDOUT;
    case ErrorCode::kCancelled:
      return EINTR;
    case ErrorCode::kBusy:
      return EAGAIN;
    case ErrorCode::kUnsupported:
      return EOPNOTSUPP;
    case ErrorCode::kCorrupt:
    case ErrorCode::kIo:
    case ErrorCode::kUnavailable:
    case ErrorCode::kConflict:
    case ErrorCode::kInternal:
      return EIO;
  }
  return EIO;
}

}  // namespace caddis
