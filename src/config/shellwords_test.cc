#include "config/shellwords.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> words(std::string_view text) {
  auto result = split_command(text);
  EXPECT_TRUE(result) << result.error().message();
  return result ? *result : std::vector<std::string>{};
}
std::string failure(std::string_view text) {
  auto result = split_command(text);
  EXPECT_FALSE(result) << text;
  return result ? "" : result.error().message();
}

TEST(Shellwords, SplitsAtBlanksOutsideQuotes) {
  EXPECT_THAT(words("npm start"), ElementsAre("npm", "start"));
  EXPECT_THAT(words("  a\t b\nc  "), ElementsAre("a", "b", "c"));
  EXPECT_THAT(words(R"(sh -c 'a "b" c' "d 'e' f")"), ElementsAre("sh", "-c", R"(a "b" c)", "d 'e' f"));
  EXPECT_THAT(words(R"(a"b c"d'e f')"), ElementsAre("ab cde f"));
  EXPECT_THAT(words(R"(a "" '')"), ElementsAre("a", "", ""));
  EXPECT_THAT(words(""), IsEmpty());
  EXPECT_THAT(words(" \n"), IsEmpty());
}

TEST(Shellwords, BackslashTakesTheNextCharacterAsLiteFsDoes) {
  EXPECT_THAT(words(R"(a\ b)"), ElementsAre("a b"));
  EXPECT_THAT(words(R"("a\"b")"), ElementsAre("a\"b"));
  EXPECT_THAT(words(R"('a\b')"), ElementsAre(R"(a\b)"));
  EXPECT_THAT(words(R"(a\tb\nc)"), ElementsAre("a\tb\nc"));
  EXPECT_THAT(words(R"(a\;b)"), ElementsAre("a;b"));
}

TEST(Shellwords, ExpandsNothing) {
  EXPECT_THAT(words("echo $HOME `date` *"), ElementsAre("echo", "$HOME", "`date`", "*"));
  EXPECT_THAT(words("echo $(date -u)"), ElementsAre("echo", "$(date -u)"));
}

TEST(Shellwords, AnUnquotedShellOperatorIsAnErrorThatProposesTheList) {
  EXPECT_EQ(failure("migrate && npm start"),
            "'&' outside quotes needs a shell and none runs here (LiteFS drops the rest of the line), write "
            "[\"sh\", \"-c\", \"migrate && npm start\"]");
  EXPECT_THAT(failure("echo \"a\" | cat"), HasSubstr(R"(["sh", "-c", "echo \"a\" | cat"])"));
  for (const char* text : {"a;b", "a > b", "a < b", "a &", "a 2>b"})
    EXPECT_THAT(failure(text), HasSubstr("outside quotes"));
  EXPECT_THAT(words("a ';' \"&|<>\""), ElementsAre("a", ";", "&|<>"));
}

TEST(Shellwords, UnbalancedTextIsInvalid) {
  for (const char* text : {"a 'b", "a \"b", "a `b", "a $(b", "a (b)", "a )", "a \\"}) {
    EXPECT_THAT(failure(text), HasSubstr("invalid command line string")) << text;
  }
}

}  // namespace
}  // namespace caddis::config
