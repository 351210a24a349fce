#include "config/config.h"

namespace caddis::config {

std::string_view to_text(FuseIo value) {
  switch (value) {
    case FuseIo::kAuto:
      return "auto";
    case FuseIo::kPassthrough:
      return "passthrough";
    case FuseIo::kDirect:
      return "direct";
  }
  return "?";
}

std::string_view to_text(LeaseType value) {
  switch (value) {
    case LeaseType::kAuto:
      return "auto";
    case LeaseType::kStatic:
      return "static";
    case LeaseType::kConsul:
      return "consul";
    case LeaseType::kS3:
      return "s3";
  }
  return "?";
}

std::string_view to_text(RestoreMode value) {
  switch (value) {
    case RestoreMode::kAuto:
      return "auto";
    case RestoreMode::kOff:
      return "off";
    case RestoreMode::kRequired:
      return "required";
    case RestoreMode::kLazy:
      return "lazy";
  }
  return "?";
}

std::string_view to_text(Durability value) {
  switch (value) {
    case Durability::kLocal:
      return "local";
    case Durability::kReplica:
      return "replica";
    case Durability::kBackup:
      return "backup";
  }
  return "?";
}

std::string_view to_text(ReplicaWrites value) {
  switch (value) {
    case ReplicaWrites::kWait:
      return "wait";
    case ReplicaWrites::kFail:
      return "fail";
  }
  return "?";
}

std::string_view to_text(LogFormat value) {
  switch (value) {
    case LogFormat::kText:
      return "text";
    case LogFormat::kJson:
      return "json";
  }
  return "?";
}

}  // namespace caddis::config
