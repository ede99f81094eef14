/* SPDX-License-Identifier: Apache-2.0
 * What is frozen: the value types that never grow, and the members that every reader looks at before it knows the size of
 * anything. */
#include <graft/checkpoint_policy.h>
#include <graft/host.h>
#include <graft/model_family.h>
#include <graft/peft.h>
#include <graft/plugin.h>
#include <graft/reward.h>
#include <graft/tensor.h>

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " is frozen at " #bytes " bytes")
#define AT(type, member, bytes) \
  _Static_assert(offsetof(type, member) == (bytes), #type "." #member " has moved")
/* Growable: the header comes first, and there is no tail padding that an appended member could slip into. */
#define GROWS(type, last)                                                          \
  AT(type, hdr, 0);                                                                \
  _Static_assert(sizeof(type) == offsetof(type, last) + sizeof(((type *)0)->last), \
                 #type " ends in padding, or " #last " is not its last member")

SIZE(graft_hdr, 8);
SIZE(graft_status, 4);
SIZE(graft_image_size, 32);
#if UINTPTR_MAX == UINT64_MAX
SIZE(graft_str, 16);
SIZE(graft_error, 16);
SIZE(graft_sink, 16);
SIZE(graft_value, 24);
AT(graft_value, u, 8);
#endif

/* The manifest is read by hosts of every version, so its beginning never changes. */
AT(graft_manifest, magic, 0);
AT(graft_manifest, hdr, 8);
AT(graft_manifest, abi_major, 16);
AT(graft_manifest, abi_minor, 20);
AT(graft_manifest, abi_minor_min, 24);
AT(graft_manifest, tier, 28);
AT(graft_manifest, name, 32);

GROWS(graft_host, is_cancelled);
GROWS(graft_rng, bits);
GROWS(graft_component, get_interface);
GROWS(graft_library, n_components);
GROWS(graft_output_contract, reserved);
GROWS(graft_reward_desc, contract);
GROWS(graft_reward_item, group);
GROWS(graft_reward_batch, step);
GROWS(graft_observation, box_notations);
GROWS(graft_reward_result, observe);
GROWS(graft_reward, score);
GROWS(graft_segment_info, forward_flops);
GROWS(graft_checkpoint_policy, plan);
GROWS(graft_site, alpha);
GROWS(graft_base_param, is_selected);
GROWS(graft_peft_param, learning_rate_scale);
GROWS(graft_peft_values, n_shared);
GROWS(graft_peft_model, total_steps);
GROWS(graft_base_linear, bias);
GROWS(graft_peft_call, reserved);
GROWS(graft_peft_observation, answer_rows);
GROWS(graft_peft_allotment, reserved);
GROWS(graft_peft, allot);
GROWS(graft_param_decl, random_std);
GROWS(graft_site_decl, reserved);
GROWS(graft_segment_decl, flops_per_token);
GROWS(graft_family_desc, image_value_size);
GROWS(graft_family_files, token_id);
GROWS(graft_image, name);
GROWS(graft_pixels, processed_height);
GROWS(graft_attention, n_blocks);
GROWS(graft_exec, attention);
GROWS(graft_decode, image_rows);
GROWS(graft_model_family, decode);
GROWS(graft_ops, release);
GROWS(graft_tensor_info, is_contiguous);
GROWS(graft_tensor_data, create);
GROWS(graft_backward, drop);
GROWS(graft_autograd, set_grad_mode);

const graft_manifest *graft_plugin_manifest_v1(void) {
  return NULL;
}
