// SPDX-License-Identifier: Apache-2.0
// What the host knows about each kind of component: which interface it must offer, how long that table was in ABI
// 1.0, and which slots may not be null. Code behind the loader relies on it instead of checking again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace graft::plugin {

struct Slot {
  std::string_view name;
  std::size_t offset;
};

struct Interface {
  std::string_view kind;
  std::string_view id;
  std::size_t size;        // of the struct this host was built with
  std::size_t least_size;  // of the struct in ABI 1.0
  std::vector<Slot> required;
  // Rules that one slot alone cannot break: "" or what is wrong with the (complete, zero-filled) table. May be null.
  std::string (*rule)(const void* table);
};

// The required interface of a kind; null if this host does not know the kind.
const Interface* interface_of(std::string_view kind);

// All kinds, in the order in which they are listed.
const std::vector<Interface>& interfaces();

// Is the pointer at `offset` of `table` null?
bool slot_is_null(const void* table, std::size_t offset);

}  // namespace graft::plugin
