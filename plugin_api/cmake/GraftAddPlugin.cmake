# SPDX-License-Identifier: Apache-2.0
#
# graft_add_plugin(<name> SOURCES <file>… [OUTPUT_DIRECTORY <dir>])
#
# Builds the plugin <name>.so as target <name>: C99 or C++17, hidden symbols, one exported function
# (graft_plugin_manifest_v1), no library but graft's headers. Link further libraries with
# target_link_libraries(<name> PRIVATE …) if the plugin needs them.

include_guard(GLOBAL)

set(GRAFT_PLUGIN_VERSION_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/plugin.map)

function(graft_add_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "OUTPUT_DIRECTORY" "SOURCES")
  if(NOT arg_SOURCES OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "usage: graft_add_plugin(<name> SOURCES <file>… [OUTPUT_DIRECTORY <dir>])")
  endif()

  add_library(${name} MODULE ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE graft::api)
  target_compile_features(${name} PRIVATE cxx_std_17 c_std_99)
  set_target_properties(${name} PROPERTIES
    PREFIX "" SUFFIX ".so"
    CXX_STANDARD 17 CXX_EXTENSIONS OFF
    C_STANDARD 99 C_EXTENSIONS OFF
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON
    LINK_DEPENDS ${GRAFT_PLUGIN_VERSION_SCRIPT})
  if(arg_OUTPUT_DIRECTORY)
    set_target_properties(${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${arg_OUTPUT_DIRECTORY})
  endif()

  target_link_options(${name} PRIVATE -Wl,--version-script=${GRAFT_PLUGIN_VERSION_SCRIPT})
  # A missing symbol is better found here than when the host loads the plugin. A sanitizer's run time comes from the
  # executable, so its symbols are missing on purpose.
  get_directory_property(options COMPILE_OPTIONS)
  if(NOT "${options} ${CMAKE_C_FLAGS} ${CMAKE_CXX_FLAGS}" MATCHES "-fsanitize")
    target_link_options(${name} PRIVATE -Wl,-z,defs)
  endif()
endfunction()
