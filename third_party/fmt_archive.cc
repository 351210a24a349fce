// Debian's fmt comes as a shared library and as headers, not as an archive that a static link could take. This makes
// the archive from the headers, once; header-only in every file would double the time each one takes to compile.
#include <fmt/format-inl.h>

namespace fmt::detail {

// What format.h declares `extern template`, and what its inline parts use of the locale.
template auto dragonbox::to_decimal(float x) noexcept -> dragonbox::decimal_fp<float>;
template auto dragonbox::to_decimal(double x) noexcept -> dragonbox::decimal_fp<double>;
template locale_ref::locale_ref(const std::locale& loc);
template auto locale_ref::get<std::locale>() const -> std::locale;
template auto thousands_sep_impl(locale_ref) -> thousands_sep_result<char>;
template auto decimal_point_impl(locale_ref) -> char;
template void buffer<char>::append(const char*, const char*);
template void vformat_to<char>(buffer<char>&, basic_string_view<char>, basic_format_args<FMT_BUFFER_CONTEXT(char)>,
                               locale_ref);

}  // namespace fmt::detail
