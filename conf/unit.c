/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers with units: integers only (percents may have two decimals), overflow checked, no floating point. A number
 * without a unit is refused, zero included: the reader of a file should not have to know what the unit would be.
 */
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include "lib/clock.h"

struct unit { const char *name; uint64_t size; };

static const struct unit sizes[] = {
    {"B", 1}, {"kB", 1000}, {"KiB", 1024}, {"MB", 1000000}, {"MiB", 1048576},
    {"GB", 1000000000}, {"GiB", 1073741824}, {NULL, 0},
};

static const struct unit durations[] = {
    {"us", 1000}, {"ms", NSEC_PER_MSEC}, {"s", NSEC_PER_SEC}, {"m", 60 * NSEC_PER_SEC}, {"h", 3600 * NSEC_PER_SEC},
    {NULL, 0},
};

static const struct unit periods[] = {
    {"s", NSEC_PER_SEC}, {"min", 60 * NSEC_PER_SEC}, {"h", 3600 * NSEC_PER_SEC}, {NULL, 0},
};

static const struct unit_fault too_large = {CODE_bounds, "is too large"};
static const struct unit_fault not_whole = {CODE_form, "is not a whole number; use a smaller unit"};

static struct str tail(struct str s, size_t from) { return str_of(s.at + from, s.len - from); }

static size_t digits(struct str s)
{
    size_t n = 0;
    while (n < s.len && s.at[n] >= '0' && s.at[n] <= '9')
        n++;
    return n;
}

static const struct unit *unit_find(const struct unit *units, struct str name)
{
    for (; units->name; units++)
        if (str_eq(str_c(units->name), name))
            return units;
    return NULL;
}

/* How a kind of value is spoken of. */
struct unit_faults { struct unit_fault no_number, no_unit, bad_unit; };

/* A number and one of the units behind it. */
static const struct unit_fault *with_unit(struct str s, const struct unit *units, const struct unit_faults *faults, uint64_t *out)
{
    size_t n = digits(s);
    uint64_t number;

    if (n == 0)
        return &faults->no_number;
    if (n == s.len)
        return &faults->no_unit;
    if (s.at[n] == '.')
        return &not_whole;
    const struct unit *u = unit_find(units, tail(s, n));
    if (!u)
        return &faults->bad_unit;
    if (!str_u64(str_of(s.at, n), &number) || number > UINT64_MAX / u->size)
        return &too_large;
    *out = number * u->size;
    return NULL;
}

/* 010 is eight to some, and ten to others. */
const struct unit_fault *unit_count(struct str s, uint64_t *out)
{
    static const struct unit_fault not_number = {CODE_number, "is not a whole number"};
    static const struct unit_fault zeros = {CODE_number, "begins with 0, which some read as octal"};

    if (s.len == 0 || digits(s) != s.len)
        return &not_number;
    if (s.len > 1 && s.at[0] == '0')
        return &zeros;
    return str_u64(s, out) ? NULL : &too_large;
}

const struct unit_fault *unit_size(struct str s, uint64_t *bytes)
{
    static const struct unit_faults faults = {
        {CODE_form, "is not a size; write it like 512B, 64KiB, 1MiB or 1GiB"},
        {CODE_no_unit, "has no unit; write it like 512B, 64KiB, 1MiB or 1GiB"},
        {CODE_form, "has no unit that is known; B, kB, KiB, MB, MiB, GB and GiB are"},
    };
    return with_unit(s, sizes, &faults, bytes);
}

const struct unit_fault *unit_duration(struct str s, uint64_t *ns)
{
    static const struct unit_faults faults = {
        {CODE_form, "is not a duration; write it like 250ms, 2s, 5m or 1h"},
        {CODE_no_unit, "has no unit; write it like 250ms, 2s, 5m or 1h"},
        {CODE_form, "has no unit that is known; us, ms, s, m and h are"},
    };
    return with_unit(s, durations, &faults, ns);
}

const struct unit_fault *unit_duration_range(struct str s, uint64_t ns[2])
{
    static const struct unit_fault form = {CODE_form, "is not a range of durations; write it like 100ms..2s"};
    static const struct unit_fault down = {CODE_form, "goes down; the smaller duration comes first"};
    const char *dots = s.len >= 2 ? memmem(s.at, s.len, "..", 2) : NULL;

    if (!dots)
        return &form;
    size_t first = (size_t)(dots - s.at);
    const struct unit_fault *wrong = unit_duration(str_of(s.at, first), &ns[0]);
    if (!wrong)
        wrong = unit_duration(tail(s, first + 2), &ns[1]);
    if (wrong)
        return wrong == &too_large ? wrong : &form;
    return ns[0] <= ns[1] ? NULL : &down;
}

const struct unit_fault *unit_percent(struct str s, uint32_t *hundredths)
{
    static const struct unit_fault form = {CODE_form, "is not a percentage; write it like 10% or 2.5%, with at most two decimals"};
    static const struct unit_fault no_unit = {CODE_no_unit, "has no unit; write it like 10% or 2.5%"};
    size_t whole = digits(s), decimals = 0;
    uint64_t number, fraction = 0;

    if (whole == 0)
        return &form;
    struct str rest = tail(s, whole);
    if (rest.len && rest.at[0] == '.') {
        rest = tail(rest, 1);
        decimals = digits(rest);
        if (decimals == 0 || decimals > 2 || !str_u64(str_of(rest.at, decimals), &fraction))
            return &form;
        rest = tail(rest, decimals);
    }
    if (rest.len == 0)
        return &no_unit;
    if (!str_eq(rest, STR("%")))
        return &form;
    if (!str_u64(str_of(s.at, whole), &number) || number > UINT32_MAX / 100 - 1)
        return &too_large;
    *hundredths = (uint32_t)(number * 100 + (decimals == 1 ? fraction * 10 : fraction));
    return NULL;
}

const struct unit_fault *unit_rate(struct str s, struct rate *out)
{
    static const struct unit_fault form = {CODE_form, "is not a rate; write it like 100/s, 6000/min or 10/h"};
    static const struct unit_fault no_unit = {CODE_no_unit, "has no unit; write it like 100/s, 6000/min or 10/h"};
    static const struct unit_fault over = {CODE_bounds, "is too large; at most 1000000/s"};
    static const struct unit_fault none = {CODE_bounds, "must be more than 0"};
    size_t n = digits(s);
    uint64_t tokens;

    if (n == 0)
        return &form;
    if (n == s.len)
        return &no_unit;
    const struct unit *u = s.at[n] == '/' ? unit_find(periods, tail(s, n + 1)) : NULL;
    if (!u)
        return &form;
    if (!str_u64(str_of(s.at, n), &tokens) || tokens > u->size / (NSEC_PER_SEC / RATE_MAX))
        return &over;
    if (tokens == 0)
        return &none;
    *out = (struct rate){.tokens = tokens, .period = u->size};
    return NULL;
}

/* With the largest of the units that leaves a whole number. */
static void format(const struct unit *units, uint64_t n, struct unit_text *out)
{
    const struct unit *best = NULL;
    for (const struct unit *u = units; u->name; u++)
        if (n % u->size == 0 && (n > 0 || u->size <= NSEC_PER_SEC))
            best = u;
    if (best)
        (void)snprintf(out->text, sizeof(out->text), "%" PRIu64 "%s", n / best->size, best->name);
    else
        (void)snprintf(out->text, sizeof(out->text), "%" PRIu64 "ns", n);
}

struct unit_text unit_text(enum field_type type, uint64_t n)
{
    /* Decimal multiples of bytes are read, but limits are spoken of in binary ones. */
    static const struct unit binary[] = {{"B", 1}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}, {NULL, 0}};
    struct unit_text out = {""};

    if (type == FIELD_SIZE && n == 0)
        (void)snprintf(out.text, sizeof(out.text), "0B");
    else if (type == FIELD_SIZE)
        format(binary, n, &out);
    else if (type == FIELD_DURATION || type == FIELD_DURATION_RANGE)
        format(durations, n, &out);
    else if (type == FIELD_PERCENT && n % 100)
        (void)snprintf(out.text, sizeof(out.text), "%" PRIu64 ".%02u%%", n / 100, (unsigned)(n % 100));
    else if (type == FIELD_PERCENT)
        (void)snprintf(out.text, sizeof(out.text), "%" PRIu64 "%%", n / 100);
    else
        (void)snprintf(out.text, sizeof(out.text), "%" PRIu64, n);
    return out;
}
