// The only file that sees yaml-cpp. Its event interface is used, not its Node: that one forgets repeated keys.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <map>
#include <sstream>

#include "config/node.h"

namespace caddis::config {
namespace {

constexpr std::size_t kMaxNodes = 20'000;
constexpr std::size_t kMaxDepth = 100;

struct Stop {  // thrown out of the parser, caught in parse_yaml
  SyntaxError error;
};

int line_of(const YAML::Mark& mark) { return mark.line + 1; }

std::size_t count(const Node& node) {
  std::size_t n = 1;
  for (const Node& item : node.items) n += count(item);
  for (const NodeEntry& entry : node.entries) n += count(entry.value);
  return n;
}

class TreeBuilder : public YAML::EventHandler {
 public:
  Node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(Node{.line = line_of(mark)}, anchor); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto it = anchors_.find(anchor);
    if (it == anchors_.end()) throw Stop{{line_of(mark), "an alias inside its own anchor"}};
    Node copy = it->second;
    copy.line = line_of(mark);
    spend(count(copy), copy.line);
    add(std::move(copy), 0);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Node node{.kind = Node::Kind::kScalar, .line = line_of(mark)};
    node.quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    node.text = value;
    add(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Node{.kind = Node::Kind::kSequence, .line = line_of(mark)}, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Node{.kind = Node::Kind::kMap, .line = line_of(mark)}, anchor);
  }
  void OnMapEnd() override {
    merge(stack_.back().node);
    close();
  }

 private:
  struct Level {
    Node node;
    YAML::anchor_t anchor = 0;
    bool has_key = false;
    std::string key;
    int key_line = 0;
  };

  void spend(std::size_t nodes, int line) {
    spent_ += nodes;
    if (spent_ > kMaxNodes)
      throw Stop{{line, fmt::format("more than {} values, a configuration has far fewer", kMaxNodes)}};
  }

  void open(Node node, YAML::anchor_t anchor) {
    if (stack_.size() >= kMaxDepth) throw Stop{{node.line, fmt::format("more than {} levels deep", kMaxDepth)}};
    stack_.push_back(Level{.node = std::move(node), .anchor = anchor});
  }

  void close() {
    Level level = std::move(stack_.back());
    stack_.pop_back();
    add(std::move(level.node), level.anchor);
  }

  void add(Node node, YAML::anchor_t anchor) {
    spend(1, node.line);
    if (anchor != 0) anchors_[anchor] = node;
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Level& top = stack_.back();
    if (top.node.kind == Node::Kind::kSequence) {
      top.node.items.push_back(std::move(node));
    } else if (!top.has_key) {
      if (node.kind != Node::Kind::kScalar) throw Stop{{node.line, "a key must be a word, not " + describe(node)}};
      top.has_key = true;
      top.key = std::move(node.text);
      top.key_line = node.line;
    } else {
      top.has_key = false;
      top.node.entries.push_back(NodeEntry{std::move(top.key), top.key_line, std::move(node)});
      top.key.clear();
    }
  }

  // `<<: *base`: the entries of base that are not there already. The first of several bases wins.
  static void merge(Node& map) {
    std::vector<NodeEntry> own;
    std::vector<Node> bases;
    for (NodeEntry& entry : map.entries) {
      if (entry.key != "<<")
        own.push_back(std::move(entry));
      else if (entry.value.kind == Node::Kind::kSequence)
        bases.insert(bases.end(), entry.value.items.begin(), entry.value.items.end());
      else
        bases.push_back(std::move(entry.value));
    }
    map.entries = std::move(own);
    for (Node& base : bases) {
      if (base.kind != Node::Kind::kMap) throw Stop{{base.line, "<< needs a map, got " + describe(base)}};
      std::vector<NodeEntry> fresh;
      for (NodeEntry& entry : base.entries) {
        if (map.find(entry.key) == nullptr) fresh.push_back(std::move(entry));
      }
      map.entries.insert(map.entries.end(), std::make_move_iterator(fresh.begin()),
                         std::make_move_iterator(fresh.end()));
    }
  }

  Node root_;
  std::vector<Level> stack_;
  std::map<YAML::anchor_t, Node> anchors_;
  std::size_t spent_ = 0;
};

}  // namespace

ParseResult<Node> parse_yaml(const std::string& text) {
  try {
    std::istringstream in(text);
    YAML::Parser parser(in);
    TreeBuilder builder;
    if (!parser.HandleNextDocument(builder)) return std::unexpected(SyntaxError{1, "the file is empty"});
    return builder.take();
  } catch (const Stop& stop) {
    return std::unexpected(stop.error);
  } catch (const YAML::Exception& e) {
    return std::unexpected(SyntaxError{e.mark.is_null() ? 1 : line_of(e.mark), e.msg});
  }
}

}  // namespace caddis::config
