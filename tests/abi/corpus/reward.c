/* SPDX-License-Identifier: Apache-2.0
 * A correct reward in plain C whose every field can be replaced at compile time: the corpus of broken plugins is made
 * from it, one definition each (CMakeLists.txt). */
#include <graft/plugin.h>
#include <graft/reward.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef MAGIC
#define MAGIC GRAFT_MAGIC
#endif
#ifndef MANIFEST_SIZE
#define MANIFEST_SIZE sizeof(graft_manifest)
#endif
#ifndef MANIFEST_FLAGS
#define MANIFEST_FLAGS 0
#endif
#ifndef MAJOR
#define MAJOR GRAFT_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR GRAFT_ABI_MINOR
#endif
#ifndef MINOR_MIN
#define MINOR_MIN 0
#endif
#ifndef TIER
#define TIER GRAFT_TIER_PORTABLE
#endif
#ifndef LIBRARY_NAME
#define LIBRARY_NAME "corpus"
#endif
#ifndef INIT
#define INIT init
#endif
#ifndef LIBRARY
#define LIBRARY (&library)
#endif
#ifndef LIBRARY_SIZE
#define LIBRARY_SIZE sizeof(graft_library)
#endif
#ifndef COMPONENTS
#define COMPONENTS components
#endif
#ifndef N_COMPONENTS
#define N_COMPONENTS 2
#endif
#ifndef FIRST
#define FIRST (&first)
#endif
#ifndef COMPONENT_SIZE
#define COMPONENT_SIZE sizeof(graft_component)
#endif
#ifndef KIND
#define KIND GRAFT_KIND_REWARD
#endif
#ifndef NAME
#define NAME "corpus_one"
#endif
#ifndef SCHEMA
#define SCHEMA \
  "{\"type\": \"object\", \"properties\": {\"bonus\": {\"type\": \"number\", \"default\": 0.25}}}"
#endif
#ifndef THREAD_CLASS
#define THREAD_CLASS GRAFT_THREAD_PER_INSTANCE
#endif
#ifndef RESERVED
#define RESERVED 0
#endif
#ifndef CREATE
#define CREATE create
#endif
#ifndef DESTROY
#define DESTROY destroy
#endif
#ifndef GET_INTERFACE
#define GET_INTERFACE get_interface
#endif
#ifndef VTABLE_SIZE
#define VTABLE_SIZE sizeof(graft_reward)
#endif
#ifndef SCORE
#define SCORE score
#endif

struct graft_instance_ {
  double bonus;
};

static const graft_str score_names[] = {GRAFT_STR("corpus")};
static const graft_reward_desc desc = {GRAFT_HDR(graft_reward_desc), score_names, 1, 0, 0.0, 1.0, NULL};

static graft_status describe(graft_instance *instance, const graft_reward_desc **out, graft_error *error) {
  (void)instance;
  (void)error;
  *out = &desc;
  return GRAFT_OK;
}

/* 0.5 for any text, plus the bonus for an empty one. */
static graft_status score(graft_instance *instance, const graft_reward_batch *batch,
                          const graft_reward_result *result, graft_error *error) {
  uint64_t i;
  (void)error;
  for (i = 0; i < batch->n_items; ++i) {
    result->scores[i] = 0.5 + (batch->items[i]->completion.len == 0 ? instance->bonus : 0.0);
  }
  return GRAFT_OK;
}

static const graft_reward vtable = {{(uint32_t)(VTABLE_SIZE), 0}, describe, SCORE};

static graft_status say(graft_error *error, graft_status status, const char *text) {
  if (error != NULL && error->capacity > 0) {
    error->length = (uint32_t)(strlen(text) < error->capacity ? strlen(text) : error->capacity - 1);
    memcpy(error->text, text, error->length);
    error->text[error->length] = '\0';
  }
  return status;
}

static graft_status create(const graft_component *self, const graft_host *host, graft_str params,
                           graft_instance **out, graft_error *error) {
  static const char key[] = "\"bonus\":";
  double bonus = -1.0;
  uint64_t i;
  graft_instance *made;
  (void)self;
  (void)host;
  for (i = 0; i + sizeof(key) < params.len; ++i) {
    if (memcmp(params.ptr + i, key, sizeof(key) - 1) == 0) {
      char number[32] = {0};
      const uint64_t left = params.len - i - (sizeof(key) - 1);
      memcpy(number, params.ptr + i + sizeof(key) - 1, left < 31 ? left : 31);
      bonus = strtod(number, NULL);
    }
  }
  if (!(bonus >= 0.0 && bonus <= 0.5)) {
    return say(error, GRAFT_E_INVALID_ARGUMENT, "bonus is out of range, expected 0 to 0.5");
  }
  made = malloc(sizeof(*made));
  if (made == NULL) return say(error, GRAFT_E_OUT_OF_MEMORY, "out of memory");
  made->bonus = bonus;
  *out = made;
  return GRAFT_OK;
}

static void destroy(graft_instance *instance) {
  free(instance);
}

static const void *get_interface(const graft_component *self, graft_str id) {
  static const char known[] = GRAFT_INTERFACE_REWARD;
  (void)self;
  return id.len == sizeof(known) - 1 && memcmp(id.ptr, known, id.len) == 0 ? &vtable : NULL;
}

static const graft_component first = {{(uint32_t)(COMPONENT_SIZE), 0},
                                      GRAFT_STR(KIND),
                                      GRAFT_STR(NAME),
                                      GRAFT_STR("1.2.3"),
                                      GRAFT_STR("a reward for tests"),
                                      GRAFT_STR(SCHEMA),
                                      THREAD_CLASS,
                                      RESERVED,
                                      CREATE,
                                      DESTROY,
                                      GET_INTERFACE};
static const graft_component second = {GRAFT_HDR(graft_component),
                                       GRAFT_STR(GRAFT_KIND_REWARD),
                                       GRAFT_STR("corpus_two"),
                                       GRAFT_STR("1.0.0"),
                                       GRAFT_STR("another one"),
                                       GRAFT_STR(SCHEMA),
                                       GRAFT_THREAD_PER_INSTANCE,
                                       0,
                                       create,
                                       destroy,
                                       get_interface};
static const graft_component *const components[] = {FIRST, &second};
static const graft_library library = {{(uint32_t)(LIBRARY_SIZE), 0}, COMPONENTS, N_COMPONENTS};

/* Some definitions leave these without a user. */
const void *corpus_unused(void);
const void *corpus_unused(void) {
  static const void *all[] = {&library, components, &first, &second, &vtable, NULL};
  return (void)create, (void)destroy, (void)get_interface, (void)score, all[5];
}

static graft_status init(const graft_host *host, const graft_library **out, graft_error *error) {
  (void)host;
  (void)error;
#ifdef INIT_FAILS
  return say(error, GRAFT_E_UNSUPPORTED, "needs a licence");
#endif
#ifdef INIT_CRASHES
  raise(SIGSEGV);
#endif
  *out = LIBRARY;
  return GRAFT_OK;
}

#ifdef CONSTRUCTOR
__attribute__((constructor)) static void constructor(void) {
  CONSTRUCTOR;
}
#endif

#ifdef UNDEFINED_SYMBOL
void no_such_function_anywhere(void);
void calls_undefined(void);
void calls_undefined(void) {
  no_such_function_anywhere();
}
#endif

#if defined(ENTRY_IS_DATA)
GRAFT_EXPORT const uint64_t graft_entry_data[64] __asm__(GRAFT_ENTRY_SYMBOL) = {1};
#elif !defined(NO_ENTRY)
static const graft_manifest manifest = {MAGIC,
                                        {(uint32_t)(MANIFEST_SIZE), MANIFEST_FLAGS},
                                        MAJOR,
                                        MINOR,
                                        MINOR_MIN,
                                        TIER,
                                        GRAFT_STR(LIBRARY_NAME),
                                        GRAFT_STR("0.1.0"),
                                        {NULL, 0},
                                        INIT};

const graft_manifest *graft_plugin_manifest_v1(void) {
#ifdef ENTRY_RETURNS_NULL
  (void)manifest;
  return NULL;
#else
  return &manifest;
#endif
}
#endif
