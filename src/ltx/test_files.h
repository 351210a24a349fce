// Golden files and small helpers of the ltx tests.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "ltx/stream.h"

namespace caddis::ltx {

inline Bytes read_testdata(const std::string& name) {
  std::ifstream in(CADDIS_TESTDATA "/" + name, std::ios::binary);
  EXPECT_TRUE(in) << name;
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

// Regular files of a tar archive by path.
inline std::map<std::string, Bytes> untar(const Bytes& tar) {
  std::map<std::string, Bytes> files;
  for (std::size_t at = 0; at + 512 <= tar.size() && tar[at] != 0;) {
    std::string name(reinterpret_cast<const char*>(tar.data() + at));
    std::size_t size = std::stoul(std::string(reinterpret_cast<const char*>(tar.data() + at + 124), 11), nullptr, 8);
    auto content = ByteView(tar).subspan(at + 512, size);
    if (tar[at + 156] == '0') files[name] = Bytes(content.begin(), content.end());
    at += 512 + (size + 511) / 512 * 512;
  }
  return files;
}

struct Decoded {
  Header header;
  std::vector<std::pair<Pgno, Bytes>> pages;
  Trailer trailer;
  bool operator==(const Decoded&) const = default;
};

inline Result<Decoded> drain(PageSource& source) {
  Decoded out;
  TRY_ASSIGN(out.header, source.header());
  while (true) {
    TRY_ASSIGN(std::optional<Page> page, source.next());
    if (!page) break;
    out.pages.emplace_back(page->pgno, Bytes(page->data.begin(), page->data.end()));
  }
  out.trailer = source.trailer();
  return out;
}
inline Result<Decoded> decode(Version version, ByteView file) { return drain(*make_decoder(version, source_of(file))); }

inline Sink sink_to(Bytes& out) {
  return [&out](ByteView data) -> Status {
    append(out, data);
    return {};
  };
}
inline Result<Bytes> encode(Version version, const Decoded& file) {
  Bytes out;
  std::unique_ptr<Encoder> encoder = make_encoder(version, file.header, sink_to(out));
  for (const auto& [pgno, data] : file.pages) TRY(encoder->add_page(pgno, data));
  TRY(encoder->finish(file.trailer.post_apply));
  EXPECT_EQ(encoder->size_bytes(), out.size());
  return out;
}

}  // namespace caddis::ltx
