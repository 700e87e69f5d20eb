/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filters.def as an array. Nothing registers itself at run time: what is in the binary is what this table says.
 */
#include "filter.h"

#define FILTER(name) extern const struct filter filter_##name;
#include "filters/filters.def"
#undef FILTER

const struct filter *const filters_all[] = {
#define FILTER(name) &filter_##name,
#include "filters/filters.def"
#undef FILTER
    NULL,
};
