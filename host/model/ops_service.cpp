// SPDX-License-Identifier: Apache-2.0
// graft.ops/1: any ATen operator by name.
#include <ATen/core/dispatch/Dispatcher.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "model/op_arguments.h"
#include "model/slot_errors.h"
#include "model/tensor_handle.h"
#include "model/tensor_services.h"
#include "plugin/host_services.h"
#include "support/strings.h"

namespace graft::model {

namespace {

// What a graft_op points to.
struct Operator {
  c10::OperatorHandle handle;
  std::string name;  // "aten::add.Tensor"
  std::vector<ArgumentKind> arguments;
};

// Operators are found once and kept for good: plugins hold their addresses.
struct Operators {
  std::mutex mutex;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<Operator>> by_name;
};

Operators& operators() {
  static auto* const instance = new Operators;  // never destroyed: plugins may call during exit
  return *instance;
}

std::unique_ptr<Operator> make_operator(const c10::OperatorHandle& handle) {
  auto op = std::make_unique<Operator>(Operator{handle, c10::toString(handle.operator_name()), {}});
  for (const c10::Argument& argument : handle.schema().arguments()) {
    op->arguments.push_back(kind_of_argument(argument));
  }
  return op;
}

// Null if ATen has no such operator.
const Operator* find_operator(std::string name, std::string overload) {
  Operators& known = operators();
  const std::lock_guard lock(known.mutex);
  auto& slot = known.by_name[{name, overload}];
  if (slot == nullptr) {
    const auto handle = c10::Dispatcher::singleton().findSchema({std::move(name), std::move(overload)});
    if (!handle.has_value()) return nullptr;
    slot = make_operator(*handle);
  }
  return slot.get();
}

// The dispatcher's stack is a std::vector: each thread keeps one so that calls do not allocate. A call within
// a call (an operator implemented by a plugin) finds none and makes its own.
class Stack {
 public:
  Stack() { values_.swap(spare()); }
  ~Stack() {
    values_.clear();
    values_.swap(spare());
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  std::vector<c10::IValue>& operator*() { return values_; }

 private:
  static std::vector<c10::IValue>& spare() {
    thread_local std::vector<c10::IValue> instance;
    return instance;
  }
  std::vector<c10::IValue> values_;
};

void push_arguments(const Operator& op, const graft_value* in, std::uint32_t n_in,
                    std::vector<c10::IValue>& stack) {
  const std::size_t n = op.arguments.size();
  if (n_in > n) {
    throw std::invalid_argument(support::cat(n_in, " arguments given, the operator takes ", n));
  }
  stack.reserve(n);
  for (std::uint32_t i = 0; i < n_in; ++i) stack.push_back(argument_of_value(in[i], op.arguments[i]));
  for (std::size_t i = n_in; i < n; ++i) stack.push_back(default_argument(op.arguments[i]));
}

void write_results(std::vector<c10::IValue>& stack, graft_value* out, std::uint32_t n_out) {
  std::uint32_t available = 0;
  for (std::size_t i = 0; i < stack.size() && available < n_out; ++i) available += count_result(stack[i]);
  if (available < n_out) {
    throw std::invalid_argument(
        support::cat("the operator gave ", available, " results, ", n_out, " were asked for"));
  }
  std::uint32_t written = 0;
  for (std::size_t i = 0; written < n_out; ++i) {
    written += write_result(std::move(stack[i]), out + written, n_out - written);
  }
}

graft_status find(const graft_ops*, graft_str name, graft_str overload, graft_op* out, graft_error* error) {
  try {
    if (out == nullptr) throw std::invalid_argument("out must not be NULL");
    const Operator* op = find_operator(std::string(plugin::view(name)), std::string(plugin::view(overload)));
    if (op == nullptr) {
      return plugin::fail(error, GRAFT_E_UNSUPPORTED,
                          support::cat("this host's LibTorch has no operator \"", plugin::view(name),
                                       "\" with the overload \"", plugin::view(overload), "\""));
    }
    *out = reinterpret_cast<graft_op>(const_cast<Operator*>(op));
    return GRAFT_OK;
  } catch (...) {
    return report_exception(error, plugin::view(name));
  }
}

graft_status call(const graft_ops*, graft_op handle, const graft_value* in, std::uint32_t n_in,
                  graft_value* out, std::uint32_t n_out, graft_error* error) {
  if (handle == nullptr)
    return plugin::fail(error, GRAFT_E_INVALID_ARGUMENT, "graft.ops/1: the operator is NULL");
  const Operator& op = *reinterpret_cast<const Operator*>(handle);
  try {
    Stack stack;
    push_arguments(op, in, n_in, *stack);
    op.handle.callBoxed(*stack);
    write_results(*stack, out, n_out);
    return GRAFT_OK;
  } catch (...) {
    return report_exception(error, op.name);
  }
}

void retain(const graft_ops*, graft_tensor handle) {
  if (handle != nullptr) give(share(handle));
}

void release(const graft_ops*, graft_tensor handle) {
  take(handle);
}

}  // namespace

const graft_ops* ops_service() {
  static const graft_ops table = {GRAFT_HDR(graft_ops), plugin::host_table(), find, call, retain, release};
  return &table;
}

}  // namespace graft::model
