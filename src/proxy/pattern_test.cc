#include "proxy/pattern.h"

#include <gtest/gtest.h>

namespace caddis::proxy {
namespace {

struct Case {
  const char* pattern;
  const char* path;
  bool match;
};

TEST(Pattern, CoversTheWholePathAndStarCrossesSlashes) {
  const Case cases[] = {
      {"/a", "/a", true},
      {"/a", "/ab", false},
      {"/a", "/x/a", false},
      {"/a", "/A", false},
      {"*.png", "/a/b.png", true},
      {"*.png", "/b.png/x", false},
      {"/api/*", "/api/", true},
      {"/api/*", "/api", false},
      {"/api/*", "/api/x/y", true},
      {"*", "", true},
      {"*", "/x", true},
      {"", "", true},
      {"", "/", false},
      {"/a*b*c", "/a1b2bc", true},
      {"/a*b*c", "/a1b2", false},
      {"/a**c", "/abc", true},
      {"/a*", "/a", true},
      {"/a.c", "/abc", false},
      {"/a?c", "/abc", false},
      {"/[ab]", "/a", false},
      {"/(a|b)+", "/a", false},
      {"/(a|b)+", "/(a|b)+", true},
      {"/x*yz", "/xyyz", true},
      {"*a*a*", "/ba", false},
  };
  for (const Case& c : cases) EXPECT_EQ(pattern_matches(c.pattern, c.path), c.match) << c.pattern << " on " << c.path;
}

TEST(Pattern, HasNoExpensiveCase) {
  std::string pattern, path(60'000, 'a');
  for (int i = 0; i < 50; ++i) pattern += "*a";
  EXPECT_FALSE(pattern_matches(pattern + "b", path));
}

TEST(Patterns, MatchWhenOneDoes) {
  EXPECT_FALSE(Patterns().match("/"));
  Patterns patterns({"*.ico", "/assets/*"});
  EXPECT_TRUE(patterns.match("/assets/app.js"));
  EXPECT_TRUE(patterns.match("/favicon.ico"));
  EXPECT_FALSE(patterns.match("/index"));
}

}  // namespace
}  // namespace caddis::proxy
