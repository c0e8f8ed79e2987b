# The few functions that make each folder's CMakeLists.txt its table of contents.

# room_dependency(name pkg-config-name debian-package): imported target dep::name; a missing one is named with the package to install.
function(room_dependency name module package)
  pkg_check_modules(DEP_${name} QUIET IMPORTED_TARGET GLOBAL ${module})
  if(NOT DEP_${name}_FOUND)
    message(FATAL_ERROR "${module} not found: apt-get install ${package}")
  endif()
  add_library(dep::${name} ALIAS PkgConfig::DEP_${name})
endfunction()

# room_library(name header library debian-package): the same for a library without pkg-config.
function(room_library name header library package)
  find_path(DEP_${name}_INCLUDE ${header})
  find_library(DEP_${name}_LIBRARY ${library})
  if(NOT DEP_${name}_INCLUDE OR NOT DEP_${name}_LIBRARY)
    message(FATAL_ERROR "${header} not found: apt-get install ${package}")
  endif()
  add_library(dep_${name} INTERFACE)
  target_link_libraries(dep_${name} INTERFACE ${DEP_${name}_LIBRARY})
  add_library(dep::${name} ALIAS dep_${name})
endfunction()

# relay_sources(folder SOURCES a.c b.c LIBS dep::x y): static library `folder`.
function(relay_sources name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ${ARG_LIBS})
endfunction()

# relay_program(name SOURCES main.c LIBS folder): a program that users run.
function(relay_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS})
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    set_target_properties(${name} PROPERTIES RELAY_PROGRAM ON)
    target_link_options(${name} PRIVATE -flto=auto -O2)
  endif()
endfunction()

# relay_test(x_test LIBS folder): program x_test from x_test.c, run by ctest, at most 60 s.
function(relay_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${name}.c ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 60 LABELS unit)
endfunction()

# relay_fuzz(name LIBS folder): fuzz main tests/fuzz/name.c with LLVMFuzzerTestOneInput. Without SHARDRELAY_FUZZ it is linked with a driver that
# replays the corpus tests/fuzz/corpus/name/ as a test.
function(relay_fuzz name)
  cmake_parse_arguments(ARG "" "" "LIBS" ${ARGN})
  if(SHARDRELAY_FUZZ)
    add_executable(fuzz_${name} ${name}.c)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  else()
    add_executable(fuzz_${name} ${name}.c replay.c)
    add_test(NAME fuzz_${name} COMMAND fuzz_${name} ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name})
    set_tests_properties(fuzz_${name} PROPERTIES TIMEOUT 60 LABELS unit)
  endif()
  target_link_libraries(fuzz_${name} PRIVATE ${ARG_LIBS})
endfunction()
