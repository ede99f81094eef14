# SPDX-License-Identifier: Apache-2.0
# What every target of this project is compiled with. Included once, by the top CMakeLists.txt.

set(CMAKE_INSTALL_LIBDIR lib CACHE PATH "")   # not lib/x86_64-linux-gnu: plugins are found at ../lib/graft/plugins
include(GNUInstallDirs)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# The build tree has the shape of the install tree, so that the same relative look-up finds plugins in both.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(GRAFT_PLUGIN_DIR ${PROJECT_BINARY_DIR}/lib/graft/plugins)

find_program(GRAFT_CCACHE ccache)
foreach(lang C CXX)
  if(GRAFT_CCACHE AND NOT DEFINED CMAKE_${lang}_COMPILER_LAUNCHER)
    set(CMAKE_${lang}_COMPILER_LAUNCHER ${GRAFT_CCACHE})
  endif()
endforeach()

set(graft_warnings -Wall -Wextra -Wpedantic -Wshadow -Wconversion)
if(GRAFT_WERROR)
  list(APPEND graft_warnings -Werror)
endif()

if(GRAFT_SANITIZE)
  add_compile_options(-fsanitize=${GRAFT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${GRAFT_SANITIZE})
endif()

# graft_strict(<target>): this project's own sources, with its warnings.
function(graft_strict target)
  target_compile_options(${target} PRIVATE ${graft_warnings})
endfunction()

# graft_glob(<out> <root> FOLDERS <folder>… [PATTERN <glob>]): sources of the named folders, missing folders ignored.
function(graft_glob out root)
  cmake_parse_arguments(arg "" "PATTERN" "FOLDERS" ${ARGN})
  if(NOT arg_PATTERN)
    set(arg_PATTERN "*.cpp")
  endif()
  set(patterns "")
  foreach(folder IN LISTS arg_FOLDERS)
    list(APPEND patterns ${root}/${folder}/${arg_PATTERN})
  endforeach()
  file(GLOB files CONFIGURE_DEPENDS ${patterns})
  set(${out} ${files} PARENT_SCOPE)
endfunction()
