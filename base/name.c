// SPDX-License-Identifier: MIT
//
// Checks the names users give. Owns the list of words that the tree keeps for itself beside VMs,
// disks, chains and snapshots. Knows nothing of which VMs exist. Letters are ASCII letters in every
// locale.
#include "base/name.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define NAME_LENGTH_MAX (NAME_SIZE - 1)
#define QUOTE_SIZE (4 * 2 * NAME_SIZE)

// Every fixed name that can stand in vms/, vms/VM/ or vms/VM/DISK/, and those of the levels around
// them, so that a later tree can move them without meeting a VM of that name.
static const char *const reserved_words[] = {
    "README",      "active",    "backup",    "changes",    "control", "disk.qcow2", "disk.raw",
    "files",       "info.json", "jobs",      "last_error", "latest",  "metrics",    "protected",
    "report.html", "restore",   "retention", "source",     "status",  "cancel",     "log",
    "progress",    "state",     "wait",      "verify",     "vms",
};

static bool is_letter_or_digit(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool has_form(const char *name, const char *also)
{
    if (!is_letter_or_digit(name[0]))
        return false;
    for (const char *p = name + 1; *p; p++) {
        if (!is_letter_or_digit(*p) && !strchr(also, *p))
            return false;
    }
    return true;
}

// "chain-" and digits only: what the tree calls a disk's chains.
static bool is_chain_name(const char *name)
{
    static const char prefix[] = "chain-";
    if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
        return false;
    const char *digits = name + sizeof(prefix) - 1;
    return *digits != '\0' && digits[strspn(digits, "0123456789")] == '\0';
}

static bool is_reserved(const char *name)
{
    for (size_t i = 0; i < sizeof(reserved_words) / sizeof(reserved_words[0]); i++) {
        if (strcmp(name, reserved_words[i]) == 0)
            return true;
    }
    return is_chain_name(name);
}

// Copies a name for a sentence: control characters as \xNN, and no more of it than a reader needs.
static const char *quote(const char *name, char text[QUOTE_SIZE])
{
    size_t used = 0;
    const char *p = name;
    for (; *p && used < QUOTE_SIZE - 8; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < ' ' || c == 0x7f || c == '\\')
            used += (size_t)sprintf(text + used, "\\x%02x", c);
        else
            text[used++] = *p;
    }
    strcpy(text + used, *p ? "..." : "");
    return text;
}

static int check_length(const char *what, const char *name, struct error *err)
{
    char text[QUOTE_SIZE];
    if (name[0] == '\0')
        return error_set(err, -EINVAL, "%s name is empty", what);
    if (strnlen(name, NAME_SIZE) > NAME_LENGTH_MAX)
        return error_set(err, -ENAMETOOLONG, "%s name '%s' is longer than %d characters", what,
                         quote(name, text), NAME_LENGTH_MAX);
    return 0;
}

int name_check(const char *what, const char *name, struct error *err)
{
    char text[QUOTE_SIZE];
    int rc = check_length(what, name, err);
    if (rc < 0)
        return rc;
    if (!has_form(name, "_.-"))
        return error_set(err, -EINVAL,
                         "%s name '%s' may hold only letters, digits, '.', '_' and '-', and begins "
                         "with a letter or digit",
                         what, quote(name, text));
    if (is_reserved(name))
        return error_set(err, -EINVAL, "%s name '%s' is a word the tree uses for itself", what,
                         name);
    return 0;
}

int name_check_tag(const char *tag, struct error *err)
{
    char text[QUOTE_SIZE];
    if (tag[0] == '\0')
        return error_set(err, -EINVAL, "tag is empty");
    if (strnlen(tag, NAME_SIZE) > NAME_LENGTH_MAX)
        return error_set(err, -EINVAL, "tag '%s' is longer than %d characters", quote(tag, text),
                         NAME_LENGTH_MAX);
    if (!has_form(tag, "_.:-"))
        return error_set(err, -EINVAL,
                         "tag '%s' may hold only letters, digits, '.', '_', ':' and '-', and "
                         "begins with a letter or digit",
                         quote(tag, text));
    return 0;
}

int name_split_first(const char *what, const char *text, char ret_first[NAME_SIZE],
                     const char **ret_rest, struct error *err)
{
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    if (len > NAME_LENGTH_MAX)
        return error_set(err, -ENAMETOOLONG, "%s name '%.64s...' is longer than %d characters",
                         what, text, NAME_LENGTH_MAX);
    char first[NAME_SIZE];
    memcpy(first, text, len);
    first[len] = '\0';
    int rc = name_check(what, first, err);
    if (rc < 0)
        return rc;
    memcpy(ret_first, first, len + 1);
    *ret_rest = slash ? slash + 1 : NULL;
    return 0;
}
