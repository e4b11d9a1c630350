// SPDX-License-Identifier: MIT
//
// The text of `config`. Promises that what it accepts is exactly what repo_config_format() would
// write: after the values are read they are formatted again and compared byte by byte, so there is
// one way to write a config and no way to have two readings of one.
#include "fs/store/repo_config.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/io.h"
#include "fs/store/pack_format.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <uuid/uuid.h>

#define CONFIG_SIZE_MAX 16384
#define LEVEL_MIN 1
#define LEVEL_MAX 19
#define FEATURE_DELTA "delta"

static bool chunk_size_ok(uint64_t size)
{
    return size >= CHUNK_SIZE_MIN && size <= CHUNK_SIZE_MAX && (size & (size - 1)) == 0;
}

int repo_config_init(struct repo_config *config, uint32_t chunk_size, int compression_level,
                     struct error *err)
{
    struct repo_config fresh = {.version = REPO_FORMAT_VERSION, .deltas = true};
    uuid_t uuid;

    if (!chunk_size_ok(chunk_size))
        return error_set(err, -EINVAL,
                         "chunk size %" PRIu32 " is not a power of two from 16 KiB to 4 MiB",
                         chunk_size);
    if (compression_level < LEVEL_MIN || compression_level > LEVEL_MAX)
        return error_set(err, -EINVAL, "compression level %d is not from %d to %d",
                         compression_level, LEVEL_MIN, LEVEL_MAX);
    fresh.chunk_size = chunk_size;
    fresh.compression_level = compression_level;
    strcpy(fresh.retention, "none");
    uuid_generate_random(uuid);
    uuid_unparse_lower(uuid, fresh.uuid);
    // Up to 256 bytes come whole or not at all.
    if (getrandom(fresh.fingerprint_secret, sizeof(fresh.fingerprint_secret), 0) !=
        (ssize_t)sizeof(fresh.fingerprint_secret))
        return error_set_errno(err, -errno, "cannot get random bytes");
    // The file keeps whole seconds; so does what a fresh config says of itself.
    fresh.created_at = clock_now() / CLOCK_SECOND * CLOCK_SECOND;
    *config = fresh;
    return 0;
}

char *repo_config_format(const struct repo_config *config)
{
    char created[CLOCK_ISO_SIZE];
    char secret[2 * FINGERPRINT_SECRET_SIZE + 1];
    AUTO_FREE char *body = NULL;
    char *text;
    int len;

    for (size_t i = 0; i < FINGERPRINT_SECRET_SIZE; i++)
        sprintf(secret + 2 * i, "%02x", config->fingerprint_secret[i]);
    len = asprintf(&body,
                   "format %" PRIu32 "\n"
                   "uuid %s\n"
                   "created %s\n"
                   "chunk_size %" PRIu32 "\n"
                   "compression_level %d\n"
                   "features %s\n"
                   "retention %s\n"
                   "fingerprint_secret %s\n",
                   config->version, config->uuid, clock_to_iso(config->created_at, created),
                   config->chunk_size, config->compression_level,
                   config->deltas ? FEATURE_DELTA : "-", config->retention, secret);
    if (len < 0) {
        body = NULL;
        return NULL;
    }
    if (asprintf(&text, "%schecksum %016" PRIx64 "\n", body, pack_checksum(body, (size_t)len)) < 0)
        return NULL;
    return text;
}

// A line's value: "key value\n" at *text. False when the next line has another key.
static bool take_value(const char **text, const char *key, char *ret_value, size_t size)
{
    size_t key_len = strlen(key);
    const char *end = strchr(*text, '\n');
    size_t len;

    if (!end || strncmp(*text, key, key_len) != 0 || (*text)[key_len] != ' ')
        return false;
    len = (size_t)(end - *text) - key_len - 1;
    if (len == 0 || len >= size)
        return false;
    memcpy(ret_value, *text + key_len + 1, len);
    ret_value[len] = '\0';
    *text = end + 1;
    return true;
}

static bool is_printable(const char *text)
{
    for (; *text; text++) {
        if (*text < ' ' || *text > '~')
            return false;
    }
    return true;
}

// Decimal digits only: no sign, no blanks. The comparison at the end refuses leading zeros.
static bool take_number(const char **text, const char *key, uint64_t max, uint64_t *ret_number)
{
    char value[24];
    uint64_t number = 0;

    if (!take_value(text, key, value, sizeof(value)))
        return false;
    for (const char *p = value; *p; p++) {
        if (*p < '0' || *p > '9' || number > (max - (uint64_t)(*p - '0')) / 10)
            return false;
        number = number * 10 + (uint64_t)(*p - '0');
    }
    *ret_number = number;
    return true;
}

static bool take_secret(const char **text, uint8_t secret[FINGERPRINT_SECRET_SIZE])
{
    char value[2 * FINGERPRINT_SECRET_SIZE + 1];

    if (!take_value(text, "fingerprint_secret", value, sizeof(value)) ||
        strspn(value, "0123456789abcdef") != 2 * FINGERPRINT_SECRET_SIZE)
        return false;
    for (size_t i = 0; i < FINGERPRINT_SECRET_SIZE; i++) {
        unsigned byte;

        if (sscanf(value + 2 * i, "%2x", &byte) != 1)
            return false;
        secret[i] = (uint8_t)byte;
    }
    return true;
}

// The lines after `format`, up to the checksum. Returns the key that is wrong, NULL when none is.
static const char *take_fields(const char *text, struct repo_config *config, char features[1024])
{
    char created[CLOCK_ISO_SIZE];
    uint64_t chunk_size, level;

    if (!take_value(&text, "uuid", config->uuid, sizeof(config->uuid)))
        return "uuid";
    if (!take_value(&text, "created", created, sizeof(created)) ||
        clock_parse(created, 0, &config->created_at) < 0)
        return "created";
    if (!take_number(&text, "chunk_size", UINT32_MAX, &chunk_size) || !chunk_size_ok(chunk_size))
        return "chunk_size";
    if (!take_number(&text, "compression_level", LEVEL_MAX, &level) || level < LEVEL_MIN)
        return "compression_level";
    if (!take_value(&text, "features", features, 1024))
        return "features";
    if (!take_value(&text, "retention", config->retention, sizeof(config->retention)) ||
        !is_printable(config->retention))
        return "retention";
    if (!take_secret(&text, config->fingerprint_secret))
        return "fingerprint_secret";
    config->chunk_size = (uint32_t)chunk_size;
    config->compression_level = (int)level;
    return NULL;
}

// The last line is "checksum HEX" over everything before it.
static bool checksum_ok(const char *text, size_t len)
{
    char expected[sizeof("checksum 0123456789abcdef\n")];
    size_t last = sizeof(expected) - 1;

    if (len < last)
        return false;
    snprintf(expected, sizeof(expected), "checksum %016" PRIx64 "\n",
             pack_checksum(text, len - last));
    return memcmp(text + len - last, expected, last) == 0;
}

static int parse_text(const char *text, size_t len, struct repo_config *config, struct error *err)
{
    const char *rest = text;
    char features[1024];
    const char *wrong;
    uint64_t version;

    // The version comes first: a newer format may differ in everything after it.
    if (!take_number(&rest, "format", UINT32_MAX, &version) || version == 0)
        return error_set(err, -ERROR_CORRUPT, "its first line does not tell the format");
    if (version > REPO_FORMAT_VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "repository format %" PRIu64 " is newer than this program knows (%d)",
                         version, REPO_FORMAT_VERSION);
    if (!checksum_ok(text, len))
        return error_set(err, -ERROR_CORRUPT, "its checksum does not match");
    config->version = (uint32_t)version;
    wrong = take_fields(rest, config, features);
    if (wrong)
        return error_set(err, -ERROR_CORRUPT, "%s is missing, misplaced or wrong", wrong);
    config->deltas = strcmp(features, FEATURE_DELTA) == 0;
    if (!config->deltas && strcmp(features, "-") != 0)
        return error_set(err, -EPROTONOSUPPORT, "the repository needs features unknown here: %s",
                         features);
    return 0;
}

int repo_config_parse(const char *text, size_t len, struct repo_config *ret_config,
                      struct error *err)
{
    struct repo_config config = {0};
    AUTO_FREE char *copy = NULL;
    AUTO_FREE char *again = NULL;
    uuid_t uuid;
    int r;

    if (len > CONFIG_SIZE_MAX || memchr(text, '\0', len))
        return error_set(err, -ERROR_CORRUPT, "it is not the text of a config");
    copy = strndup(text, len); // ends in a NUL, whatever the caller's buffer does
    if (!copy)
        return error_set(err, -ENOMEM, "out of memory for a config");
    r = parse_text(copy, len, &config, err);
    if (r < 0)
        return r;
    again = repo_config_format(&config);
    if (!again)
        return error_set(err, -ENOMEM, "out of memory for a config");
    if (uuid_parse(config.uuid, uuid) != 0 || strcmp(copy, again) != 0)
        return error_set(err, -ERROR_CORRUPT, "it is not as this program writes it");
    *ret_config = config;
    return 0;
}

int repo_config_load(const char *repo_dir, struct repo_config *ret_config, struct error *err)
{
    struct error local = ERROR_INIT;
    AUTO_FREE char *path = NULL;
    AUTO_FREE char *text = NULL;
    size_t len;
    int r;

    if (asprintf(&path, "%s/config", repo_dir) < 0) {
        path = NULL;
        return error_set(err, -ENOMEM, "out of memory for a path");
    }
    r = io_read_file(path, CONFIG_SIZE_MAX, &text, &len, &local);
    if (r == -ENOENT || r == -ENOTDIR)
        return error_set(err, -ENOENT, "%s is not a backtree repository", repo_dir);
    if (r == -EFBIG)
        return error_set(err, -ERROR_CORRUPT, "%s is damaged: it is too long", path);
    if (r < 0)
        return error_set(err, r, "%s", error_message(&local));
    r = repo_config_parse(text, len, ret_config, &local);
    if (r == -ERROR_CORRUPT)
        return error_set(err, r, "%s is damaged: %s", path, error_message(&local));
    if (r < 0)
        return error_set(err, r, "%s: %s", path, error_message(&local));
    return 0;
}
