// SPDX-License-Identifier: MIT
//
// The text of `config`. When the input begins with 'R', its last line is replaced by the right
// checksum. There is one way to write a config: what is accepted is what would be written.
#include "fs/store/repo_config.h"
#include "fs/store/pack_format.h"
#include "tests/fuzz/fuzz.h"

#include <inttypes.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct repo_config config;
    struct error err = ERROR_INIT;
    char text[20000];

    if (size < 1 || size > sizeof(text) - 64)
        return 0;
    bool repair = data[0] == 'R';
    size_t len = size - 1;
    memcpy(text, data + 1, len);
    if (repair)
        len += (size_t)sprintf(text + len, "checksum %016" PRIx64 "\n", pack_checksum(text, len));
    memset(&config, 0xa5, sizeof(config));
    int r = repo_config_parse(text, len, &config, &err);
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST(fuzz_all(&config, sizeof(config), 0xa5));
        return 0;
    }
    char *again = repo_config_format(&config);
    MUST(again && strlen(again) == len && memcmp(again, text, len) == 0);
    free(again);
    return 0;
}
