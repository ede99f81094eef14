// SPDX-License-Identifier: Apache-2.0
// graft/sdk/model_family.hpp: a model family as a class. Derive from graft::ModelFamily, fill `declare` in
// open(), and write the forward pass over graft::Exec; plugins/model_families/qwen2_5_vl is a complete one.
//
// Hidden states are [T, D]: flat over all tokens, no batch dimension, no padding.
#ifndef GRAFT_SDK_MODEL_FAMILY_HPP
#define GRAFT_SDK_MODEL_FAMILY_HPP

#include <graft/model_family.h>
#include <graft/sdk/family_declarations.hpp>
#include <graft/sdk/plugin.hpp>
#include <graft/sdk/tensor.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace graft {

// ---- execution --------------------------------------------------------------------------------------------

// Borrowed tensors of a call.
class TensorList {
 public:
  TensorList(const graft_tensor* raw, std::uint32_t n) : raw_(raw), n_(n) {}
  [[nodiscard]] std::uint32_t size() const { return n_; }
  [[nodiscard]] Tensor operator[](std::uint32_t index) const { return Tensor::share(raw_[index]); }

 private:
  const graft_tensor* raw_;
  std::uint32_t n_;
};

// What the host lends to a forward pass. Valid during the call that received it.
class Exec {
 public:
  explicit Exec(const graft_exec* raw) : raw_(raw) {}
  // The table itself, for families that stand between the host and another family's forward pass.
  [[nodiscard]] const graft_exec* raw() const { return raw_; }

  [[nodiscard]] Tensor param(std::uint32_t index) const {
    graft_tensor borrowed = nullptr;
    check([&](graft_error* error) { return raw_->param(raw_, index, &borrowed, error); });
    return Tensor::share(borrowed);
  }

  // The linear layer of a site with whatever the PEFT strategy adds: [T, in] to [T, out].
  [[nodiscard]] Tensor linear(std::uint32_t site, const Tensor& x) const {
    graft_tensor y = nullptr;
    check([&](graft_error* error) { return raw_->linear(raw_, site, x.get(), &y, error); });
    return Tensor::adopt(y);
  }

  // Attention over the decoder's sequences: q [T, H, d], k and v [T, Hkv, d], to [T, H, d].
  [[nodiscard]] Tensor attention(std::int32_t layer, const Tensor& q, const Tensor& k, const Tensor& v,
                                 double scale) const {
    return attend(q, k, v, scale, GRAFT_ATTEND_SEQUENCE, layer, nullptr, 0);
  }
  // Attention in both directions within consecutive blocks, given by their ends.
  [[nodiscard]] Tensor block_attention(const Tensor& q, const Tensor& k, const Tensor& v, double scale,
                                       const std::vector<std::int64_t>& ends) const {
    return attend(q, k, v, scale, GRAFT_ATTEND_BLOCKS, 0, ends.data(), ends.size());
  }

  // Runs a member function of the family's class T, or of a base class of it (single inheritance), `Tensor body(const Exec&, std::uint64_t tag, const
  // TensorList& in)`, as segment `index`. The body may use nothing but its inputs, parameters and constants:
  // it may run again in backward.
  template <auto Body>
  [[nodiscard]] Tensor segment(std::uint32_t index, std::uint64_t tag,
                               std::initializer_list<Tensor> inputs) const {
    graft_tensor in[kMaxInputs];
    if (inputs.size() > kMaxInputs) throw Error(GRAFT_E_INTERNAL, "a segment takes at most 8 inputs");
    std::uint32_t n = 0;
    for (const Tensor& tensor : inputs) in[n++] = tensor.get();
    graft_tensor out = nullptr;
    check([&](graft_error* error) {
      return raw_->segment(raw_, index, &run_body<Body>, tag, in, n, &out, 1, error);
    });
    return Tensor::adopt(out);
  }

 private:
  static constexpr std::size_t kMaxInputs = 8;

  template <typename T>
  struct ClassOf;
  template <typename T>
  struct ClassOf<Tensor (T::*)(const Exec&, std::uint64_t, const TensorList&) const> {
    using type = T;
  };

  template <auto Body>
  static graft_status run_body(graft_instance* instance, const graft_exec* exec, std::uint64_t tag,
                               const graft_tensor* in, std::uint32_t n_in, graft_tensor* out, std::uint32_t,
                               graft_error* error) noexcept {
    return guard(error, [&] {
      const auto& family = self<typename ClassOf<decltype(Body)>::type>(instance);
      out[0] = (family.*Body)(Exec(exec), tag, TensorList(in, n_in)).release();
    });
  }

  [[nodiscard]] Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, double scale,
                              std::int32_t mode, std::int32_t layer, const std::int64_t* ends,
                              std::size_t n_ends) const {
    graft_attention args{};
    args.hdr = GRAFT_HDR(graft_attention);
    args.q = q.get();
    args.k = k.get();
    args.v = v.get();
    args.scale = scale;
    args.mode = mode;
    args.layer = layer;
    args.block_ends = ends;
    args.n_blocks = n_ends;
    graft_tensor out = nullptr;
    check([&](graft_error* error) { return raw_->attention(raw_, &args, &out, error); });
    return Tensor::adopt(out);
  }

  const graft_exec* raw_;
};

// ---- the class --------------------------------------------------------------------------------------------

// The texts of a checkpoint directory; absent files are empty.
class FamilyFiles {
 public:
  explicit FamilyFiles(const graft_family_files& raw) : raw_(&raw) {}
  [[nodiscard]] std::string_view directory() const { return to_view(raw_->directory); }
  [[nodiscard]] std::string_view config() const { return to_view(raw_->config_json); }
  [[nodiscard]] std::string_view preprocessor_config() const {
    return to_view(raw_->preprocessor_config_json);
  }
  [[nodiscard]] std::string_view generation_config() const { return to_view(raw_->generation_config_json); }
  [[nodiscard]] std::string_view tokenizer_config() const { return to_view(raw_->tokenizer_config_json); }
  [[nodiscard]] std::string_view chat_template() const { return to_view(raw_->chat_template); }
  // The id of a special token, -1 if the tokenizer has none of that name.
  [[nodiscard]] std::int64_t token_id(std::string_view text) const {
    return raw_->token_id(raw_->context, to_str(text));
  }

 private:
  const graft_family_files* raw_;
};

// An image as the encoder takes it.
struct Pixels {
  Tensor values;  // float32, patches first
  std::int64_t grid[3] = {0, 0, 0};
  std::int64_t n_tokens = 0;
  std::int64_t processed_width = 0;
  std::int64_t processed_height = 0;
};

// The images of a call.
class PixelsList {
 public:
  PixelsList(const graft_pixels* const* raw, std::uint32_t n) : raw_(raw), n_(n) {}
  [[nodiscard]] std::uint32_t size() const { return n_; }
  [[nodiscard]] const graft_pixels& operator[](std::uint32_t index) const { return *raw_[index]; }

 private:
  const graft_pixels* const* raw_;
  std::uint32_t n_;
};

struct PromptPositions {
  std::vector<std::int64_t> ids;  // [position_rank, n], row-major
  std::int64_t next = 0;          // of the first token after the prompt
};

struct DecodeInput {
  Tensor ids;           // int64 [T]
  Tensor positions;     // int64 [position_rank, T]
  Tensor image_values;  // [N, image_value_size], or empty
  Tensor image_rows;    // int64 [N], or empty
};

template <typename T>
struct ModelFamilyKind;

// Base class of model families. See graft/model_family.h for what each function has to do. Everything after
// open() is called by several threads at once.
class ModelFamily : public Component {
 public:
  template <typename T>
  using Kind = ModelFamilyKind<T>;
  static constexpr std::uint32_t thread_class = GRAFT_THREAD_CONCURRENT;

  // A class also defines: static bool probe(const Json& config);
  virtual void open(const FamilyFiles& files) = 0;
  [[nodiscard]] virtual std::string render(const Json& messages, bool add_generation_prompt) const = 0;
  [[nodiscard]] virtual Pixels preprocess(const graft_image& image) const = 0;
  [[nodiscard]] virtual std::vector<std::int64_t> expand(const std::int64_t* ids, std::size_t n,
                                                         const PixelsList& images) const = 0;
  [[nodiscard]] virtual PromptPositions positions(const std::int64_t* ids, std::size_t n,
                                                  const PixelsList& images) const = 0;
  [[nodiscard]] virtual Tensor encode_images(const Exec& exec, const PixelsList& images) const = 0;
  [[nodiscard]] virtual Tensor decode(const Exec& exec, const DecodeInput& input) const = 0;

  FamilyDeclarations declare;  // to be filled in open()
};

template <typename T>
struct ModelFamilyKind {
  static constexpr std::string_view kind = GRAFT_KIND_MODEL_FAMILY;
  static const void* interface(std::string_view id) {
    return id == GRAFT_INTERFACE_MODEL_FAMILY ? &vtable : nullptr;
  }

  static std::int32_t probe(graft_str config_json) noexcept {
    std::int32_t answer = 0;
    guard(nullptr, [&] { answer = T::probe(Json::parse(to_view(config_json))) ? 1 : 0; });
    return answer;
  }
  static graft_status open(graft_instance* instance, const graft_family_files* files,
                           graft_error* error) noexcept {
    return guard(error, [&] { self<T>(instance).open(FamilyFiles(*files)); });
  }
  static graft_status describe(graft_instance* instance, const graft_family_desc** out,
                               graft_error* error) noexcept {
    return guard(error, [&] { *out = self<T>(instance).declare.description(); });
  }
  static graft_status render(graft_instance* instance, graft_str messages_json,
                             std::int32_t add_generation_prompt, const graft_sink* text,
                             graft_error* error) noexcept {
    return guard(error, [&] {
      write(text, self<T>(instance).render(Json::parse(to_view(messages_json)), add_generation_prompt != 0));
    });
  }
  static graft_status preprocess(graft_instance* instance, const graft_image* image, graft_pixels* out,
                                 graft_error* error) noexcept {
    return guard(error, [&] {
      Pixels made = self<T>(instance).preprocess(*image);
      for (int i = 0; i < 3; ++i) out->grid[i] = made.grid[i];
      out->n_tokens = made.n_tokens;
      out->processed_width = made.processed_width;
      out->processed_height = made.processed_height;
      out->values = made.values.release();
    });
  }
  static graft_status expand(graft_instance* instance, const std::int64_t* ids, std::uint64_t n,
                             const graft_pixels* const* images, std::uint32_t n_images,
                             const graft_sink* expanded, graft_error* error) noexcept {
    return guard(error, [&] {
      const std::vector<std::int64_t> result =
          self<T>(instance).expand(ids, static_cast<std::size_t>(n), PixelsList(images, n_images));
      write(expanded, {reinterpret_cast<const char*>(result.data()), result.size() * sizeof(std::int64_t)});
    });
  }
  static graft_status positions(graft_instance* instance, const std::int64_t* ids, std::uint64_t n,
                                const graft_pixels* const* images, std::uint32_t n_images, std::int64_t* out,
                                std::int64_t* next, graft_error* error) noexcept {
    return guard(error, [&] {
      const PromptPositions result =
          self<T>(instance).positions(ids, static_cast<std::size_t>(n), PixelsList(images, n_images));
      std::copy(result.ids.begin(), result.ids.end(), out);
      *next = result.next;
    });
  }
  static graft_status encode_images(graft_instance* instance, const graft_exec* exec,
                                    const graft_pixels* const* images, std::uint32_t n_images,
                                    graft_tensor* out, graft_error* error) noexcept {
    return guard(error, [&] {
      *out = self<T>(instance).encode_images(Exec(exec), PixelsList(images, n_images)).release();
    });
  }
  static graft_status decode(graft_instance* instance, const graft_exec* exec, const graft_decode* args,
                             graft_tensor* hidden, graft_error* error) noexcept {
    return guard(error, [&] {
      const DecodeInput input{Tensor::share(args->ids), Tensor::share(args->positions),
                              Tensor::share(args->image_values), Tensor::share(args->image_rows)};
      *hidden = self<T>(instance).decode(Exec(exec), input).release();
    });
  }

  static constexpr graft_model_family vtable = {GRAFT_HDR(graft_model_family),
                                                &probe,
                                                &open,
                                                &describe,
                                                &render,
                                                &preprocess,
                                                &expand,
                                                &positions,
                                                &encode_images,
                                                &decode};
};

}  // namespace graft

#endif
