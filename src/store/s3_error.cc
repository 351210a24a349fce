#include "store/s3_error.h"

#include <algorithm>
#include <array>

namespace caddis::store {
namespace {

struct Explained {
  std::string_view s3_code;
  ErrorCode code;
  std::string_view cure;
};

constexpr std::array kExplained = {
    Explained{"NoSuchKey", ErrorCode::kNotFound, ""},
    Explained{"NoSuchVersion", ErrorCode::kNotFound, ""},
    Explained{"NoSuchBucket", ErrorCode::kUnavailable,
              "the bucket does not exist there: create it, or correct its name or the endpoint"},
    Explained{"InvalidBucketName", ErrorCode::kInvalid, "correct the bucket's name in the URL"},
    Explained{"SignatureDoesNotMatch", ErrorCode::kDenied,
              "the secret access key does not belong to the key id: correct AWS_SECRET_ACCESS_KEY"},
    Explained{"InvalidAccessKeyId", ErrorCode::kDenied,
              "the server does not know this key id: correct AWS_ACCESS_KEY_ID"},
    Explained{"InvalidToken", ErrorCode::kDenied, "the session token is wrong: renew AWS_SESSION_TOKEN"},
    Explained{"ExpiredToken", ErrorCode::kDenied, "the session token has expired: renew the credentials"},
    Explained{"RequestTimeTooSkewed", ErrorCode::kDenied, "this machine's clock is wrong: set it"},
    Explained{
        "AccessDenied", ErrorCode::kDenied,
        "the credentials may not do this: allow listing the bucket and getting, putting and deleting its objects"},
    Explained{"AllAccessDisabled", ErrorCode::kDenied, "the provider has disabled this bucket: ask it why"},
    Explained{"AccountProblem", ErrorCode::kDenied, "the provider has a problem with this account: ask it"},
    Explained{"PreconditionFailed", ErrorCode::kConflict, "the object exists or was changed by somebody else"},
    Explained{"ConditionalRequestConflict", ErrorCode::kBusy, "somebody else writes this object at the same time"},
    Explained{"OperationAborted", ErrorCode::kBusy, "another operation on this object or bucket is in progress"},
    Explained{"NoSuchUpload", ErrorCode::kUnavailable, "the upload was ended by somebody else: it has to begin again"},
    Explained{"NotImplemented", ErrorCode::kUnsupported, "the server can't do this"},
    Explained{"QuotaExceeded", ErrorCode::kNoSpace, "the provider's quota is used up: raise it"},
    Explained{"XMinioStorageFull", ErrorCode::kNoSpace, "the server's disks are full"},
    Explained{"EntityTooLarge", ErrorCode::kInvalid, "the object is larger than the server accepts"},
    Explained{"InvalidRange", ErrorCode::kInvalid, "the range begins beyond the object's end"},
};

bool is_wrong_region(const S3Failure& f) {
  return (f.status >= 300 && f.status < 400 && f.status != 304) || f.code == "AuthorizationHeaderMalformed" ||
         f.code == "PermanentRedirect" || f.code == "IllegalLocationConstraintException" || f.code == "InvalidRegion";
}

Explained by_status(int status) {
  if (status == 404) return {"", ErrorCode::kNotFound, ""};
  if (status == 401 || status == 403)
    return {"", ErrorCode::kDenied, "check the credentials and what they may do with this bucket"};
  if (status == 412) return {"", ErrorCode::kConflict, "the object exists or was changed by somebody else"};
  if (status == 409) return {"", ErrorCode::kBusy, "another operation on this object is in progress"};
  if (status == 408 || status == 429)
    return {"", ErrorCode::kUnavailable, "the server is overloaded or limits the rate of requests: it is asked again"};
  if (status == 507) return {"", ErrorCode::kNoSpace, "the server has no space left"};
  if (status == 501) return {"", ErrorCode::kUnsupported, "the server can't do this"};
  if (status >= 500)
    return {"", ErrorCode::kUnavailable, "the server has a fault of its own: look at the provider's status"};
  return {"", ErrorCode::kInvalid, "the endpoint does not take this request: is it an S3 server?"};
}

}  // namespace

bool is_retryable(const S3Failure& f) {
  constexpr std::array<std::string_view, 12> kAgain = {"SlowDown",
                                                       "RequestTimeout",
                                                       "InternalError",
                                                       "ServiceUnavailable",
                                                       "Throttling",
                                                       "RequestLimitExceeded",
                                                       "ThrottlingException",
                                                       "TooManyRequests",
                                                       "ConditionalRequestConflict",
                                                       "OperationAborted",
                                                       "RequestCanceled",
                                                       "BadDigest"};
  if (std::find(kAgain.begin(), kAgain.end(), f.code) != kAgain.end()) return true;
  if (f.status == 408 || f.status == 429) return true;
  return f.status >= 500 && f.status != 501 && f.status != 505 && f.status != 507 && f.code != "NotImplemented" &&
         f.code != "XMinioStorageFull";
}

Error s3_error(const S3Target& target, std::string_view what, const S3Failure& f) {
  std::string text = fmt::format("{} at {}: HTTP {}", what, target.endpoint(), f.status);
  if (!f.code.empty()) text += " " + f.code;
  if (!f.message.empty()) text += fmt::format(" ({})", f.message);
  if (is_wrong_region(f)) {
    text +=
        f.region.empty() || f.region == target.region
            ? fmt::format(": the bucket is not served here: correct endpoint and region (now \"{}\")", target.region)
            : fmt::format(": the bucket is in region \"{}\", asked was \"{}\": set region={} in the URL or AWS_REGION",
                          f.region, target.region, f.region);
    return Error(ErrorCode::kInvalid, std::move(text));
  }
  Explained e = by_status(f.status);
  if (is_retryable(f)) e = by_status(f.status >= 400 ? f.status : 503);
  for (const Explained& known : kExplained)
    if (known.s3_code == f.code) e = known;
  if (!e.cure.empty()) text += fmt::format(": {}", e.cure);
  return Error(e.code, std::move(text));
}

}  // namespace caddis::store
