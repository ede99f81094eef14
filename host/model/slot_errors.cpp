// SPDX-License-Identifier: Apache-2.0
#include "model/slot_errors.h"

#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include "plugin/host_services.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::model {

namespace {

graft_status write(graft_error* error, graft_status status, std::string_view who, std::string_view what) {
  return plugin::fail(error, status, who.empty() ? std::string(what) : support::cat(who, ": ", what));
}

// LibTorch's CPU allocator fails with an ordinary c10::Error.
bool is_out_of_memory(std::string_view what) {
  return support::contains(what, "DefaultCPUAllocator: can't allocate memory") ||
         support::contains(what, "DefaultCPUAllocator: not enough memory");
}

graft_status report(graft_error* error, std::string_view who) {
  try {
    throw;
  } catch (const c10::OutOfMemoryError& e) {
    return write(error, GRAFT_E_OUT_OF_MEMORY, who, e.what_without_backtrace());
  } catch (const c10::NotImplementedError& e) {
    return write(error, GRAFT_E_UNSUPPORTED, who, e.what_without_backtrace());
  } catch (const c10::Error& e) {
    const std::string_view what = e.what_without_backtrace();
    return write(error, is_out_of_memory(what) ? GRAFT_E_OUT_OF_MEMORY : GRAFT_E_INVALID_ARGUMENT, who, what);
  } catch (const support::Interrupted& e) {
    return write(error, GRAFT_E_CANCELLED, who, e.what());
  } catch (const support::MemoryError& e) {
    return write(error, GRAFT_E_OUT_OF_MEMORY, who, e.what());
  } catch (const std::bad_alloc&) {
    return write(error, GRAFT_E_OUT_OF_MEMORY, who, "out of memory");
  } catch (const support::UserError& e) {
    return write(error, GRAFT_E_INVALID_ARGUMENT, who, e.what());
  } catch (const std::invalid_argument& e) {
    return write(error, GRAFT_E_INVALID_ARGUMENT, who, e.what());
  } catch (const std::exception& e) {
    return write(error, GRAFT_E_INTERNAL, who, e.what());
  } catch (...) {
    return write(error, GRAFT_E_INTERNAL, who, "an exception that is no std::exception");
  }
}

}  // namespace

graft_status report_exception(graft_error* error, std::string_view who) noexcept {
  try {
    return report(error, who);
  } catch (...) {  // no memory for the message
    return GRAFT_E_OUT_OF_MEMORY;
  }
}

}  // namespace graft::model
