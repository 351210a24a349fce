#include "config/expand.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::config {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const std::map<std::string, std::string> kEnv = {
    {"FLY_REGION", "fra"}, {"PRIMARY_REGION", "fra"}, {"OTHER", "ord"}, {"A", "1"}, {"B", "1"}, {"EMPTY", ""}};

std::string expanded(std::string_view text) {
  Expansion e = expand_env(text, kEnv);
  EXPECT_THAT(e.errors, IsEmpty());
  return e.text;
}

TEST(Expand, ReplacesNamesAsGoDoes) {
  EXPECT_EQ(expanded("$A ${A} ${ A } x$A/y $A-b"), "1 1 1 x1/y 1-b");
  EXPECT_EQ(expanded("a$"), "a$");
  EXPECT_EQ(expanded("$ $. $/"), "$ $. $/");
  EXPECT_EQ(expanded("${}x"), "x");
  EXPECT_EQ(expanded("a${b"), "ab");
  EXPECT_EQ(expanded("[$$][$1][$?][$12]"), "[][][][2]");
}

TEST(Expand, AnUnsetVariableIsEmptyAndWarnedOfWithItsLine) {
  Expansion e = expand_env("a: 1\nb: $NOPE\nc: ${NOPE:-x}\nd: $EMPTY\n", kEnv);
  EXPECT_EQ(e.text, "a: 1\nb: \nc: \nd: \n");
  ASSERT_THAT(e.warnings, SizeIs(2));
  EXPECT_EQ(e.warnings[0].line, 2);
  EXPECT_EQ(e.warnings[0].text, "$NOPE: NOPE is not set and counts as empty");
  EXPECT_EQ(e.warnings[1].line, 3);
}

TEST(Expand, ComparesTwoVariablesOrAVariableAndAText) {
  EXPECT_EQ(expanded("${FLY_REGION == PRIMARY_REGION}"), "true");
  EXPECT_EQ(expanded("${FLY_REGION==PRIMARY_REGION}"), "true");
  EXPECT_EQ(expanded("${ FLY_REGION != PRIMARY_REGION }"), "false");
  EXPECT_EQ(expanded("${FLY_REGION == OTHER}"), "false");
  EXPECT_EQ(expanded("${FLY_REGION == 'fra'}"), "true");
  EXPECT_EQ(expanded("${FLY_REGION != \"fra\"}"), "false");
  EXPECT_EQ(expanded("${NOPE == ''}"), "true");
  EXPECT_EQ(expanded("${FLY_REGION\n == OTHER}"), "false");
}

TEST(Expand, TwoUnsetVariablesAreAnErrorNamingBoth) {
  Expansion e = expand_env("lease:\n  candidate: ${FLY_REGION == PRIMARY_REGION}\n", {});
  ASSERT_THAT(e.errors, SizeIs(1));
  EXPECT_EQ(e.errors[0].line, 2);
  EXPECT_EQ(e.errors[0].text,
            "${FLY_REGION == PRIMARY_REGION}: FLY_REGION and PRIMARY_REGION are both unset, so they would be equal on "
            "every machine; set them (on Fly: primary_region in fly.toml sets PRIMARY_REGION) or write a plain true or "
            "false");
  EXPECT_THAT(expand_env("${X != Y}", {{"X", ""}}).errors, SizeIs(1));
}

TEST(Expand, AnUnsetPrimaryRegionInAComparisonIsAnError) {
  for (const char* text :
       {"${FLY_REGION == PRIMARY_REGION}", "${PRIMARY_REGION != FLY_REGION}", "${PRIMARY_REGION == 'fra'}"}) {
    Expansion e = expand_env(text, {{"FLY_REGION", "fra"}, {"PRIMARY_REGION", ""}});
    ASSERT_THAT(e.errors, SizeIs(1)) << text;
    EXPECT_THAT(e.errors[0].text, HasSubstr("PRIMARY_REGION is not set"));
    EXPECT_THAT(e.errors[0].text, HasSubstr("primary_region in fly.toml"));
  }
}

TEST(Expand, AComparisonOfNoKnownFormIsAnError) {
  Expansion e = expand_env("${FLY_REGION == us-east}", kEnv);
  ASSERT_THAT(e.errors, SizeIs(1));
  EXPECT_THAT(e.errors[0].text, HasSubstr("${A == 'text'}"));
}

TEST(Expand, CommentsAreExpandedWithoutComplaint) {
  Expansion e = expand_env("# ${FLY_REGION == PRIMARY_REGION} $NOPE\na: 'x # y'  # ${X == Y}\n", {});
  EXPECT_THAT(e.errors, IsEmpty());
  EXPECT_THAT(e.warnings, IsEmpty());
  EXPECT_EQ(e.text, "# true \na: 'x # y'  # true\n");
  EXPECT_THAT(expand_env("a: 'x # ${X == Y}'\n", {}).errors, SizeIs(1));
  EXPECT_THAT(expand_env("a: x#${X == Y}\n", {}).errors, SizeIs(1));
  EXPECT_THAT(expand_env("a: it's # ${X == Y}\n", {}).errors, IsEmpty());
}

}  // namespace
}  // namespace caddis::config
