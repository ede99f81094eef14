// SPDX-License-Identifier: Apache-2.0
// graft/sdk/plugin.hpp: the C++17 frame of a plugin. Header-only, compiled into the plugin; only the C ABI crosses.
//
// A component is a class that derives from the base class of its kind (graft::Reward, graft::CheckpointPolicy,
// graft::Peft, graft::ModelFamily), and a plugin is a file that ends with GRAFT_PLUGIN:
//
//   #include <graft/sdk/reward.hpp>
//   struct Brevity : graft::Reward {
//     static constexpr auto name = "brevity";
//     static constexpr auto summary = "shorter completions score higher";
//     static graft::Schema params() { return graft::Schema().integer("limit", 200, "characters").minimum(1); }
//     explicit Brevity(const graft::Params& params) : limit_(params.integer("limit")) {}
//     …
//   };
//   GRAFT_PLUGIN(Brevity)            // several: GRAFT_PLUGIN(A, B)
//
// What a component class may define (the defaults are in graft::Component):
//   static constexpr auto name      required: [a-z0-9_.-]+
//   static constexpr auto summary   one line
//   static constexpr auto version   semantic version
//   static constexpr uint32_t thread_class   GRAFT_THREAD_*
//   static graft::Schema params()   parameters
//   a constructor from (const graft::Params&), or from nothing
// graft::host() is there in constructors and later, not in static initialisers: those run before the host has
// checked the library, and should do nothing.
//
// ---- how to add a kind ---------------------------------------------------------------------------------------------
// A kind's header defines a base class and a traits template, and touches nothing here:
//
//   template <typename T> struct RewardKind {                       // T: the plugin author's class
//     static constexpr std::string_view kind = GRAFT_KIND_REWARD;
//     static const void* interface(std::string_view id) {           // NULL for an unknown id
//       return id == GRAFT_INTERFACE_REWARD ? &vtable : nullptr;
//     }
//     static graft_status score(graft_instance* instance, …, graft_error* error) {
//       return graft::guard(error, [&] { graft::self<T>(instance).…; });
//     }
//     static constexpr graft_reward vtable = {GRAFT_HDR(graft_reward), &describe, &score};   // constant data
//   };
//   class Reward : public Component {
//    public:
//     template <typename T> using Kind = RewardKind<T>;
//     …virtual functions for the author…
//   };
//
// A slot that the author did not override can be NULL: compare member pointers, as in
// graft::overrides<decltype(&T::merge), decltype(&Peft::merge)>.
#ifndef GRAFT_SDK_PLUGIN_HPP
#define GRAFT_SDK_PLUGIN_HPP

#include <graft/plugin.h>
#include <graft/sdk/error.hpp>
#include <graft/sdk/json.hpp>
#include <graft/sdk/schema.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

namespace graft {

// ---- the host -----------------------------------------------------------------------------------------------------

// What the host offers. Cheap to copy; thread-safe.
class Host {
 public:
  explicit Host(const graft_host* raw) : raw_(raw) {}
  [[nodiscard]] const graft_host* raw() const { return raw_; }

  void debug(std::string_view message) const { log(GRAFT_LOG_DEBUG, message); }
  void info(std::string_view message) const { log(GRAFT_LOG_INFO, message); }
  void warn(std::string_view message) const { log(GRAFT_LOG_WARN, message); }
  void error(std::string_view message) const { log(GRAFT_LOG_ERROR, message); }
  void log(std::int32_t level, std::string_view message) const {
    if (GRAFT_HAS(raw_, graft_host, log)) raw_->log(raw_, level, to_str(message));
  }

  // True if the run is being stopped; throw_if_cancelled() leaves a long call then.
  [[nodiscard]] bool is_cancelled() const {
    return GRAFT_HAS(raw_, graft_host, is_cancelled) && raw_->is_cancelled(raw_) != 0;
  }
  void throw_if_cancelled() const {
    if (is_cancelled()) throw Error(GRAFT_E_CANCELLED, "stopped");
  }

  // The table of a service, such as service<graft_ops>(GRAFT_SERVICE_OPS); nullptr if the host does not offer it, or an
  // older one of it that is shorter than T. Lives as long as the process.
  template <typename T>
  [[nodiscard]] const T* find_service(std::string_view id) const {
    if (!GRAFT_HAS(raw_, graft_host, get_service)) return nullptr;
    const T* table = static_cast<const T*>(raw_->get_service(raw_, to_str(id)));
    return table != nullptr && table->hdr.struct_size >= sizeof(T) ? table : nullptr;
  }
  // The same, and an error if there is none.
  template <typename T>
  [[nodiscard]] const T& service(std::string_view id) const {
    const T* table = find_service<T>(id);
    if (table == nullptr) {
      throw Error(GRAFT_E_UNSUPPORTED, "this host does not offer the service " + std::string(id));
    }
    return *table;
  }

 private:
  const graft_host* raw_;
};

// Hidden whatever the compiler's flags are: two plugins of one process must not share these.
namespace [[gnu::visibility("hidden")]] detail {
inline const graft_host* current_host = nullptr;  // set by init
}  // namespace detail

// The host that loaded this library.
inline Host host() {
  if (detail::current_host == nullptr) throw Error(GRAFT_E_INTERNAL, "the host is not known before init");
  return Host(detail::current_host);
}

// ---- components ---------------------------------------------------------------------------------------------------

// Base of the kinds' base classes. The static members are defaults that a component hides with its own.
class Component {
 public:
  static constexpr auto summary = "";
  static constexpr auto version = "1.0.0";
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_PER_INSTANCE;
  static Schema params() { return {}; }

  Component() = default;
  Component(const Component&) = delete;
  Component& operator=(const Component&) = delete;
  virtual ~Component() = default;
};

// The object behind an instance handle that this plugin made.
template <typename T>
T& self(graft_instance* instance) {
  return *reinterpret_cast<T*>(instance);
}

// True if a class has its own version of a virtual function: the member pointers' types name the defining class.
template <typename Mine, typename Base>
constexpr bool overrides = !std::is_same_v<Mine, Base>;

namespace [[gnu::visibility("hidden")]] detail {

template <typename T>
graft_status create(const graft_component*, const graft_host*, graft_str params_json, graft_instance** out,
                    graft_error* error) noexcept {
  return guard(error, [&] {
    const std::string_view text = to_view(params_json);
    const Params params = text.empty() ? Params() : Params(Json::parse(text));
    std::unique_ptr<T> made;
    if constexpr (std::is_constructible_v<T, const Params&>) {
      made = std::make_unique<T>(params);
    } else {
      made = std::make_unique<T>();
    }
    *out = reinterpret_cast<graft_instance*>(made.release());
  });
}

template <typename T>
void destroy(graft_instance* instance) noexcept {
  delete reinterpret_cast<T*>(instance);
}

template <typename T>
const void* get_interface(const graft_component*, graft_str id) noexcept {
  return T::template Kind<T>::interface(to_view(id));
}

// The table of one component; made on first use, which is in init.
template <typename T>
const graft_component* component() {
  static const std::string schema = T::params().text();
  static const graft_component table = {
      GRAFT_HDR(graft_component),
      to_str(T::template Kind<T>::kind),
      to_str(T::name),
      to_str(T::version),
      to_str(T::summary),
      to_str(schema),
      T::thread_class,
      0,
      &create<T>,
      &destroy<T>,
      &get_interface<T>,
  };
  return &table;
}

template <typename... Ts>
graft_status init(const graft_host* host, const graft_library** out, graft_error* error) noexcept {
  return guard(error, [&] {
    current_host = host;
    static const std::array<const graft_component*, sizeof...(Ts)> components = {component<Ts>()...};
    static const graft_library library = {GRAFT_HDR(graft_library), components.data(), components.size()};
    *out = &library;
  });
}

// Constant data: nothing runs before the host has checked it. The library is named after its first component.
template <typename First, typename... Rest>
constexpr graft_manifest manifest() {
  return {GRAFT_MAGIC, GRAFT_HDR(graft_manifest), GRAFT_ABI_MAJOR,     GRAFT_ABI_MINOR,
          0,           GRAFT_TIER_PORTABLE,       to_str(First::name), to_str(First::version),
          to_str(""),  &init<First, Rest...>};
}

}  // namespace detail
}  // namespace graft

// Exports the listed components. Once per library, outside any namespace.
#define GRAFT_PLUGIN(...)                                                                \
  extern "C" GRAFT_EXPORT const graft_manifest* graft_plugin_manifest_v1() {             \
    static constexpr graft_manifest manifest = ::graft::detail::manifest<__VA_ARGS__>(); \
    return &manifest;                                                                    \
  }                                                                                      \
  static_assert(true, "GRAFT_PLUGIN may be followed by a semicolon")

#endif
