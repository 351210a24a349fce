#include "http/ca_bundle.h"

// The file goes into the object as it is: an array of 200,000 numbers would take the compiler seconds.
__asm__(
    ".pushsection .rodata.caddis_ca_bundle,\"a\",@progbits\n"
    ".globl caddis_ca_bundle\n"
    ".globl caddis_ca_bundle_end\n"
    "caddis_ca_bundle:\n"
    ".incbin \"" CADDIS_CA_BUNDLE
    "\"\n"
    "caddis_ca_bundle_end:\n"
    ".byte 0\n"
    ".popsection\n");
extern "C" const char caddis_ca_bundle[], caddis_ca_bundle_end[];

namespace caddis::http {

std::string_view compiled_roots() {
  return {caddis_ca_bundle, static_cast<std::size_t>(caddis_ca_bundle_end - caddis_ca_bundle)};
}

}  // namespace caddis::http
