# SPDX-License-Identifier: Apache-2.0
# libgraft and the graft command.
#
#   graft_core    no LibTorch; the only part that sees spdlog, because LibTorch's include folder carries an fmt of its
#                 own that would shadow the one the system's spdlog was built with
#   graft_engine  everything that touches tensors
#   graft_lib     libgraft.so, both of them
#   graft         the command

set(GRAFT_CORE_FOLDERS support config plugin data text image monitor)
set(GRAFT_ENGINE_FOLDERS model rollout rewards objective adapt memory train distributed sweep doctor report embed)
set(host ${PROJECT_SOURCE_DIR}/host)

find_package(Threads REQUIRED)
find_package(Boost 1.74 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(spdlog REQUIRED)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(WEBP REQUIRED IMPORTED_TARGET libwebp libwebpdemux)

graft_glob(core_sources ${host} FOLDERS ${GRAFT_CORE_FOLDERS})
if(core_sources)
  add_library(graft_core OBJECT ${core_sources})
  target_include_directories(graft_core PUBLIC ${host})
  target_compile_definitions(graft_core
    PUBLIC BOOST_DLL_USE_STD_FS
    PRIVATE PCRE2_CODE_UNIT_WIDTH=8 GRAFT_VERSION="${PROJECT_VERSION}")
  target_link_libraries(graft_core
    PUBLIC graft_api nlohmann_json::nlohmann_json Threads::Threads
    PRIVATE spdlog::spdlog Boost::headers PkgConfig::PCRE2 PkgConfig::UTF8PROC JPEG::JPEG PNG::PNG PkgConfig::WEBP
            ${CMAKE_DL_LIBS})
  graft_strict(graft_core)
endif()

if(NOT GRAFT_BUILD_ENGINE)
  return()
endif()

find_package(LibTorch REQUIRED)
find_package(CLI11 REQUIRED)

# The program that runs Python rewards travels inside the library.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${host}/rewards/python_worker.py)
file(READ ${host}/rewards/python_worker.py GRAFT_PYTHON_WORKER)
configure_file(${host}/cmake/python_worker.h.in ${PROJECT_BINARY_DIR}/generated/rewards/python_worker.h @ONLY)

graft_glob(engine_sources ${host} FOLDERS ${GRAFT_ENGINE_FOLDERS})
if(engine_sources)
  add_library(graft_engine OBJECT ${engine_sources})
  target_include_directories(graft_engine PUBLIC ${host} PRIVATE ${PROJECT_BINARY_DIR}/generated)
  target_compile_definitions(graft_engine
    PUBLIC AT_PER_OPERATOR_HEADERS
    PRIVATE GRAFT_VERSION="${PROJECT_VERSION}")
  target_link_libraries(graft_engine
    PUBLIC graft_api nlohmann_json::nlohmann_json LibTorch::LibTorch
    PRIVATE PkgConfig::PCRE2)   # adapt/: target patterns
  graft_strict(graft_engine)
endif()

if(NOT core_sources OR NOT engine_sources)
  return()
endif()
add_library(graft_lib SHARED)
target_link_libraries(graft_lib PRIVATE graft_core graft_engine)
target_link_libraries(graft_lib PUBLIC graft_api nlohmann_json::nlohmann_json LibTorch::LibTorch)
target_include_directories(graft_lib INTERFACE ${host})
target_compile_definitions(graft_lib INTERFACE AT_PER_OPERATOR_HEADERS)
set_target_properties(graft_lib PROPERTIES
  OUTPUT_NAME graft
  LINKER_LANGUAGE CXX
  INSTALL_RPATH "$ORIGIN;$ORIGIN/libtorch/torch/lib;${LibTorch_LIBRARY_DIR}")
install(TARGETS graft_lib LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(GRAFT_INSTALL_LIBTORCH)
  include(InstallLibTorch)
endif()

graft_glob(command_sources ${host} FOLDERS cli)
if(EXISTS ${host}/main.cpp)
  add_executable(graft ${host}/main.cpp ${command_sources})
  target_compile_definitions(graft PRIVATE GRAFT_VERSION="${PROJECT_VERSION}")
  target_link_libraries(graft PRIVATE graft_lib CLI11::CLI11)
  set_target_properties(graft PROPERTIES
    INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR};$ORIGIN/../${CMAKE_INSTALL_LIBDIR}/libtorch/torch/lib;${LibTorch_LIBRARY_DIR}")
  graft_strict(graft)
  install(TARGETS graft RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
