/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a configuration: loads, or is refused with a text; never crashes, leaks or runs without bound.
 */
#include <stdint.h>
#include "conf/shared.h"
#include "conf/snapshot.h"
#include "filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct shared_set *shared = shared_set_new();
    struct snapshot *snap = NULL;
    struct err err = {.text = ""};

    if (snapshot_load_text(str_of((const char *)data, size), "fuzz.yaml", filters_all, shared, 1, &snap, &err) == 0)
        snapshot_unref(&snap);
    else
        check(err.text[0] != '\0');
    shared_set_free(shared);
    return 0;
}
