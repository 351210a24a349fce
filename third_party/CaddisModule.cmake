# caddis_module(NAME SOURCES … TESTS … LINK …): src/NAME as the static library caddis_NAME, and its unit tests as the
# one program NAME_test beside it.
function(caddis_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;TESTS;LINK;TEST_LINK" ${ARGN})
  add_library(caddis_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(caddis_${name} PUBLIC ${ARG_LINK})
  if(CADDIS_TESTS AND ARG_TESTS)
    add_executable(${name}_test ${ARG_TESTS})
    target_link_libraries(${name}_test PRIVATE caddis_${name} ${ARG_TEST_LINK} GTest::gmock GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE CADDIS_TESTDATA="${CMAKE_SOURCE_DIR}/tests/testdata")
    gtest_discover_tests(${name}_test TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60)
  endif()
endfunction()
