/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was probably meant by a number with a unit that was refused: other tools' spellings of units, a blank before the unit,
 * fractions, the number forms of YAML 1.1 and of programming languages.
 *
 * A guess is only told when the reader of that type takes it. It is never taken in place of what was written.
 */
#include <inttypes.h>
#include <stdio.h>
#include "conf/unit.h"

#define WORD_MAX 16

/* Compared in lower case. `times`: of the unit. */
struct alias { const char *word, *unit; unsigned times; };

static const struct alias durations[] = {
    {"us", "us", 1}, {"usec", "us", 1}, {"\xc2\xb5s", "us", 1}, {"micros", "us", 1}, {"ms", "ms", 1}, {"msec", "ms", 1},
    {"msecs", "ms", 1}, {"millis", "ms", 1}, {"milliseconds", "ms", 1}, {"s", "s", 1}, {"sec", "s", 1}, {"secs", "s", 1},
    {"second", "s", 1}, {"seconds", "s", 1}, {"m", "m", 1}, {"min", "m", 1}, {"mins", "m", 1}, {"minute", "m", 1},
    {"minutes", "m", 1}, {"h", "h", 1}, {"hr", "h", 1}, {"hrs", "h", 1}, {"hour", "h", 1}, {"hours", "h", 1}, {"d", "h", 24},
    {"day", "h", 24}, {"days", "h", 24}, {"w", "h", 168}, {"week", "h", 168}, {"weeks", "h", 168}, {NULL, NULL, 0},
};

static const struct alias sizes[] = {
    {"b", "B", 1}, {"byte", "B", 1}, {"bytes", "B", 1}, {"k", "KiB", 1}, {"kb", "KiB", 1}, {"kib", "KiB", 1}, {"m", "MiB", 1},
    {"mb", "MiB", 1}, {"mib", "MiB", 1}, {"g", "GiB", 1}, {"gb", "GiB", 1}, {"gib", "GiB", 1}, {"t", "GiB", 1024},
    {"tb", "GiB", 1024}, {"tib", "GiB", 1024}, {NULL, NULL, 0},
};

static const struct alias rates[] = {
    {"/s", "/s", 1}, {"/sec", "/s", 1}, {"/second", "/s", 1}, {"persecond", "/s", 1}, {"r/s", "/s", 1}, {"req/s", "/s", 1},
    {"rps", "/s", 1}, {"/m", "/min", 1}, {"/min", "/min", 1}, {"/minute", "/min", 1}, {"perminute", "/min", 1}, {"r/m", "/min", 1},
    {"req/min", "/min", 1}, {"rpm", "/min", 1}, {"/h", "/h", 1}, {"/hr", "/h", 1}, {"/hour", "/h", 1}, {"perhour", "/h", 1},
    {"r/h", "/h", 1}, {NULL, NULL, 0},
};

static const struct alias percents[] = {{"%", "%", 1}, {"percent", "%", 1}, {"pct", "%", 1}, {"percents", "%", 1}, {NULL, NULL, 0}};

/* ---- a number and a word ---- */

struct parts {
    uint64_t number, fraction;       /* the fraction's digits, */
    unsigned decimals;               /* and how many they are */
    char word[WORD_MAX];             /* what follows, in lower case, without blanks */
};

static uint64_t power10(unsigned n)
{
    uint64_t p = 1;
    while (n-- > 0)
        p *= 10;
    return p;
}

static size_t digits(struct str s)
{
    size_t n = 0;
    while (n < s.len && s.at[n] >= '0' && s.at[n] <= '9')
        n++;
    return n;
}

static void skip(struct str *s, size_t n) { *s = str_of(s->at + n, s->len - n); }

static bool split(struct str s, struct parts *p)
{
    size_t n = digits(s), len = 0;

    *p = (struct parts){.number = 0};
    if (n == 0 || n > 15 || !str_u64(str_of(s.at, n), &p->number))
        return false;
    skip(&s, n);
    if (s.len > 1 && s.at[0] == '.' && (n = digits(str_of(s.at + 1, s.len - 1))) > 0 && n <= 6) {
        p->decimals = (unsigned)n;
        if (!str_u64(str_of(s.at + 1, n), &p->fraction))
            return false;
        skip(&s, n + 1);
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] == ' ' || s.at[i] == '\t')
            continue;
        if (len == sizeof(p->word) - 1)
            return false;
        p->word[len++] = str_lower(s.at[i]);
    }
    return true;
}

static const struct alias *alias_find(const struct alias *a, const char *word)
{
    for (; a->word; a++)
        if (!strcmp(a->word, word))
            return a;
    return NULL;
}

/* A fraction in the largest smaller unit that makes a whole number of it. */
static bool fraction_write(enum field_type type, const struct alias *a, const struct parts *p, char *out, size_t cap)
{
    char one[24];
    uint64_t size = 0, parts;

    (void)snprintf(one, sizeof(one), "%u%s", a->times, a->unit);
    const struct unit_fault *fault = type == FIELD_SIZE ? unit_size(str_c(one), &size) : unit_duration(str_c(one), &size);
    if (fault || p->fraction > UINT64_MAX / size || p->number > UINT64_MAX / size / 2)
        return false;
    parts = p->fraction * size;
    if (parts % power10(p->decimals) != 0)
        return false;
    (void)snprintf(out, cap, "%s", unit_text(type, p->number * size + parts / power10(p->decimals)).text);
    return true;
}

static bool quantity(enum field_type type, const struct alias *aliases, struct str s, char *out, size_t cap)
{
    struct parts p;
    if (!split(s, &p))
        return false;
    const struct alias *a = alias_find(aliases, p.word);
    if (!a)
        return false;
    if (p.decimals)
        return type != FIELD_RATE && fraction_write(type, a, &p, out, cap);
    (void)snprintf(out, cap, "%" PRIu64 "%s", p.number * a->times, a->unit);
    return true;
}

/* "10 percent"; "0.1" for 10%. */
static bool percent(struct str s, char *out, size_t cap)
{
    struct parts p;
    if (!split(s, &p))
        return false;
    if (p.word[0] == '\0' && p.number == 0 && p.decimals > 0 && p.decimals <= 4) {
        uint64_t n = p.fraction * power10(4 - p.decimals);
        (void)snprintf(out, cap, "%s", unit_text(FIELD_PERCENT, n).text);
        return true;
    }
    if (!alias_find(percents, p.word))
        return false;
    if (p.decimals)
        (void)snprintf(out, cap, "%" PRIu64 ".%0*" PRIu64 "%%", p.number, (int)p.decimals, p.fraction);
    else
        (void)snprintf(out, cap, "%" PRIu64 "%%", p.number);
    return true;
}

static bool based(struct str s, unsigned base, uint64_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = str_lower(s.at[i]);
        unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
        if (digit >= base || n > UINT64_MAX / 16 - 1)
            return false;
        n = n * base + digit;
    }
    *out = n;
    return s.len > 0;
}

/* 1_000, 1,000, 1e3, 0x10, 0o17, 0777. */
static bool count(struct str s, char *out, size_t cap)
{
    char plain[24];
    size_t len = 0, n = digits(s);
    uint64_t number, exponent;

    if (s.len > 2 && s.at[0] == '0' && (based(str_of(s.at + 2, s.len - 2), 16, &number)) && str_lower(s.at[1]) == 'x')
        return snprintf(out, cap, "%" PRIu64, number) > 0;
    if (s.len > 2 && s.at[0] == '0' && str_lower(s.at[1]) == 'o' && based(str_of(s.at + 2, s.len - 2), 8, &number))
        return snprintf(out, cap, "%" PRIu64, number) > 0;
    if (n > 0 && n < s.len && str_lower(s.at[n]) == 'e' && str_u64(str_of(s.at, n), &number) &&
        str_u64(str_of(s.at + n + 1, s.len - n - 1), &exponent) && exponent < 15 && number < 100000)
        return snprintf(out, cap, "%" PRIu64, number * power10((unsigned)exponent)) > 0;
    for (size_t i = 0; i < s.len; i++) {
        bool separator = s.at[i] == '_' || s.at[i] == ',' || s.at[i] == '\'' || s.at[i] == ' ';
        if ((separator && i == 0) || len == sizeof(plain))
            return false;
        if (!separator && !(s.at[i] == '0' && len == 0 && i + 1 < s.len))
            plain[len++] = s.at[i];
    }
    (void)snprintf(out, cap, "%.*s", (int)len, plain);
    return len > 0;
}

static bool duration(struct str s, char *out, size_t cap)
{
    uint64_t ns;
    if (!unit_duration(s, &ns))
        return snprintf(out, cap, STR_FMT, STR_ARG(s)) > 0;
    return quantity(FIELD_DURATION, durations, s, out, cap);
}

/* Two durations, whatever is between them. */
static bool range(struct str s, char *out, size_t cap)
{
    static const struct str between[] = {{"...", 3}, {"..", 2}, {" to ", 4}, {"-", 1}, {"~", 1}, {":", 1}};
    char from[32], to[32];

    for (size_t i = 0; i < array_len(between); i++) {
        const char *at = s.len > between[i].len ? memmem(s.at, s.len, between[i].at, between[i].len) : NULL;
        if (!at)
            continue;
        struct str first = str_trim(str_of(s.at, (size_t)(at - s.at)));
        struct str second = str_trim(str_of(at + between[i].len, s.len - (size_t)(at - s.at) - between[i].len));
        if (!duration(first, from, sizeof(from)) || !duration(second, to, sizeof(to)))
            return false;
        (void)snprintf(out, cap, "%s..%s", from, to);
        return true;
    }
    return false;
}

/* Does the reader take it? */
static bool is_taken(enum field_type type, struct str s)
{
    uint64_t v[2];
    uint32_t share;
    struct rate rate;

    switch (type) {
    case FIELD_COUNT: return !unit_count(s, v);
    case FIELD_SIZE: return !unit_size(s, v);
    case FIELD_DURATION: return !unit_duration(s, v);
    case FIELD_DURATION_RANGE: return !unit_duration_range(s, v);
    case FIELD_PERCENT: return !unit_percent(s, &share);
    case FIELD_RATE: return !unit_rate(s, &rate);
    default: return false;
    }
}

static bool guess(enum field_type type, struct str s, char *out, size_t cap)
{
    switch (type) {
    case FIELD_COUNT: return count(s, out, cap);
    case FIELD_SIZE: return quantity(FIELD_SIZE, sizes, s, out, cap);
    case FIELD_DURATION: return duration(s, out, cap);
    case FIELD_DURATION_RANGE: return range(s, out, cap);
    case FIELD_PERCENT: return percent(s, out, cap);
    case FIELD_RATE: return quantity(FIELD_RATE, rates, s, out, cap);
    default: return false;
    }
}

struct unit_hint unit_hint(enum field_type type, struct str s)
{
    struct unit_hint h = {""};
    char meant[72];

    s = str_trim(s);
    if (s.len > 0 && s.len <= 40 && guess(type, s, meant, sizeof(meant)) && is_taken(type, str_c(meant)))
        (void)snprintf(h.text, sizeof(h.text), "; did you mean \"%s\"?", meant);
    return h;
}
