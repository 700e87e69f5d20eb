/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FIGURE_H
#define FIGURE_H

#include <stdint.h>

/*
 * What an instance of a filter counts, as a table: /metrics prints it with the instance's name as a label, /limits as JSON,
 * and the manual lists it. Labels are bounded by the configuration: names of instances, and the rows' own.
 */
struct histogram;

enum figure_type { FIGURE_COUNTER, FIGURE_GAUGE, FIGURE_HISTOGRAM };

struct figure {
    const char *name;                /* behind "weir_"; rows of one name stand together. NULL: the end */
    enum figure_type type;
    const char *label, *value;       /* one label more: refused_total{reason="queue_full"}; NULL: none */
    const char *help;                /* one sentence; of the first row of a name */
};

union figure_value {
    uint64_t n;                      /* of counters and gauges */
    const struct histogram *histogram;
};

#endif
