// SPDX-License-Identifier: MIT
//
// The repository's `config`: identity, format version, feature flags and choices made by init.
// Text, one `key value` a line, ended by a checksum line; written once, by init, as its last step:
// a folder with a valid config is a repository. docs/FORMAT.md lists the keys.
#ifndef FS_STORE_REPO_CONFIG_H
#define FS_STORE_REPO_CONFIG_H

#include "base/error.h"
#include "catalog/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPO_FORMAT_VERSION 1
#define FINGERPRINT_SECRET_SIZE 192 // XXH3_SECRET_DEFAULT_SIZE
#define CHUNK_SIZE_MIN (16u * 1024)
#define CHUNK_SIZE_MAX (4u * 1024 * 1024)
#define CHUNK_SIZE_DEFAULT (64u * 1024) // measured: docs/ARCHITECTURE.md, Deltas
#define COMPRESSION_LEVEL_DEFAULT 1     // zstd levels 1 … 19

struct repo_config {
    uint32_t version;
    char uuid[UUID_TEXT_SIZE];
    uint32_t chunk_size;   // bytes, for disks added from now on; a power of two
    int compression_level; // zstd
    // Words of the policy of VMs that have none of their own, as init was told: for a catalog that
    // is made anew. What they mean is not this room's business.
    char retention[RETENTION_TEXT_SIZE];
    uint8_t fingerprint_secret[FINGERPRINT_SECRET_SIZE];
    int64_t created_at; // ns
    bool deltas;        // chunks may be stored as deltas: the feature "delta"
};

// Fills a new config: fresh uuid and secret (getrandom), deltas, retention "none". -EINVAL with a
// sentence for a chunk size or level out of range.
int repo_config_init(struct repo_config *config, uint32_t chunk_size, int compression_level,
                     struct error *err);

// Parses `len` bytes. -EPROTONOSUPPORT for a newer version or an unknown feature flag,
// -ERROR_CORRUPT for anything else that is not exactly a config (missing or repeated key, bad
// number, wrong checksum).
int repo_config_parse(const char *text, size_t len, struct repo_config *ret_config,
                      struct error *err);

// The text of a config, malloc'ed, NUL-terminated. NULL: out of memory.
char *repo_config_format(const struct repo_config *config);

// Reads DIR/config. -ENOENT "DIR is not a backtree repository" when there is none (or DIR is
// missing).
int repo_config_load(const char *repo_dir, struct repo_config *ret_config, struct error *err);

#endif
