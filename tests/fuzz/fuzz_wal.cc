// WAL: the input's checksums are made right, frame by frame, so that the reader gets past them.
#include "base/check.h"
#include "sqlite/header.h"
#include "sqlite/wal.h"
#include "sqlite/wal_index.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace caddis;
  using namespace caddis::sqlite;
  ByteView raw(data, size);
  (void)parse_header(raw);
  (void)parse_wal_index_headers(raw);
  (void)parse_wal_header(raw);
  if (size < kWalHeaderSizeBytes) return 0;
  WalHeader header{.big_endian_checksums = (data[0] & 1) != 0,
                   .page_size_bytes = 512u << (data[1] % 8),
                   .salt1 = get_be32(data + 16),
                   .salt2 = get_be32(data + 20)};
  WalHeaderBytes head = encode_wal_header(header);
  header = *parse_wal_header(head);
  Bytes wal(head.begin(), head.end());
  append(wal, raw.subspan(kWalHeaderSizeBytes));
  std::uint32_t valid = 0;
  WalChecksum sum = header.checksum;
  for (std::uint32_t frame = 1; wal_size_for(frame, header.page_size_bytes) <= wal.size(); ++frame) {
    std::uint8_t* at = wal.data() + wal_frame_offset(frame, header.page_size_bytes);
    WalFrameHeader fh = parse_wal_frame_header({at, kWalFrameHeaderSizeBytes});
    if (fh.pgno == Pgno(0)) break;
    if ((fh.checksum.s1 & 7) == 7) break;  // a torn frame now and then
    ByteView page(at + kWalFrameHeaderSizeBytes, header.page_size_bytes);
    sum = frame_checksum(header.big_endian_checksums, fh.pgno, fh.commit, page, sum);
    WalFrameHeaderBytes bytes = encode_wal_frame_header({fh.pgno, fh.commit, header.salt1, header.salt2, sum});
    std::copy(bytes.begin(), bytes.end(), at);
    valid = frame;
  }
  WalReader reader(read_at_of(wal), header, wal_begin(header));
  std::uint32_t seen = 0;
  while (*reader.next()) ++seen;
  CHECK(seen >= valid);
  CHECK(wal_size_for(seen, header.page_size_bytes) <= wal.size());
  return 0;
}
