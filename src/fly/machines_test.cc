#include "fly/machines.h"

#include <gtest/gtest.h>

#include "fly/dns.h"

namespace caddis::fly {
namespace {

constexpr std::uint16_t kId = 0x1234;
const std::string kName = "vms.myapp.internal";

void add_text(Bytes& message, std::string_view text) {
  message.insert(message.end(), {0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 5});  // the name of the question, TXT, IN, 5 s
  Bytes data;
  for (std::size_t at = 0; at < text.size(); at += 255) {
    std::string_view piece = text.substr(at, 255);
    data.push_back(static_cast<std::uint8_t>(piece.size()));
    append(data, as_bytes(piece));
  }
  message.push_back(static_cast<std::uint8_t>(data.size() >> 8));
  message.push_back(static_cast<std::uint8_t>(data.size()));
  append(message, data);
  put_be16(message.data() + 6, static_cast<std::uint16_t>(get_be16(message.data() + 6) + 1));
}

// The question as an answer without records.
Bytes empty_answer(std::uint8_t code = 0) {
  Bytes message = encode_txt_question(kId, kName).value();
  message.resize(message.size() - 11);  // OPT
  put_be16(message.data() + 10, 0);
  message[2] |= 0x80;
  message[3] = code;
  return message;
}

TEST(DnsTxt, AnswersAreJoinedFromTheirStrings) {
  Bytes message = empty_answer();
  add_text(message, std::string(300, 'a'));
  add_text(message, "b");
  EXPECT_EQ(decode_txt_answer(message, kId, "VMS.myapp.internal").value(),
            (std::vector<std::string>{std::string(300, 'a'), "b"}));
}

TEST(DnsTxt, ErrorsOfTheResolverHaveTheirCode) {
  EXPECT_EQ(decode_txt_answer(empty_answer(3), kId, kName).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(decode_txt_answer(empty_answer(2), kId, kName).error().code(), ErrorCode::kUnavailable);
  EXPECT_TRUE(decode_txt_answer(empty_answer(), kId, kName).value().empty());
  Bytes cut_short = empty_answer();
  cut_short[2] |= 0x02;
  EXPECT_EQ(decode_txt_answer(cut_short, kId, kName).error().code(), ErrorCode::kUnavailable);
}

TEST(DnsTxt, AnAnswerToAnotherQuestionIsNone) {
  EXPECT_EQ(decode_txt_answer(empty_answer(), kId + 1, kName).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(decode_txt_answer(empty_answer(), kId, "vms.other.internal").error().code(), ErrorCode::kConflict);
}

TEST(DnsTxt, ABrokenAnswerIsAnErrorWhereverItBreaks) {
  Bytes message = empty_answer();
  add_text(message, "91851e13e45d68 ord");
  for (std::size_t n = 0; n < message.size(); ++n) {
    EXPECT_FALSE(decode_txt_answer(ByteView(message).first(n), kId, kName)) << n << " bytes";
  }
  for (std::size_t at = 0; at < message.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      Bytes flipped = message;
      flipped[at] ^= static_cast<std::uint8_t>(1 << bit);
      (void)decode_txt_answer(flipped, kId, kName);  // ends, and reads nothing beyond
    }
  }
  Bytes loops = empty_answer();
  loops.insert(loops.end(), {0xc0, static_cast<std::uint8_t>(loops.size())});  // a name that points to itself
  put_be16(loops.data() + 6, 1);
  EXPECT_EQ(decode_txt_answer(loops, kId, kName).error().code(), ErrorCode::kCorrupt);
}

TEST(DnsTxt, NamesThatAreNoneAreRefused) {
  for (std::string name : {std::string(), std::string("a..b"), std::string(".a"), std::string("a b"),
                           std::string(64, 'x'), std::string(254, 'x')}) {
    EXPECT_EQ(encode_txt_question(kId, name).error().code(), ErrorCode::kInvalid) << name;
  }
}

TEST(Machines, TheListIsSortedAndUnreadableEntriesAreLeftOut) {
  EXPECT_EQ(parse_machine_list("b ord,a fra, c ams,,x,  ,y z w,b ord"),
            (std::vector<ListedMachine>{{"a", "fra"}, {"b", "ord"}, {"c", "ams"}}));
  EXPECT_TRUE(parse_machine_list("").empty());
}

TEST(Machines, TheFirstNameserverCounts) {
  EXPECT_EQ(parse_nameserver("# nameserver 1.1.1.1\nsearch x\nnameserver\tfdaa::3 # fly\nnameserver 8.8.8.8\n"),
            "fdaa::3");
  EXPECT_EQ(parse_nameserver("nameservers 1.2.3.4\nnameserver"), "");
}

}  // namespace
}  // namespace caddis::fly
