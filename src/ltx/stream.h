// The interfaces LTX files are written and read through. Everything streams: bounded memory whatever the input claims.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "ltx/header.h"

namespace caddis::ltx {

// Takes the next bytes of a file. An error ends the encoding and is returned unchanged.
using Sink = std::function<Status(ByteView)>;
// Fills the front of the span with the next bytes of a file and says how many; 0 only at the end of the file. An error
// ends the decoding and is returned unchanged.
using Source = std::function<Result<std::size_t>(ByteSpan)>;

// A source over bytes in memory, which must outlive it.
Source source_of(ByteView bytes);

struct Page {
  Pgno pgno;
  ByteView data;  // one page, valid until the next call on the object it came from
};

// Where pages come from: a decoder, or a Compactor over several. Order of use: header() (any number of times), next()
// until nullopt, then trailer(). After an error the source stays broken: every further call returns an error.
class PageSource {
 public:
  virtual ~PageSource() = default;
  virtual Result<Header> header() = 0;
  // Pages in ascending order. nullopt means that the whole input has been read and every checksum in it agreed; pages
  // seen before that are not yet proven.
  virtual Result<std::optional<Page>> next() = 0;
  // Valid after next() returned nullopt.
  virtual Trailer trailer() const = 0;
};

// One LTX file being written. Order of use: add_page() ascending, then finish() once. Nothing reaches the sink before
// the header was found valid; output is passed on in pieces of about 64 KiB.
class Encoder {
 public:
  virtual ~Encoder() = default;
  // Errors: kInvalid when the header breaks a rule, the page has the wrong size, is out of order, is the lock page, is
  // above commit, or leaves a gap in a snapshot.
  virtual Status add_page(Pgno pgno, ByteView data) = 0;
  // Writes the rest of the file. With flag 0x2 the trailer holds 0 whatever is given here, but a CDS1 extension in the
  // header must agree with a post_apply other than Checksum(). Errors: kInvalid as above, or for an incomplete
  // snapshot, or a post_apply that cannot be.
  virtual Status finish(Checksum post_apply) = 0;
  // Valid after finish().
  virtual Trailer trailer() const = 0;
  // Bytes written so far, the whole file after finish().
  virtual std::uint64_t size_bytes() const = 0;
};

std::unique_ptr<Encoder> make_encoder(Version version, const Header& header, Sink sink);
std::unique_ptr<PageSource> make_decoder(Version version, Source source);

// Passes every page of `from` to `to` and finishes it with from.trailer()'s post-apply checksum, or, where that is 0,
// with the one in from.header()'s CDS1.
Status copy_pages(PageSource& from, Encoder& to);

struct Summary {
  Header header;
  Trailer trailer;
  std::uint32_t pages = 0;
};
// Reads a whole file and proves it: structure, file checksum, page index, and for a snapshot the database checksum
// against the trailer or CDS1. Errors: kCorrupt, or what the source returned.
Result<Summary> verify(Version version, Source source);

}  // namespace caddis::ltx
