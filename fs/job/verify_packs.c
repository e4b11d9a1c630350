// SPDX-License-Identifier: MIT
//
// Verification by packs: every record of every pack, or of a share of them. The index of each pack
// is looked at too, for a rebuild needs it.
#include "fs/job/verify_state.h"

int verify_packs(struct verify *verify, struct error *err)
{
    const struct snapshot_filter all = {0};
    const struct verify_words *words = &verify->words;
    struct prove_pass pass = {.store = verify->engine->repository.store,
                              .catalog = verify->engine->repository.catalog,
                              .pool = verify->run->pool,
                              .indexes = true,
                              .stop = verify_stop,
                              .take = verify_take_slice,
                              .arg = verify};
    uint64_t total = 0;
    int r = 0;

    verify->by_packs = true;
    // Of everything, the maps are a part. Snapshots first: what they refer to is in packs that are
    // listed then.
    if (!words->percent && !words->parts && !words->proved_before)
        r = verify_list_snapshots(verify, &all, err);
    if (r == 0)
        r = verify_list_packs(verify, err);
    if (r < 0)
        return r;
    pass.packs = verify->packs;
    pass.pack_count = verify_select(words, verify->packs, verify->pack_count);
    for (size_t i = 0; i < pass.pack_count; i++)
        total += verify->packs[i].file_bytes;
    atomic_store(&verify->run->total_bytes, total);
    return verify_prove(verify, &pass, err);
}
