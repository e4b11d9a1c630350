// SPDX-License-Identifier: MIT
//
// Makes two blocks collide under XXH3: `collide SECRET BLOCK OTHER`. SECRET is "default" (that of
// XXH3 without a secret) or 384 hexadecimal digits. BLOCK gives the content, in which two words are
// changed; OTHER is written. Fails unless the library says that both have the same hash, of 64 bits
// and of 128.
#include "tests/unit/xxh3_pair.h"

#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define DIFFERENCE 0x00c0ffee

static int take_secret(const char *text, uint8_t secret[XXH3_PAIR_SECRET_SIZE])
{
    if (strcmp(text, "default") == 0) {
        xxh3_default_secret(secret);
        return 0;
    }
    for (size_t i = 0; i < XXH3_PAIR_SECRET_SIZE; i++) {
        if (sscanf(text + 2 * i, "%2hhx", &secret[i]) != 1)
            return -1;
    }
    return strlen(text) == 2 * XXH3_PAIR_SECRET_SIZE ? 0 : -1;
}

static int write_block(const char *path, const uint8_t *bytes, size_t len)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    return fd >= 0 && write(fd, bytes, len) == (ssize_t)len ? 0 : -1;
}

int main(int argc, char **argv)
{
    uint8_t secret[XXH3_PAIR_SECRET_SIZE];
    AUTO_FREE char *block = NULL;
    AUTO_FREE uint8_t *other = NULL;
    size_t len;

    if (argc != 4 || take_secret(argv[1], secret) < 0 ||
        io_read_file(argv[2], 1 << 24, &block, &len, NULL) < 0 || len <= 1024 ||
        !(other = malloc(len)))
        return 2;
    xxh3_pair_make((uint8_t *)block, other, len, secret, DIFFERENCE);
    if (!xxh3_pair_collides((uint8_t *)block, other, len, secret)) {
        fprintf(stderr, "collide: the blocks do not collide\n");
        return 1;
    }
    return write_block(argv[2], (uint8_t *)block, len) < 0 || write_block(argv[3], other, len) < 0;
}
