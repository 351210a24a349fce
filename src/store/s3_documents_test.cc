#include "store/s3_documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/xml.h"

namespace caddis::store {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kList[] =
    R"(<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bkt</Name><Prefix>p/</Prefix>
<KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated>
<Contents><Key>p/a&amp;b</Key><LastModified>2026-11-22T01:10:48.000Z</LastModified><ETag>&quot;abc&quot;</ETag>
<Size>5242980</Size><StorageClass>STANDARD</StorageClass></Contents>
<Contents><Key>p/c&#xe4;</Key><LastModified>2026-11-22T01:10:49Z</LastModified><ETag>"d"</ETag><Size>0</Size></Contents>
<CommonPrefixes><Prefix>p/x/</Prefix></CommonPrefixes>
<NextContinuationToken>1/abc==</NextContinuationToken></ListBucketResult>)";

TEST(S3Documents, AListIsRead) {
  Result<ListPage> page = parse_list(kList);
  ASSERT_TRUE(page) << page.error().message();
  ASSERT_EQ(page->objects.size(), 2u);
  EXPECT_EQ(page->objects[0].key, "p/a&b");
  EXPECT_EQ(page->objects[0].size_bytes, 5242980u);
  EXPECT_EQ(page->objects[0].etag, "\"abc\"");
  EXPECT_EQ(page->objects[0].modified_ms, 1'795'309'848'000);
  EXPECT_EQ(page->objects[1].key, "p/c\xc3\xa4");
  EXPECT_THAT(page->prefixes, ElementsAre("p/x/"));
  EXPECT_EQ(page->next_token, "1/abc==");
}

TEST(S3Documents, AListCutAnywhereIsAnError) {
  std::string_view whole = kList;
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(parse_list(whole.substr(0, n))) << n;
}

TEST(S3Documents, AListThatLacksAFieldIsAnError) {
  auto list = [](std::string_view inner) {
    return parse_list(fmt::format("<ListBucketResult>{}</ListBucketResult>", inner));
  };
  constexpr char kTime[] = "<LastModified>2026-11-22T01:10:49Z</LastModified>";
  EXPECT_TRUE(list(""));
  EXPECT_TRUE(list(fmt::format("<Contents><Key>k</Key><Size>1</Size>{}</Contents>", kTime)));
  EXPECT_FALSE(list(fmt::format("<Contents><Size>1</Size>{}</Contents>", kTime)));
  EXPECT_FALSE(list(fmt::format("<Contents><Key>k</Key>{}</Contents>", kTime)));
  EXPECT_FALSE(list(fmt::format("<Contents><Key>k</Key><Size>-1</Size>{}</Contents>", kTime)));
  EXPECT_FALSE(list(fmt::format("<Contents><Key>k</Key><Size>1x</Size>{}</Contents>", kTime)));
  EXPECT_FALSE(list("<Contents><Key>k</Key><Size>1</Size></Contents>"));
  EXPECT_FALSE(list("<IsTruncated>true</IsTruncated>"));
  EXPECT_FALSE(list("<IsTruncated>maybe</IsTruncated>"));
  EXPECT_THAT(parse_list("<html></html>").error().message(), HasSubstr("<html>"));
}

TEST(S3Documents, ErrorsAreReadAndOtherDocumentsAreNot) {
  std::optional<S3ErrorBody> e = parse_s3_error(
      "<Error><Code>AuthorizationHeaderMalformed</Code><Message>line 1\nline "
      "2</Message><Region>eu-west-1</Region></Error>");
  ASSERT_TRUE(e);
  EXPECT_EQ(e->code, "AuthorizationHeaderMalformed");
  EXPECT_EQ(e->message, "line 1 line 2");
  EXPECT_EQ(e->region, "eu-west-1");
  for (const char* other : {"", "<html></html>", "Bad Gateway", kList}) EXPECT_FALSE(parse_s3_error(other));
}

TEST(S3Documents, MultipartDocuments) {
  EXPECT_EQ(parse_upload_id("<InitiateMultipartUploadResult><UploadId>x-1</UploadId></InitiateMultipartUploadResult>"),
            "x-1");
  EXPECT_FALSE(parse_upload_id("<InitiateMultipartUploadResult/>"));
  EXPECT_EQ(parse_complete("<CompleteMultipartUploadResult><ETag>\"a-2\"</ETag></CompleteMultipartUploadResult>"),
            "\"a-2\"");
  EXPECT_FALSE(parse_complete("<Error><Code>InternalError</Code></Error>"));
  EXPECT_THAT(complete_document({{1, "\"a\""}, {2, "b"}}),
              HasSubstr("<Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag></Part>"
                        "<Part><PartNumber>2</PartNumber><ETag>b</ETag></Part>"));
}

TEST(S3Documents, DeleteDocuments) {
  EXPECT_THAT(delete_document({"a<b", "c"}),
              HasSubstr("<Object><Key>a&lt;b</Key></Object><Object><Key>c</Key></Object></Delete>"));
  EXPECT_TRUE(parse_delete("<DeleteResult></DeleteResult>").value().empty());
  Result<std::vector<DeleteFailure>> failed = parse_delete(
      "<DeleteResult><Deleted><Key>x</Key></Deleted><Error><Key>k</Key><Code>AccessDenied</Code></Error></"
      "DeleteResult>");
  ASSERT_TRUE(failed);
  ASSERT_EQ(failed->size(), 1u);
  EXPECT_EQ(failed->at(0).code, "AccessDenied");
  EXPECT_FALSE(parse_delete("<Error/>"));
}

TEST(Xml, TextEntitiesCdataAndCommentsAreRead) {
  Result<XmlElement> e = parse_xml(
      "<?xml version='1.0'?><!-- c --><a:r x='1' y=\"&lt;\"><b>1&lt;2</b><b/>t<![CDATA[<&]]>&#65;<!-- d -->u</a:r>\n");
  ASSERT_TRUE(e) << e.error().message();
  EXPECT_EQ(e->name, "r");
  EXPECT_EQ(e->text, "t<&Au");
  ASSERT_EQ(e->children.size(), 2u);
  EXPECT_EQ(e->text_of("b"), "1<2");
}

TEST(Xml, WhatIsNotWellFormedIsRefused) {
  for (const char* bad : {"",
                          "x",
                          "<a>",
                          "<a></b>",
                          "<a/><b/>",
                          "<a/>x",
                          "<a>&nope;</a>",
                          "<a>&#0;</a>",
                          "<a>&#xd800;</a>",
                          "<a>&#x110000;</a>",
                          "<a>&#;</a>",
                          "<a>&#12a;</a>",
                          "<a>& b</a>",
                          "<!DOCTYPE a><a/>",
                          "<a><?pi?></a>",
                          "<a x></a>",
                          "<a x=1></a>",
                          "<a x='1></a>",
                          "<a x='<'/>",
                          "<a <b/></a>",
                          "< a/>",
                          "<a/ >",
                          "<1/>",
                          "<a x='1'y='2'/>",
                          "<a><!-- </a>",
                          "<a><![CDATA[ </a>",
                          "<?xml version='1.0'"})
    EXPECT_FALSE(parse_xml(bad)) << bad;
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<a>";
  EXPECT_THAT(parse_xml(deep).error().message(), HasSubstr("too deep"));
}

TEST(Xml, WhatIsEscapedIsReadBack) {
  std::string text = "a<b>&\"'\n\x01\xc3\xa4";
  EXPECT_EQ(parse_xml("<a>" + xml_escape(text) + "</a>").value().text, text);
}

}  // namespace
}  // namespace caddis::store
