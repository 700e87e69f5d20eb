/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a YAML file in the usual layout, line by line.
 *
 * layout.c says where each line belongs; here they are written there. A file is never made anew from its values: that
 * would lose comments, quotes, and how people group things. Lines are moved, and blanks changed where blanks mean nothing.
 *
 * Whether they mean nothing is proved and not argued: the result is parsed beside the original, event by event, and refused
 * unless both say the same, down to quotes and anchors.
 */
#include "conf/format.h"

#include <yaml.h>
#include "conf/diag.h"
#include "conf/layout.h"
#include "conf/source.h"

struct writing {
    struct format *out;
    const struct source *before;     /* as it was, but for its line's ends */
    const char *lines;               /* the memory that the layout's lines are in */
    char *at;                        /* end of what was written */
    size_t cap;                      /* of changes */
    bool blank;                      /* a blank line is owed */
    bool begun;
};

/* ---- reading ---- */

static int events_failed(struct diags *diags, const struct source *source, const yaml_parser_t *p)
{
    struct place at = {source, (unsigned)p->problem_mark.line + 1, (unsigned)p->problem_mark.column + 1, 0};
    return diag_error(diags, &at, CODE_not_yaml, "not valid YAML: %s", p->problem ? p->problem : "unknown error");
}

static void parser_open(yaml_parser_t *p, const struct source *source)
{
    check(yaml_parser_initialize(p));
    yaml_parser_set_encoding(p, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(p, (const unsigned char *)source->text.at, source->text.len);
}

static bool same_text(const yaml_char_t *a, const yaml_char_t *b)
{
    return str_eq(str_c((const char *)a), str_c((const char *)b)) && !a == !b;
}

static bool same_scalar(const yaml_event_t *a, const yaml_event_t *b)
{
    return a->data.scalar.style == b->data.scalar.style && same_text(a->data.scalar.anchor, b->data.scalar.anchor) &&
           same_text(a->data.scalar.tag, b->data.scalar.tag) &&
           str_eq(str_of((const char *)a->data.scalar.value, a->data.scalar.length),
                  str_of((const char *)b->data.scalar.value, b->data.scalar.length));
}

static bool same_event(const yaml_event_t *a, const yaml_event_t *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case YAML_SCALAR_EVENT:
        return same_scalar(a, b);
    case YAML_ALIAS_EVENT:
        return same_text(a->data.alias.anchor, b->data.alias.anchor);
    case YAML_SEQUENCE_START_EVENT:
        return a->data.sequence_start.style == b->data.sequence_start.style &&
               same_text(a->data.sequence_start.anchor, b->data.sequence_start.anchor) &&
               same_text(a->data.sequence_start.tag, b->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return a->data.mapping_start.style == b->data.mapping_start.style &&
               same_text(a->data.mapping_start.anchor, b->data.mapping_start.anchor) &&
               same_text(a->data.mapping_start.tag, b->data.mapping_start.tag);
    case YAML_DOCUMENT_START_EVENT:
        return a->data.document_start.implicit == b->data.document_start.implicit;
    case YAML_DOCUMENT_END_EVENT:
        return a->data.document_end.implicit == b->data.document_end.implicit;
    default:
        return true;
    }
}

/* Both say the same. Else the error points into the first of them. */
static int same_meaning(const struct source *before, const struct source *after, struct diags *diags)
{
    yaml_parser_t p, q;
    yaml_event_t a, b;
    int res = 0;
    parser_open(&p, before);
    parser_open(&q, after);
    for (bool end = false; res == 0 && !end;) {
        if (!yaml_parser_parse(&p, &a)) {
            res = events_failed(diags, before, &p);
            break;
        }
        end = a.type == YAML_STREAM_END_EVENT;
        bool other = yaml_parser_parse(&q, &b);
        if (!other || !same_event(&a, &b)) {
            struct place at = {before, (unsigned)a.start_mark.line + 1, (unsigned)a.start_mark.column + 1, 0};
            res = diag_error(diags, &at, CODE_not_yaml, "this cannot be laid out as usual without changing what it means; "
                             "write it in another way");
        }
        if (other)
            yaml_event_delete(&b);
        yaml_event_delete(&a);
    }
    yaml_parser_delete(&p);
    yaml_parser_delete(&q);
    return res;
}

static int is_yaml(const struct source *s, struct diags *diags) { return same_meaning(s, s, diags); }

/* ---- writing ---- */

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static void put(struct writing *w, struct str s)
{
    if (s.len)
        memcpy(w->at, s.at, s.len);
    w->at += s.len;
}

static void put_blanks(struct writing *w, size_t n)
{
    memset(w->at, ' ', n);
    w->at += n;
}

/* Without blanks at its end. Behind a backslash, which in a text in quotes makes the first of them count, they stay. */
static struct str trimmed(struct str s)
{
    size_t len = s.len;
    while (len > 0 && is_blank(s.at[len - 1]))
        len--;
    return len > 0 && s.at[len - 1] == '\\' ? s : str_of(s.at, len);
}

/* From byte `at` of the line: what is said, then the comment behind it. */
static void put_rest(struct writing *w, const struct layout_line *l, size_t at)
{
    struct str text = l->text;
    size_t code = l->open ? text.len : l->code, comment = code;
    while (comment < text.len && is_blank(text.at[comment]))
        comment++;
    if (comment == text.len || text.at[comment] != '#')
        code = comment = text.len;
    if (at < code)
        put(w, trimmed(str_of(text.at + at, code - at)));
    if (comment == text.len)
        return;
    if (code > 0)
        put_blanks(w, comment - code < 2 ? 2 : comment - code);
    put(w, trimmed(str_of(text.at + comment, text.len - comment)));
}

static size_t blanks_skip(const struct layout_line *l, size_t at)
{
    while (at < l->text.len && is_blank(l->text.at[at]))
        at++;
    return at;
}

static void put_entry(struct writing *w, const struct layout_line *l)
{
    size_t at = blanks_skip(l, 0), code = l->open ? l->text.len : l->code;
    put_blanks(w, l->to);
    for (unsigned i = 0; i < l->dashes; i++) {
        put(w, STR("-"));
        at = blanks_skip(l, at + 1);
        if (at < code)
            put(w, STR(" "));
    }
    put_rest(w, l, at < code ? at : code);
}

/* A line, without its end. */
static void put_line(struct writing *w, const struct layout_line *l)
{
    size_t at = blanks_skip(l, 0);
    switch (l->kind) {
    case LINE_BLANK:
        break;
    case LINE_COMMENT:
        put_blanks(w, l->to);
        put(w, trimmed(str_of(l->text.at + at, l->text.len - at)));
        break;
    case LINE_ENTRY:
        put_entry(w, l);
        break;
    case LINE_MORE:
        if (at == l->text.len)
            break;
        put_blanks(w, l->to);
        put_rest(w, l, at);
        break;
    case LINE_TEXT:
        if (l->text.len <= l->col)
            break;
        put_blanks(w, l->to);
        put(w, str_of(l->text.at + l->col, l->text.len - l->col));
        break;
    }
}

static void change_add(struct writing *w, unsigned line, struct str before, struct str after)
{
    struct format *f = w->out;
    if (f->n == w->cap) {
        struct format_change *old = f->v;
        w->cap = w->cap ? w->cap * 2 : 16;
        f->v = arena_alloc(&f->arena, w->cap * sizeof *f->v);
        if (f->n)
            memcpy(f->v, old, f->n * sizeof *f->v);
    }
    f->v[f->n++] = (struct format_change){line, before, after};
}

/* A blank line is only owed, until a line comes that it may stand before: so there is one at most, and none at the ends. */
static void line_write(struct writing *w, const struct layout_line *l, unsigned number)
{
    struct str before = str_of(w->before->text.at + (l->text.at - w->lines), l->text.len);
    if (l->kind == LINE_BLANK) {
        if (w->blank || !w->begun)
            change_add(w, number, before, (struct str){NULL, 0});
        else if (before.len > 0)
            change_add(w, number, before, STR(""));
        w->blank = w->begun;
        return;
    }
    if (w->blank)
        put(w, STR("\n"));
    char *from = w->at;
    put_line(w, l);
    struct str after = str_of(from, (size_t)(w->at - from));
    put(w, STR("\n"));
    w->blank = false;
    w->begun = true;
    if (!str_eq(before, after))
        change_add(w, number, before, after);
}

/* Bytes that suffice for the text. */
static size_t room(const struct layout *layout)
{
    size_t n = 1;
    for (size_t i = 0; i < layout->n; i++)
        n += layout->v[i].text.len + layout->v[i].dashes + 4 + (layout->v[i].kind == LINE_BLANK ? 0 : layout->v[i].to);
    return n;
}

static void layout_write(struct format *f, const struct layout *layout, const struct source *before, const char *lines)
{
    struct writing w = {.out = f, .before = before, .lines = lines};
    char *text = arena_alloc(&f->arena, room(layout));
    w.at = text;
    for (size_t i = 0; i < layout->n; i++)
        line_write(&w, &layout->v[i], (unsigned)i + 1);
    f->text = str_of(text, (size_t)(w.at - text));
    const struct layout_line *last = layout->n ? &layout->v[layout->n - 1] : NULL;
    /* One blank line at the end was taken for one between: it goes as well. */
    if (w.blank && (f->n == 0 || f->v[f->n - 1].line != layout->n))
        change_add(&w, (unsigned)layout->n, last->text, (struct str){NULL, 0});
    else if (w.blank)
        f->v[f->n - 1].after = (struct str){NULL, 0};
}

/* ---- the whole ---- */

/* Lines ended by LF alone, the last one too. */
static void lines_clean(struct format *f, struct str text, struct source *clean)
{
    char *to = arena_alloc(&f->arena, text.len + 2);
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool returns = text.at[i] == '\r' && i + 1 < text.len && text.at[i + 1] == '\n';
        f->returns |= returns;
        if (!returns)
            to[n++] = text.at[i];
    }
    f->cut = n > 0 && to[n - 1] != '\n';
    if (f->cut)
        to[n++] = '\n';
    clean->text = str_of(to, n);
}

/* A text behind | or > at the end of a file without a line feed has none at its own end either: so it stays. */
static void end_keep(struct format *f, const struct layout *layout)
{
    if (!f->cut || layout->v[layout->n - 1].kind != LINE_TEXT)
        return;
    f->text.len--;
    f->cut = false;
}

/* `raw`: as it was. */
static int lay_out(struct format *f, const struct source *raw, const struct source *clean, struct diags *diags)
{
    struct layout layout;
    char *copy = arena_strdup(&f->arena, clean->text);
    struct source lines = {clean->name, str_of(copy, clean->text.len)};
    if (layout_find(&layout, &f->arena, &lines, copy, diags) != 0)
        return -1;
    layout_write(f, &layout, clean, copy);
    end_keep(f, &layout);
    struct source after = {clean->name, f->text};
    return same_meaning(raw, &after, diags);
}

int format_make(struct format *f, struct str text, const char *name, struct diags *diags)
{
    struct source_why why;
    struct str behind = text;
    *f = (struct format){.n = 0};
    arena_init(&f->arena, NULL);
    struct source *clean = arena_zalloc(&f->arena, sizeof *clean);
    clean->name = name;
    int res = 0;
    if (source_check(&behind, &why) != SOURCE_FINE) {
        struct source raw = {name, behind};
        struct place at = {&raw, why.line, why.col, 0};
        res = diag_error(diags, &at, CODE_not_text, "%s", why.text);
    }
    if (res == 0) {
        f->mark = behind.len < text.len;
        lines_clean(f, behind, clean);
        const struct source raw = {name, behind};
        res = is_yaml(&raw, diags) != 0 ? -1 : lay_out(f, &raw, clean, diags);
    }
    if (res != 0)
        format_fini(f);
    return res;
}

void format_fini(struct format *f)
{
    arena_fini(&f->arena);
    *f = (struct format){.n = 0};
}

bool format_differs(const struct format *f) { return f->n > 0 || f->mark || f->returns || f->cut; }

void format_print(const struct format *f, size_t most, struct page *page)
{
    if (f->mark)
        page_printf(page, "  a byte order mark at the beginning\n");
    if (f->returns)
        page_printf(page, "  lines that end with CR LF\n");
    if (f->cut)
        page_printf(page, "  no line feed at the end\n");
    for (size_t i = 0; i < f->n && i < most; i++) {
        const struct format_change *c = &f->v[i];
        page_printf(page, "%6u -%s" STR_FMT "\n", c->line, c->before.len ? " " : "", STR_ARG(c->before));
        if (c->after.at)
            page_printf(page, "%6u +%s" STR_FMT "\n", c->line, c->after.len ? " " : "", STR_ARG(c->after));
    }
    if (f->n > most)
        page_printf(page, "       and %zu more lines\n", f->n - most);
}
