// The two keys that take several shapes: exec and backup.
#include <algorithm>

#include "config/shellwords.h"
#include "config/walker.h"

namespace caddis::config {
namespace {

// cmd: a text, split as LiteFS does it, or the list of arguments as it is.
Walker::Handler command(Walker& w, std::vector<std::string>& argv) {
  return [&w, &argv](const Node& node, const std::string& path) {
    if (node.kind == Node::Kind::kSequence) {
      w.text_list(argv)(node, path);
    } else if (node.kind == Node::Kind::kScalar) {
      Result<std::vector<std::string>> words = split_command(node.text);
      if (!words) {
        w.error(node.line, path, words.error().message());
        argv = {"?"};  // one error is enough
        return;
      }
      argv = std::move(*words);
    } else {
      w.error(node.line, path, fmt::format("must be a command or a list of its arguments, got {}", describe(node)));
      argv = {"?"};
      return;
    }
    if (argv.empty() || argv[0].empty()) {
      w.error(node.line, path, "the command is empty, write a program and its arguments or remove the entry");
      argv = {"?"};
    }
  };
}

void read_exec_entry(Walker& w, const Node& node, const std::string& path) {
  ExecEntry entry;
  entry.where = w.where(node);
  if (node.kind == Node::Kind::kNull) {
    w.error(node.line, path, "the entry is empty, write - cmd: COMMAND or remove it");
    return;
  }
  if (node.kind == Node::Kind::kScalar) {
    w.error(node.line, path, fmt::format("an entry must be a map, got {}; write - cmd: {}", describe(node), node.text));
    return;
  }
  w.map(node, path,
        {{"cmd", command(w, entry.argv)},
         {"if-candidate", w.boolean(entry.if_candidate)},
         {"if-primary", w.boolean(entry.if_primary)},
         {"timeout", w.duration(entry.timeout_ms, 1)}});
  if (node.kind != Node::Kind::kMap) return;
  const Node* cmd = node.find("cmd");
  if (cmd == nullptr || cmd->kind == Node::Kind::kNull)
    w.error(node.line, path + ".cmd", "the command is missing, write cmd: COMMAND");
  w.config().exec.push_back(std::move(entry));
}

bool has_scheme(std::string_view url, std::string_view scheme) {
  return url.starts_with(scheme) && url.substr(scheme.size()).starts_with("://");
}

// The URL itself is taken apart by the store that opens it; here only what would be a wrong start.
void check_url(Walker& w, int line, const std::string& path, const std::string& url) {
  if (has_scheme(url, "file")) {
    if (!url.starts_with("file:///") || url == "file:///") {
      w.error(line, path, fmt::format("'{}' has no absolute path, write file:///backup", url));
    }
  } else if (has_scheme(url, "s3")) {
    std::string_view bucket = std::string_view(url).substr(5);
    bucket = bucket.substr(0, bucket.find_first_of("/?"));
    if (bucket.empty()) w.error(line, path, fmt::format("'{}' has no bucket, write s3://BUCKET/PREFIX", url));
  } else {
    w.error(line, path, fmt::format("'{}' is no target caddis can write, use s3://BUCKET/PREFIX or file:///PATH", url));
  }
}

void read_target(Walker& w, const Node& node, const std::string& path) {
  if (node.kind != Node::Kind::kMap) {
    std::string hint = node.kind == Node::Kind::kScalar ? fmt::format("; write - url: {}", node.text) : "";
    w.error(node.line, path, fmt::format("a target must be a map, got {}{}", describe(node), hint));
    return;
  }
  BackupTarget target;
  target.where = w.where(node);
  w.map(node, path,
        {{"url", w.text(target.url, "the target's url is empty, write s3://BUCKET/PREFIX or file:///PATH")},
         {"sync-interval", w.duration(target.sync_interval_ms, 1)},
         {"access-key-id", w.text(target.access_key_id)},
         {"secret-access-key", w.text(target.secret_access_key)},
         {"access-key-id-file", w.text(target.access_key_id_file)},
         {"secret-access-key-file", w.text(target.secret_access_key_file)}});
  const Node* url = node.find("url");
  if (url == nullptr || url->kind == Node::Kind::kNull)
    w.error(node.line, path + ".url", "the target's url is missing, write s3://BUCKET/PREFIX or file:///PATH");
  else if (!target.url.empty())
    check_url(w, url->line, path + ".url", target.url);
  for (const auto& [key, in_file, text] :
       {std::tuple{"access-key-id", &target.access_key_id_file, &target.access_key_id},
        std::tuple{"secret-access-key", &target.secret_access_key_file, &target.secret_access_key}}) {
    if (!in_file->empty() && !text->empty()) {
      w.error(node.line, fmt::format("{}.{}", path, key),
              fmt::format("written here and in a file ({}-file), remove one of the two", key));
    }
  }
  auto& targets = w.config().backup;
  if (std::ranges::any_of(targets,
                          [&target](const BackupTarget& t) { return !t.url.empty() && t.url == target.url; })) {
    w.error(node.line, path + ".url", fmt::format("'{}' is a target already, remove one of the two", target.url));
  }
  targets.push_back(std::move(target));
}

// LiteFS's form: {type: file, path: /backup} or {type: litefs-cloud, …}.
void read_litefs_backup(Walker& w, const Node& node, const std::string& path) {
  std::string type;
  std::string directory;
  std::string url;
  std::string unused;
  const Node* type_node = node.find("type");
  if (type_node == nullptr && node.find("url") != nullptr) {
    w.error(node.line, path, "targets are a list, write a dash before it: - url: …");
    return;
  }
  w.map(node, path,
        {{"type", w.text(type)},
         {"path", w.text(directory)},
         {"url", w.text(url)},
         {"cluster", w.text(unused)},
         {"auth-token", w.text(unused)}});
  if (type == "litefs-cloud") {
    w.warning(type_node->line, path + ".type",
              "litefs-cloud has been shut down and is ignored, write a list of targets: - url: s3://BUCKET/PREFIX");
  } else if (type == "file") {
    const Node* path_node = node.find("path");
    int line = path_node == nullptr ? node.line : path_node->line;
    if (directory.empty()) {
      w.error(line, path + ".path", "backup path required, write an absolute path");
    } else if (!directory.starts_with('/')) {
      w.error(line, path + ".path", fmt::format("'{}' is not absolute, write it from / on", directory));
    } else {
      w.config().backup.push_back(
          BackupTarget{.url = "file://" + directory, .layout = BackupLayout::kLiteFsFile, .where = w.where(node)});
    }
  } else if (!type.empty()) {
    w.error(type_node->line, path + ".type",
            fmt::format("invalid backup client type: \"{}\", must be file; for s3 write a list of targets: - url: "
                        "s3://BUCKET/PREFIX",
                        type));
  }
}

}  // namespace

void read_exec(Walker& w, const Node& node, const std::string& path) {
  if (node.kind == Node::Kind::kMap) {
    w.error(node.line, path, "invalid exec config format: a map, write a command or a list of - cmd: COMMAND");
    return;
  }
  if (node.kind == Node::Kind::kScalar) {
    ExecEntry entry;
    entry.where = w.where(node);
    command(w, entry.argv)(node, path);
    w.config().exec.push_back(std::move(entry));
    return;
  }
  int number = 0;
  for (const Node& item : node.items) read_exec_entry(w, item, fmt::format("{}[{}]", path, number++));
}

void read_backup(Walker& w, const Node& node, const std::string& path) {
  if (node.kind == Node::Kind::kMap) {
    read_litefs_backup(w, node, path);
  } else if (node.kind == Node::Kind::kSequence) {
    w.config().backup_list = true;
    int number = 0;
    for (const Node& item : node.items) read_target(w, item, fmt::format("{}[{}]", path, number++));
  } else {
    w.error(node.line, path,
            fmt::format("must be a list of targets, got {}; write - url: s3://BUCKET/PREFIX", describe(node)));
  }
}

}  // namespace caddis::config
