// SPDX-License-Identifier: MIT
//
// One map node. A node has exactly one encoding: what decodes must encode to the same bytes. What
// is refused leaves the result alone.
#include "fs/store/map.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct map_node node;
    struct error err = ERROR_INIT;
    uint8_t again[MAP_NODE_MAX];

    memset(&node, 0xa5, sizeof(node));
    int r = map_node_decode(data, size, &node, &err);
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST(fuzz_all(&node, sizeof(node), 0xa5));
        return 0;
    }
    MUST(node.level <= MAP_LEVEL_MAX);
    MUST(map_node_encode(&node, again) == size && memcmp(again, data, size) == 0);
    return 0;
}
