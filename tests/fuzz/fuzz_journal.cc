// Rollback journals: the first byte chooses how the journal is looked at.
#include "base/check.h"
#include "sqlite/journal.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace caddis;
  if (size == 0) return 0;
  ByteView input = ByteView(data, size).subspan(1);
  auto view = (data[0] & 1) != 0 ? sqlite::JournalView::kLive : sqlite::JournalView::kHot;
  sqlite::JournalReader reader(sqlite::read_at_of(input), input.size(), (data[0] & 2) != 0 ? 512 : 0, view);
  std::size_t total = 0;
  while (true) {
    Result<std::optional<sqlite::JournalRecord>> record = reader.next();
    CHECK(record.has_value());
    if (!*record) break;
    total += (*record)->data.size();
    CHECK(total <= input.size());
  }
  CHECK(reader.end() != sqlite::JournalEnd::kNone);
  (void)sqlite::read_super_journal(sqlite::read_at_of(input), input.size());
  return 0;
}
