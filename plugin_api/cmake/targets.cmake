# SPDX-License-Identifier: Apache-2.0
# The headers a plugin is written against, and the CMake package that offers them to other trees.

include(CMakePackageConfigHelpers)

add_library(graft_api INTERFACE)
add_library(graft::api ALIAS graft_api)
set_target_properties(graft_api PROPERTIES EXPORT_NAME api)
target_include_directories(graft_api INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/plugin_api/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

set(graft_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/graft)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/graftConfig.cmake.in
  ${PROJECT_BINARY_DIR}/graftConfig.cmake INSTALL_DESTINATION ${graft_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/graftConfigVersion.cmake COMPATIBILITY SameMajorVersion)

install(TARGETS graft_api EXPORT graftTargets)
install(EXPORT graftTargets NAMESPACE graft:: DESTINATION ${graft_package_dir})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/plugin_api/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_BINARY_DIR}/graftConfig.cmake ${PROJECT_BINARY_DIR}/graftConfigVersion.cmake
              ${CMAKE_CURRENT_LIST_DIR}/GraftAddPlugin.cmake ${CMAKE_CURRENT_LIST_DIR}/plugin.map
        DESTINATION ${graft_package_dir})
