// The oracle's own arithmetic, apart from caddis's code: CRC-64/ISO as LTX uses it, the rolling database checksum, and
// the valid prefix of a WAL. Loaded by oracle.py through ctypes.
#include <stddef.h>
#include <stdint.h>

static uint64_t table[8][256];

static uint32_t be32(const uint8_t* p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static uint32_t le32(const uint8_t* p) {
  return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static void make_tables(void) {
  if (table[0][1]) return;
  for (int i = 0; i < 256; i++) {
    uint64_t c = (uint64_t)i;
    for (int k = 0; k < 8; k++) c = (c >> 1) ^ (c & 1 ? 0xD800000000000000u : 0);
    table[0][i] = c;
  }
  for (int i = 0; i < 256; i++)
    for (int k = 1; k < 8; k++) table[k][i] = table[0][table[k - 1][i] & 255] ^ (table[k - 1][i] >> 8);
}

// crc is the value so far, 0 at the start (Go's crc64.Update).
uint64_t oracle_crc64(uint64_t crc, const uint8_t* p, size_t n) {
  make_tables();
  crc = ~crc;
  for (; n >= 8; p += 8, n -= 8) {
    crc ^= (uint64_t)le32(p) | (uint64_t)le32(p + 4) << 32;
    crc = table[7][crc & 255] ^ table[6][crc >> 8 & 255] ^ table[5][crc >> 16 & 255] ^ table[4][crc >> 24 & 255] ^
          table[3][crc >> 32 & 255] ^ table[2][crc >> 40 & 255] ^ table[1][crc >> 48 & 255] ^ table[0][crc >> 56];
  }
  while (n--) crc = table[0][(crc ^ *p++) & 255] ^ (crc >> 8);
  return ~crc;
}

// XOR of the page checksums of a whole image, the lock page left out; bit 63 is set as in LTX.
uint64_t oracle_database_sum(const uint8_t* image, size_t n, uint32_t page_size) {
  uint64_t sum = 0, lock_page = 0x40000000u / page_size + 1;
  for (size_t offset = 0, pgno = 1; offset + page_size <= n; offset += page_size, pgno++) {
    if (pgno == lock_page) continue;
    uint8_t head[4] = {(uint8_t)(pgno >> 24), (uint8_t)(pgno >> 16), (uint8_t)(pgno >> 8), (uint8_t)pgno};
    sum ^= oracle_crc64(oracle_crc64(0, head, 4), image + offset, page_size);
  }
  return sum | 1ull << 63;
}

static void wal_sum(const uint8_t* p, size_t n, int big, uint32_t s[2]) {
  for (size_t i = 0; i + 8 <= n; i += 8) {
    s[0] += (big ? be32(p + i) : le32(p + i)) + s[1];
    s[1] += (big ? be32(p + i + 4) : le32(p + i + 4)) + s[0];
  }
}

// Number of frames up to and with the last valid commit frame; 0 when the WAL holds no transaction.
uint64_t oracle_wal_committed(const uint8_t* wal, size_t n, uint32_t* page_size) {
  *page_size = 0;
  if (n < 32 || (be32(wal) & ~1u) != 0x377f0682) return 0;
  int big = wal[3] & 1;
  uint32_t size = be32(wal + 8), s[2] = {0, 0};
  wal_sum(wal, 24, big, s);
  if (s[0] != be32(wal + 24) || s[1] != be32(wal + 28) || size < 512 || size > 65536) return 0;
  *page_size = size;
  uint64_t committed = 0, frame = 0;
  for (size_t at = 32; at + 24 + size <= n; at += 24 + size) {
    const uint8_t* f = wal + at;
    if (be32(f + 8) != be32(wal + 16) || be32(f + 12) != be32(wal + 20)) break;
    wal_sum(f, 8, big, s);
    wal_sum(f + 24, size, big, s);
    if (s[0] != be32(f + 16) || s[1] != be32(f + 20)) break;
    frame++;
    if (be32(f + 4)) committed = frame;
  }
  return committed;
}
