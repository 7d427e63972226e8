# The project's CMake vocabulary.
#
#   fl_library(NAME [SRCS ...] [DEPS ...])      one folder's library; target
#                                               fl_NAME (header-only without SRCS)
#   fl_program(NAME SRCS ... DEPS ... [ARCHIVES]) an executable, in build/*/bin;
#                                               ARCHIVES: with few shared libraries
#   fl_test(NAME LABEL l SRCS ... DEPS ...)     a GoogleTest binary = one ctest
#   fl_bench(NAME SRCS ... DEPS ...)            a Google Benchmark binary
#   fl_fuzz(NAME SRCS ... DEPS ... [CORPUS d])  a libFuzzer target + short ctest
#   fl_bpf_object(NAME SRC [VARIANT V DEFINE D]) NAME.bpf.c -> NAME.skel.h; link
#                                               the interface target NAME_skel
#                                               (NAME_V_skel: compiled with D)
#   fl_proto(OUT PROTO)                         C++ of messages; OUT: its source
#   fl_grpc_proto(NAME PROTO)                   protobuf + gRPC library fl_NAME
#
# DEPS are CMake targets; our own libraries are named without their fl_ prefix
# when they were made by fl_library.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g1")
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")

find_program(FAIRLEAD_CCACHE ccache)
if(FAIRLEAD_CCACHE)
  # Paths below the source folder count as relative: another clone hits too.
  set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}
    CCACHE_NOHASHDIR=1 ${FAIRLEAD_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()

set(FAIRLEAD_SANITIZE "" CACHE STRING "-fsanitize= list, empty for none")

# Flags that every C++ target of ours gets.
add_library(fl_flags INTERFACE)
target_include_directories(fl_flags INTERFACE
  ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/gen)
target_compile_options(fl_flags INTERFACE
  -Wall -Wextra -Werror -Wno-missing-field-initializers
  -Wnon-virtual-dtor -Woverloaded-virtual)
target_compile_definitions(fl_flags INTERFACE SPDLOG_FMT_EXTERNAL)
if(FAIRLEAD_SANITIZE)
  target_compile_options(fl_flags INTERFACE
    -fsanitize=${FAIRLEAD_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(fl_flags INTERFACE -fsanitize=${FAIRLEAD_SANITIZE})
endif()
if(FAIRLEAD_FUZZ)
  # Coverage for every library that a fuzz target may reach.
  target_compile_options(fl_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

function(_fl_resolve out)
  set(result)
  foreach(dep IN LISTS ARGN)
    if(dep MATCHES "::|^-|\\.so|^fl_")
      list(APPEND result ${dep})
    elseif(dep MATCHES "_skel$")
      list(APPEND result ${dep})
    else()
      list(APPEND result fl_${dep})
    endif()
  endforeach()
  set(${out} ${result} PARENT_SCOPE)
endfunction()

function(fl_library name)
  cmake_parse_arguments(A "" "" "SRCS;DEPS" ${ARGN})
  _fl_resolve(deps ${A_DEPS})
  if(A_SRCS)
    add_library(fl_${name} STATIC ${A_SRCS})
    target_link_libraries(fl_${name} PUBLIC fl_flags ${deps})
  else()
    add_library(fl_${name} INTERFACE)
    target_link_libraries(fl_${name} INTERFACE fl_flags ${deps})
  endif()
endfunction()

function(fl_program name)
  cmake_parse_arguments(A "ARCHIVES" "" "SRCS;DEPS" ${ARGN})
  _fl_resolve(deps ${A_DEPS})
  add_executable(${name} ${A_SRCS})
  target_link_libraries(${name} PRIVATE fl_flags ${deps})
  if(A_ARCHIVES AND NOT FAIRLEAD_SANITIZE)
    set_property(TARGET ${name} PROPERTY RULE_LAUNCH_LINK
      ${PROJECT_SOURCE_DIR}/scripts/cmake/link-archives)
    set_property(TARGET ${name} APPEND PROPERTY LINK_DEPENDS
      ${PROJECT_SOURCE_DIR}/scripts/cmake/link-archives)
  endif()
endfunction()

function(fl_test name)
  if(NOT FAIRLEAD_TESTS)
    return()
  endif()
  cmake_parse_arguments(A "WILL_FAIL" "LABEL;TIMEOUT" "SRCS;DEPS" ${ARGN})
  _fl_resolve(deps ${A_DEPS})
  add_executable(${name} ${A_SRCS})
  target_link_libraries(${name} PRIVATE fl_flags ${deps}
    GTest::gmock GTest::gtest_main)
  # A test's own source isn't optimized: that is a third of the time that it
  # takes to compile. What it tests is.
  target_compile_options(${name} PRIVATE -O0)
  target_compile_definitions(${name} PRIVATE
    FAIRLEAD_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    FAIRLEAD_BINARY_DIR="${PROJECT_BINARY_DIR}")
  add_test(NAME ${A_LABEL}.${name} COMMAND ${name}
    --gtest_output=json:${CMAKE_BINARY_DIR}/test-results/${name}.json)
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  set_tests_properties(${A_LABEL}.${name} PROPERTIES
    LABELS ${A_LABEL} TIMEOUT ${A_TIMEOUT})
  if(A_WILL_FAIL)
    set_tests_properties(${A_LABEL}.${name} PROPERTIES WILL_FAIL TRUE)
  endif()
  if(A_LABEL MATCHES "^(unit|golden)$")
    if(NOT TARGET fl_sanitized_tests)
      add_custom_target(fl_sanitized_tests)
    endif()
    add_dependencies(fl_sanitized_tests ${name})
  endif()
  if(A_LABEL MATCHES "^(prog|netns)$")
    # They share the machine's kernel tables and its two cores.
    set_tests_properties(${A_LABEL}.${name} PROPERTIES RUN_SERIAL TRUE)
  endif()
endfunction()

function(fl_bench name)
  if(NOT FAIRLEAD_BENCH)
    return()
  endif()
  cmake_parse_arguments(A "" "" "SRCS;DEPS" ${ARGN})
  _fl_resolve(deps ${A_DEPS})
  add_executable(${name} ${A_SRCS})
  target_link_libraries(${name} PRIVATE fl_flags ${deps}
    benchmark::benchmark)
  target_compile_definitions(${name} PRIVATE
    FAIRLEAD_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endfunction()

# A short run (10,000 inputs) is a test; longer ones are run by hand:
# build/fuzz/bin/NAME -max_total_time=600 CORPUS
function(fl_fuzz name)
  if(NOT FAIRLEAD_FUZZ)
    return()
  endif()
  cmake_parse_arguments(A "" "CORPUS" "SRCS;DEPS" ${ARGN})
  _fl_resolve(deps ${A_DEPS})
  add_executable(${name} ${A_SRCS})
  target_link_libraries(${name} PRIVATE fl_flags ${deps} -fsanitize=fuzzer)
  set(work ${CMAKE_BINARY_DIR}/corpus/${name})
  file(MAKE_DIRECTORY ${work})
  # Without verbosity what is printed is what went wrong.
  add_test(NAME fuzz.${name} COMMAND ${name} -runs=10000 -max_total_time=20
    -verbosity=0 -rss_limit_mb=2048 -print_final_stats=1 ${work} ${A_CORPUS})
  set_tests_properties(fuzz.${name} PROPERTIES LABELS fuzz TIMEOUT 120)
  if(NOT TARGET fl_fuzz_targets)
    add_custom_target(fl_fuzz_targets)
  endif()
  add_dependencies(fl_fuzz_targets ${name})
endfunction()

# One pinned clang: what Debian 12 has and what the verifier figures in docs/
# were measured with.
find_program(FAIRLEAD_BPF_CLANG clang-16 REQUIRED)
find_program(FAIRLEAD_BPFTOOL bpftool REQUIRED PATHS /usr/sbin)
set(FAIRLEAD_BPF_FLAGS -target bpf -mcpu=v3 -O2 -g -std=gnu11
  -Wall -Wextra -Wpadded -Werror -Wno-unused-parameter
  -I${PROJECT_SOURCE_DIR} -I/usr/include/x86_64-linux-gnu
  -fdebug-prefix-map=${PROJECT_SOURCE_DIR}=.)

function(fl_bpf_object name src)
  cmake_parse_arguments(A "" "VARIANT;DEFINE" "" ${ARGN})
  set(target ${name})
  set(top ${CMAKE_BINARY_DIR})
  if(A_VARIANT)
    set(target ${name}_${A_VARIANT})
    set(top ${CMAKE_BINARY_DIR}/${A_VARIANT})
    list(APPEND FAIRLEAD_BPF_FLAGS -D${A_DEFINE})
  endif()
  set(object ${top}/bpf/${name}.bpf.o)
  set(skeleton ${top}/gen/bpf/${name}.skel.h)
  file(MAKE_DIRECTORY ${top}/bpf ${top}/gen/bpf)
  add_custom_command(OUTPUT ${object} ${skeleton}
    COMMAND ${FAIRLEAD_BPF_CLANG} ${FAIRLEAD_BPF_FLAGS} -MD -MF ${object}.d
      -c ${CMAKE_CURRENT_SOURCE_DIR}/${src} -o ${object}
    COMMAND ${FAIRLEAD_BPFTOOL} gen skeleton ${object} name ${name}
      > ${skeleton}
    DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${src}
    DEPFILE ${object}.d
    COMMENT "BPF ${target}" VERBATIM)
  add_custom_target(${target}_bpf DEPENDS ${object} ${skeleton})
  add_library(${target}_skel INTERFACE)
  add_dependencies(${target}_skel ${target}_bpf)
  target_include_directories(${target}_skel INTERFACE ${top}/gen)
  if(A_VARIANT)
    target_compile_definitions(${target}_skel INTERFACE ${A_DEFINE})
  endif()
  target_link_libraries(${target}_skel INTERFACE PkgConfig::LIBBPF)
endfunction()

function(fl_proto out_var proto)
  set(out ${CMAKE_BINARY_DIR}/gen/proto)
  file(MAKE_DIRECTORY ${out})
  get_filename_component(base ${proto} NAME_WE)
  add_custom_command(OUTPUT ${out}/${base}.pb.cc ${out}/${base}.pb.h
    COMMAND protobuf::protoc --cpp_out=${out}
      -I ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/${proto}
    DEPENDS ${proto} COMMENT "proto ${proto}" VERBATIM)
  set(${out_var} ${out}/${base}.pb.cc PARENT_SCOPE)
endfunction()

function(fl_grpc_proto name proto)
  set(out ${CMAKE_BINARY_DIR}/gen/proto)
  file(MAKE_DIRECTORY ${out})
  get_filename_component(base ${proto} NAME_WE)
  get_filename_component(path ${proto} ABSOLUTE)
  get_filename_component(folder ${path} DIRECTORY)
  set(files ${out}/${base}.pb.cc ${out}/${base}.grpc.pb.cc)
  add_custom_command(OUTPUT ${files}
    COMMAND protobuf::protoc --cpp_out=${out} --grpc_out=${out}
      --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>
      -I ${folder} ${path}
    DEPENDS ${proto} COMMENT "proto ${proto}" VERBATIM)
  add_library(fl_${name} STATIC ${files})
  target_include_directories(fl_${name} SYSTEM PUBLIC
    ${CMAKE_BINARY_DIR}/gen ${out})
  target_link_libraries(fl_${name} PUBLIC gRPC::grpc++ protobuf::libprotobuf)
endfunction()

find_package(PkgConfig REQUIRED)
pkg_check_modules(LIBBPF REQUIRED IMPORTED_TARGET libbpf)
pkg_check_modules(LIBNL REQUIRED IMPORTED_TARGET libnl-3.0 libnl-route-3.0)
pkg_check_modules(NETFILTER REQUIRED IMPORTED_TARGET libnl-nf-3.0 libnftables)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(SIMDJSON REQUIRED IMPORTED_TARGET simdjson)
pkg_check_modules(JEMALLOC REQUIRED IMPORTED_TARGET jemalloc)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-cpp)
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf CONFIG QUIET)
if(NOT Protobuf_FOUND)
  find_package(Protobuf REQUIRED)
endif()
find_package(gRPC CONFIG REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
if(FAIRLEAD_TESTS)
  find_package(GTest CONFIG REQUIRED)
endif()
if(FAIRLEAD_BENCH)
  find_package(benchmark REQUIRED)
endif()
