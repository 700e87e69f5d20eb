/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of errors, as a compiler gives them.
 *
 * Everything is copied when it is added, the quoted line too, so that a list outlives the configuration that it is about.
 * What is kept is bounded; what is over it costs a counter, so that a file in which everything is wrong is refused as fast as
 * a good one is read. Places come mostly in order: a line is looked for from where the last one was found.
 *
 * Columns are characters. The caret stands below its character as far as that can be known: tabs are repeated, wide and
 * combining characters counted as terminals do.
 */
#include "conf/diag.h"

#include <limits.h>
#include <stdio.h>

#define QUOTE_MAX 120        /* characters of a line that are shown */
#define QUOTE_BEFORE 60      /* of them before the place, when the line is longer */
#define LINE_MAX_LEN 65536   /* bytes of a line that is looked into: of a longer one nothing is quoted */
#define TEXT_MAX 600         /* bytes of a text */

const struct diag_meaning diag_meanings[] = {
#define ERROR(number, name, meaning, remedy) {CODE_##name, #name, meaning, remedy},
#define WARNING(number, name, meaning, remedy) {CODE_##name, #name, meaning, remedy},
#include "conf/codes.def"
#undef ERROR
#undef WARNING
    {CODE_none, NULL, NULL, NULL},
};

static bool is_warning(enum diag_code code) { return code > DIAG_WARNING; }

struct diag_code_text diag_code_text(enum diag_code code)
{
    struct diag_code_text t;
    unsigned number = is_warning(code) ? (unsigned)code - DIAG_WARNING : (unsigned)code;
    (void)snprintf(t.text, sizeof(t.text), "%c%03u", is_warning(code) ? 'W' : 'E', number % 1000);
    return t;
}

const struct diag_meaning *diag_code_find(struct str s)
{
    uint64_t number;
    char kind = s.len ? str_lower(s.at[0]) : '\0';

    if ((kind != 'e' && kind != 'w') || !str_u64(str_of(s.at + 1, s.len - 1), &number) || number == 0 || number >= 1000)
        return NULL;
    for (const struct diag_meaning *m = diag_meanings; m->code != CODE_none; m++)
        if ((uint64_t)m->code == number + (kind == 'w' ? DIAG_WARNING : 0))
            return m;
    return NULL;
}

void diags_fini(struct diags *d)
{
    arena_fini(&d->arena);
    *d = (struct diags){.n = 0};
}

static unsigned file_order(struct diags *d, const char *name, const char **kept)
{
    struct diag_file **at = &d->files;
    unsigned order = 0;

    for (; *at && strcmp((*at)->name, name) != 0; at = &(*at)->next)
        order++;
    if (!*at) {
        *at = arena_zalloc(&d->arena, sizeof(**at));
        (*at)->name = arena_strdup(&d->arena, str_c(name));
    }
    *kept = (*at)->name;
    return order;
}

void diags_file(struct diags *d, const char *name)
{
    const char *kept;
    (void)file_order(d, name, &kept);
}

/* ---- the quoted line ---- */

/* Lines end with LF, as source_check() counts them: what else could end one is refused. */
static bool line_find(struct diags *d, const struct source *source, unsigned line, struct str *out)
{
    struct str s = source->text;

    if (d->seek.source != source || d->seek.line > line || d->seek.line == 0) {
        d->seek.source = source;
        d->seek.offset = str_starts(s, STR("\xef\xbb\xbf")) ? 3 : 0;
        d->seek.line = 1;
    }
    for (; d->seek.line < line; d->seek.line++) {
        const char *end = memchr(s.at + d->seek.offset, '\n', s.len - d->seek.offset);
        if (!end)
            return false;
        d->seek.offset = (size_t)(end - s.at) + 1;
    }
    size_t left = s.len - d->seek.offset;
    const char *from = s.at + d->seek.offset, *end = memchr(from, '\n', left < LINE_MAX_LEN ? left : LINE_MAX_LEN);
    if (!end && left > LINE_MAX_LEN)
        return false;
    *out = str_of(from, end ? (size_t)(end - from) : left);
    out->len -= out->len > 0 && from[out->len - 1] == '\r';
    return true;
}

/* The next character; what is no UTF-8 is taken byte by byte. */
static unsigned char_next(struct str s, size_t *i)
{
    unsigned char c = (unsigned char)s.at[*i];
    size_t len = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;
    unsigned rune = len == 1 ? c : c & (0x7fu >> len);

    if (*i + len > s.len)
        len = 1;
    for (size_t k = 1; k < len; k++) {
        if (((unsigned char)s.at[*i + k] & 0xc0) != 0x80) {
            len = 1;
            break;
        }
        rune = rune << 6 | ((unsigned char)s.at[*i + k] & 0x3f);
    }
    *i += len;
    return len == 1 ? c : rune;
}

/* How many columns a terminal gives it. */
static unsigned columns(unsigned rune)
{
    static const struct { unsigned from, to, columns; } odd[] = {
        {0x300, 0x36f, 0}, {0x200b, 0x200f, 0}, {0xfe00, 0xfe0f, 0}, {0x1100, 0x115f, 2}, {0x2e80, 0xa4cf, 2},
        {0xac00, 0xd7a3, 2}, {0xf900, 0xfaff, 2}, {0xfe30, 0xfe6f, 2}, {0xff00, 0xff60, 2}, {0xffe0, 0xffe6, 2},
        {0x1f300, 0x1faff, 2}, {0x20000, 0x3fffd, 2},
    };
    for (size_t i = 0; i < array_len(odd); i++)
        if (rune >= odd[i].from && rune <= odd[i].to)
            return odd[i].columns;
    return 1;
}

/* The part of a line that is shown. */
struct quote {
    struct str line;
    unsigned from, to;               /* characters, 0-based */
    char shown[QUOTE_MAX * 4 + 16], below[QUOTE_MAX * 2 + 16];
    size_t shown_len, below_len;
};

static unsigned chars_of(struct str s)
{
    unsigned n = 0;
    for (size_t i = 0; i < s.len; n++)
        (void)char_next(s, &i);
    return n;
}

static void quote_put(struct quote *q, const char *text, size_t len)
{
    memcpy(q->shown + q->shown_len, text, len);
    q->shown_len += len;
}

static void below_put(struct quote *q, char c, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        q->below[q->below_len++] = c;
}

/* One character of the shown part, and what stands below it. */
static void quote_char(struct quote *q, unsigned at, size_t offset, size_t len, unsigned rune, const struct diag *d)
{
    bool control = rune < ' ' || rune == 0x7f || (rune >= 0x80 && rune < 0xa0) || (len == 1 && rune >= 0x80);
    unsigned first = d->col - 1, wide = rune == '\t' || control ? 1 : columns(rune);

    if (control && rune != '\t')
        quote_put(q, "?", 1);
    else
        quote_put(q, q->line.at + offset, len);
    if (at < first)
        below_put(q, rune == '\t' ? '\t' : ' ', wide);
    else if (at == first)
        below_put(q, '^', 1), below_put(q, '~', wide > 1 ? wide - 1 : 0);
    else if (at < first + d->width)
        below_put(q, '~', wide);
}

static void quote_make(struct quote *q, const struct diag *d)
{
    unsigned n = chars_of(q->line), at = 0;
    size_t next;

    q->from = n > QUOTE_MAX && d->col > QUOTE_BEFORE ? d->col - QUOTE_BEFORE : 0;
    q->to = n - q->from > QUOTE_MAX ? q->from + QUOTE_MAX : n;
    if (q->from > 0) {
        quote_put(q, "...", 3);
        below_put(q, ' ', 3);
    }
    for (size_t i = 0; i < q->line.len && at < q->to; i = next, at++) {
        next = i;
        unsigned rune = char_next(q->line, &next);
        if (at >= q->from)
            quote_char(q, at, i, next - i, rune, d);
    }
    if (q->to < n)
        quote_put(q, "...", 3);
    if (d->col > n)
        below_put(q, '^', 1);        /* behind the last character: something is missing there */
}

static void quote_line(struct diags *list, struct diag *d, const struct source *source)
{
    struct quote q = {.from = 0};

    if (d->line == 0 || !source->text.at || !line_find(list, source, d->line, &q.line))
        return;
    if (d->col > chars_of(q.line) + 1)
        return;
    quote_make(&q, d);
    d->quote = arena_strdup(&list->arena, str_of(q.shown, q.shown_len));
    d->caret = arena_strdup(&list->arena, str_of(q.below, q.below_len));
}

/* ---- adding ---- */

static int compare(unsigned a, unsigned b) { return (a > b) - (a < b); }

static int by_place(const struct diag *a, const struct diag *b)
{
    int res = compare(a->order, b->order);
    if (!res)
        res = compare(a->line, b->line);
    return res ? res : compare(a->col, b->col);
}

static bool is_same(const struct diag *a, const struct diag *b)
{
    return by_place(a, b) == 0 && a->code == b->code && !strcmp(a->text, b->text);
}

/* Where it belongs: behind all that stand before it or at the same place. */
static size_t place_in(const struct diags *d, const struct diag *one)
{
    size_t i = d->n;
    while (i > 0 && by_place(d->v[i - 1], one) > 0)
        i--;
    return i;
}

static bool is_known(const struct diags *d, const struct diag *one, size_t before)
{
    while (before > 0 && by_place(d->v[before - 1], one) == 0)
        if (is_same(d->v[--before], one))
            return true;
    return false;
}

bool diags_has(const struct diags *d, const struct place *place, enum diag_code code)
{
    for (size_t i = d->n; i > 0; i--) {
        const struct diag *one = d->v[i - 1];
        if (one->code == code && one->line == place->line && one->col == place->col && !strcmp(one->file, place->source->name))
            return true;
    }
    return false;
}

static void insert(struct diags *d, const struct diag *one, const struct source *source)
{
    size_t at = place_in(d, one);

    if (is_known(d, one, at)) {
        *(one->warning ? &d->warnings : &d->errors) -= 1;
        return;
    }
    struct diag *kept = arena_zalloc(&d->arena, sizeof(*kept));
    *kept = *one;
    kept->text = arena_strdup(&d->arena, str_c(one->text));
    if (source)
        quote_line(d, kept, source);
    memmove(&d->v[at + 1], &d->v[at], (d->n - at) * sizeof(struct diag *));
    d->v[at] = kept;
    d->n++;
}

void diag_add(struct diags *d, const struct place *place, enum diag_code code, const char *fmt, va_list ap)
{
    const struct source *source = place ? place->source : NULL;
    struct diag one = {.code = code, .warning = is_warning(code), .order = UINT_MAX, .file = ""};
    size_t *count = one.warning ? &d->warnings : &d->errors;
    char text[TEXT_MAX];

    if (++*count > DIAGS_MAX)
        return;
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    one.text = text;
    if (source) {
        one.order = file_order(d, source->name, &one.file);
        one.line = place->line;
        one.col = place->line > 0 && place->col == 0 ? 1 : place->col;
        one.width = place->width;
    }
    insert(d, &one, source);
}

int diag_error(struct diags *d, const struct place *place, enum diag_code code, const char *fmt, ...)
{
    va_list ap;
    check(!is_warning(code));
    va_start(ap, fmt);
    diag_add(d, place, code, fmt, ap);
    va_end(ap);
    return -1;
}

void diag_warn(struct diags *d, const struct place *place, enum diag_code code, const char *fmt, ...)
{
    va_list ap;
    check(is_warning(code));
    va_start(ap, fmt);
    diag_add(d, place, code, fmt, ap);
    va_end(ap);
}

/* ---- telling ---- */

static size_t more_of(size_t all) { return all > DIAGS_MAX ? all - DIAGS_MAX : 0; }

static void print_one(const struct diag *d, struct page *out)
{
    if (d->file[0] && d->line > 0)
        page_printf(out, "%s:%u:%u: ", d->file, d->line, d->col);
    else if (d->file[0])
        page_printf(out, "%s: ", d->file);
    page_printf(out, "%s %s: %s\n", d->warning ? "warning" : "error", diag_code_text(d->code).text, d->text);
    if (d->quote)
        page_printf(out, "%5u | %s\n      | %s\n", d->line, d->quote, d->caret);
}

void diags_print(const struct diags *d, struct page *out)
{
    for (size_t i = 0; i < d->n; i++)
        print_one(d->v[i], out);
    if (more_of(d->errors))
        page_printf(out, "and %zu more errors\n", more_of(d->errors));
    if (more_of(d->warnings))
        page_printf(out, "and %zu more warnings\n", more_of(d->warnings));
}

void diags_print_kind(const struct diags *d, bool warnings, struct page *out)
{
    size_t more = more_of(warnings ? d->warnings : d->errors);
    for (size_t i = 0; i < d->n; i++)
        if (d->v[i]->warning == warnings)
            print_one(d->v[i], out);
    if (more)
        page_printf(out, "and %zu more %s\n", more, warnings ? "warnings" : "errors");
}

static void json_one(const struct diag *d, struct page *out)
{
    page_printf(out, "{\"code\":\"%s\",\"severity\":\"%s\"", diag_code_text(d->code).text, d->warning ? "warning" : "error");
    if (d->file[0]) {
        page_printf(out, ",\"file\":");
        page_json(out, str_c(d->file));
    }
    if (d->file[0] && d->line > 0)
        page_printf(out, ",\"line\":%u,\"column\":%u,\"width\":%u", d->line, d->col, d->width > 0 ? d->width : 1);
    page_printf(out, ",\"text\":");
    page_json(out, str_c(d->text));
    if (d->quote) {
        page_printf(out, ",\"source\":");
        page_json(out, str_c(d->quote));
    }
    page_printf(out, "}");
}

void diags_json(const struct diags *d, struct page *out)
{
    size_t more = more_of(d->errors) + more_of(d->warnings);

    page_printf(out, "[");
    for (size_t i = 0; i < d->n; i++) {
        page_printf(out, i ? ",\n " : "");
        json_one(d->v[i], out);
    }
    if (more)
        page_printf(out, ",\n {\"more\":%zu}", more);
    page_printf(out, "]\n");
}

void diags_withhold(struct diags *d, bool (*may_see)(void *ctx, const char *file), void *ctx)
{
    for (size_t i = 0; i < d->n; i++) {
        struct diag *one = d->v[i];
        if (!one->file[0] || may_see(ctx, one->file))
            continue;
        one->text = "it is told to whoever runs `weir check` where the file is, for no part of what runs is in it";
        one->quote = one->caret = NULL;
    }
}

struct diags_count diags_count(const struct diags *d)
{
    struct diags_count c = {""};
    int len = 0;

    if (d->errors)
        len = snprintf(c.text, sizeof(c.text), "%zu error%s", d->errors, d->errors == 1 ? "" : "s");
    if (d->warnings)
        (void)snprintf(c.text + len, sizeof(c.text) - (size_t)len, "%s%zu warning%s", len ? ", " : "", d->warnings,
                       d->warnings == 1 ? "" : "s");
    return c;
}
