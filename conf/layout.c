/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout of a YAML file, from libyaml's tokens.
 *
 * Tokens say where things are; what lies between them is blanks, line ends and comments. Block collections are a stack of
 * levels, each with the column it has and the one it gets. The first token of a line says what the line is: an entry of
 * the innermost level, or a value below its key, which stands a level deeper. Whatever spans lines in another way (a text, a
 * flow collection) moves as one with the token that begins it.
 *
 * A list directly below its key, at the key's column, is no collection to libyaml's scanner, but to people it is: it gets a
 * level when its first dash comes and loses it with the key that follows.
 *
 * A comment belongs to the line that follows, unless it is deeper than that line and in line with a level that is still open
 * before it, or stands where a value is still to come: then it was meant for those.
 *
 * Not done here: whether the document means anything. Nothing is checked of what this finds; format.c compares the result.
 */
#include "conf/layout.h"

#include <stdint.h>
#include <yaml.h>
#include "conf/diag.h"
#include "lib/mem.h"

enum { STEP = 2, UNPLACED = UINT32_MAX };

struct level {
    unsigned col, to;
    bool list;
    bool bare;                       /* a list at its key's column */
};

struct scan {
    yaml_parser_t parser;
    const struct source *source;
    struct diags *diags;
    char *text;
    struct layout *out;
    size_t *starts;                  /* of lines: offset of the first byte */
    struct level *levels;
    size_t n, cap;
    size_t chars, bytes;             /* a place in the text in both measures, at the last token's end */
    size_t begun;                    /* lines with tokens so far: their number, 0-based, plus one */
    int64_t shift;                   /* how far what stands at the last token moves */
    bool dash;                       /* the last token was a dash, with nothing but dashes before it in its line */
    unsigned dash_to;                /* where that is to be */
    bool awaited;                    /* a value is still to come */
    unsigned flow;                   /* how deep in [] and {} */
    size_t flow_line;
    int64_t flow_shift;
};

/* ---- levels ---- */

static const struct level *top(const struct scan *s) { return s->n ? &s->levels[s->n - 1] : NULL; }

static unsigned below(const struct scan *s) { return s->n ? s->levels[s->n - 1].to + STEP : 0; }

static void level_push(struct scan *s, size_t col, bool list, bool bare)
{
    struct level l = {(unsigned)col, below(s), list, bare};
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 16;
        s->levels = mem_realloc(s->levels, s->cap * sizeof *s->levels);
    }
    check(s->levels != NULL);
    s->levels[s->n++] = l;
}

static void level_pop(struct scan *s)
{
    check(s->n > 0);
    s->n--;
}

static void bare_end(struct scan *s)
{
    if (s->n > 0 && s->levels[s->n - 1].bare)
        s->n--;
}

/* ---- comments ---- */

static unsigned comment_to(const struct scan *s, unsigned col)
{
    for (size_t i = s->n; i > 0; i--)
        if (s->levels[i - 1].col == col)
            return s->levels[i - 1].to;
    return s->awaited && top(s) && col > top(s)->col ? below(s) : UNPLACED;
}

/* Comments between the last token's line and `line`: what they are in line with, as long as that is known. */
static void comments_meet(struct scan *s, size_t line)
{
    for (; s->begun < line; s->begun++) {
        struct layout_line *l = &s->out->v[s->begun];
        if (l->kind == LINE_COMMENT)
            l->to = comment_to(s, l->col);
    }
}

/* Those that are not placed, and those less deep than what follows, go with what follows. From the end. */
static void comments_place(struct layout *out)
{
    unsigned col = 0, to = 0;
    for (size_t i = out->n; i > 0; i--) {
        struct layout_line *l = &out->v[i - 1];
        if (l->kind == LINE_ENTRY) {
            col = l->col;
            to = l->to;
        } else if (l->kind == LINE_COMMENT && (l->to == UNPLACED || l->col <= col)) {
            l->to = to;
        }
    }
}

/* ---- lines ---- */

static unsigned moved(unsigned col, int64_t shift, unsigned least)
{
    int64_t to = (int64_t)col + shift;
    return to < (int64_t)least ? least : (unsigned)to;
}

/* Lines that go on with what moves by `shift`. */
static void lines_follow(struct scan *s, size_t first, size_t last, int64_t shift, unsigned least)
{
    for (size_t i = first; i <= last && i < s->out->n; i++) {
        struct layout_line *l = &s->out->v[i];
        if (l->kind != LINE_BLANK || l->within)
            l->kind = LINE_MORE;
        l->to = moved(l->col, shift, least);
    }
}

/* Puts a token where it belongs if it is the first of its line: at `to`; behind a dash: two columns on. */
static void token_place(struct scan *s, const yaml_token_t *t, unsigned to)
{
    size_t line = t->start_mark.line, col = t->start_mark.column;
    bool dash = t->type == YAML_BLOCK_ENTRY_TOKEN, first = line >= s->begun;
    if (s->flow > 0)
        return;
    if (first) {
        struct layout_line *l = &s->out->v[line];
        l->kind = LINE_ENTRY;
        l->to = to;
        s->begun = line + 1;
        s->shift = (int64_t)to - (int64_t)col;
        s->dash_to = to;
    } else if (s->dash) {
        s->dash_to += STEP;
        s->shift = (int64_t)s->dash_to - (int64_t)col;
    }
    dash = dash && (first || s->dash);
    s->out->v[line].dashes += dash;
    s->dash = dash;
}

static size_t offset_of(struct scan *s, size_t chars)
{
    check(chars >= s->chars);
    while (s->chars < chars && s->source->text.len > s->bytes) {
        do
            s->bytes++;
        while (s->bytes < s->source->text.len && ((unsigned char)s->text[s->bytes] & 0xc0) == 0x80);
        s->chars++;
    }
    return s->bytes;
}

static void tabs_replace(struct scan *s, size_t from, size_t to)
{
    for (; from < to; from++)
        if (s->text[from] == '\t')
            s->text[from] = ' ';
}

/* The gap before a token has no tabs from now on; where the token ends is noted. */
static void token_note(struct scan *s, const yaml_token_t *t)
{
    size_t gap = s->bytes, last = t->end_mark.line;
    if (t->end_mark.index == t->start_mark.index)
        return;
    tabs_replace(s, gap, offset_of(s, t->start_mark.index));
    size_t end = offset_of(s, t->end_mark.index);
    if (last < s->out->n)
        s->out->v[last].code = (unsigned)(end - s->starts[last]);
    if (last >= s->begun)
        s->begun = last + 1;
}

/* ---- texts ---- */

static bool is_block(const yaml_token_t *t)
{
    return t->type == YAML_SCALAR_TOKEN && (t->data.scalar.style == YAML_LITERAL_SCALAR_STYLE ||
                                            t->data.scalar.style == YAML_FOLDED_SCALAR_STYLE);
}

/* A text over several lines, plain or in quotes. */
static void text_spread(struct scan *s, const yaml_token_t *t)
{
    size_t first = t->start_mark.line, last = t->end_mark.line;
    for (size_t i = first; i <= last; i++) {
        s->out->v[i].open = i < last;
        s->out->v[i].within = i > first;
    }
    lines_follow(s, first + 1, last, s->shift, s->flow ? 0 : below(s));
}

/* The digit of "|2-", 0 when there is none; *keep: there is a "+". Returns the header's length. */
static unsigned header_read(const char *at, unsigned *digit, bool *keep)
{
    unsigned n = 1;
    *digit = 0;
    *keep = false;
    for (;; n++) {
        if (at[n] >= '1' && at[n] <= '9')
            *digit = (unsigned)(at[n] - '0');
        else if (at[n] == '+')
            *keep = true;
        else if (at[n] != '-')
            return n;
    }
}

/* A text behind | or >, whose lines end before that of the end mark. Blank lines at its end are part of it behind "+" only. */
static void text_block(struct scan *s, const yaml_token_t *t)
{
    size_t first = t->start_mark.line + 1, end = t->end_mark.line;
    unsigned digit, col = 0;
    bool keep;
    struct layout_line *head = &s->out->v[first - 1];
    head->code = (unsigned)(s->bytes - s->starts[first - 1]);
    head->code += header_read(s->text + s->bytes, &digit, &keep);
    if (digit)
        col = digit + (s->n ? top(s)->col : 0);
    for (size_t i = first; i < end && !digit && !col; i++)
        if (s->out->v[i].col < s->out->v[i].text.len)
            col = s->out->v[i].col;
    if (!col)
        col = UNPLACED;              /* nothing but blank lines, whatever blanks they hold */
    while (!keep && end > first && s->out->v[end - 1].text.len <= col)
        end--;
    for (size_t i = first; i < end; i++) {
        struct layout_line *l = &s->out->v[i];
        l->kind = LINE_TEXT;
        l->col = col;
        l->to = digit ? digit + (s->n ? top(s)->to : 0) : s->n ? below(s) : STEP;
        l->code = (unsigned)l->text.len;
    }
    if (end > s->begun)
        s->begun = end;
}

static void text_token(struct scan *s, const yaml_token_t *t)
{
    token_place(s, t, below(s));
    if (is_block(t)) {
        size_t gap = s->bytes;
        tabs_replace(s, gap, offset_of(s, t->start_mark.index));
        text_block(s, t);
    } else if (t->end_mark.line > t->start_mark.line) {
        text_spread(s, t);
    }
}

/* ---- tokens ---- */

static void entry_token(struct scan *s, const yaml_token_t *t)
{
    if (s->flow == 0 && t->type != YAML_BLOCK_ENTRY_TOKEN)
        bare_end(s);
    else if (s->flow == 0 && !(top(s) && top(s)->list))
        level_push(s, t->start_mark.column, true, true);
    token_place(s, t, top(s) ? top(s)->to : 0);
}

static void flow_token(struct scan *s, const yaml_token_t *t, bool begins)
{
    if (begins) {
        token_place(s, t, below(s));
        if (s->flow++ == 0) {
            s->flow_line = t->start_mark.line;
            s->flow_shift = s->shift;
        }
    } else if (s->flow > 0 && --s->flow == 0) {
        lines_follow(s, s->flow_line + 1, t->end_mark.line, s->flow_shift, 0);
    }
}

static void token_take(struct scan *s, const yaml_token_t *t)
{
    comments_meet(s, t->start_mark.line < s->out->n ? t->start_mark.line : s->out->n);
    switch (t->type) {
    case YAML_BLOCK_SEQUENCE_START_TOKEN:
    case YAML_BLOCK_MAPPING_START_TOKEN:
        level_push(s, t->start_mark.column, t->type == YAML_BLOCK_SEQUENCE_START_TOKEN, false);
        return;
    case YAML_BLOCK_END_TOKEN:
        bare_end(s);
        level_pop(s);
        return;
    case YAML_KEY_TOKEN:
    case YAML_VALUE_TOKEN:
    case YAML_BLOCK_ENTRY_TOKEN:
        entry_token(s, t);
        break;
    case YAML_FLOW_SEQUENCE_START_TOKEN:
    case YAML_FLOW_MAPPING_START_TOKEN:
    case YAML_FLOW_SEQUENCE_END_TOKEN:
    case YAML_FLOW_MAPPING_END_TOKEN:
        flow_token(s, t, t->type == YAML_FLOW_SEQUENCE_START_TOKEN || t->type == YAML_FLOW_MAPPING_START_TOKEN);
        break;
    case YAML_SCALAR_TOKEN:
        text_token(s, t);
        break;
    case YAML_NO_TOKEN:
    case YAML_STREAM_START_TOKEN:
    case YAML_STREAM_END_TOKEN:
        return;
    default:                         /* a tag, an anchor, an alias, a comma, a document's marks */
        token_place(s, t, below(s));
    }
}

/* `awaited` is about what follows the token, and texts behind | end elsewhere than their token does. */
static void token_after(struct scan *s, const yaml_token_t *t)
{
    s->awaited = t->type == YAML_VALUE_TOKEN || t->type == YAML_BLOCK_ENTRY_TOKEN;
    if (is_block(t))
        offset_of(s, t->end_mark.index);
    else
        token_note(s, t);
}

/* ---- all of it ---- */

static void lines_split(struct scan *s, struct arena *arena)
{
    struct str text = s->source->text;
    struct layout *out = s->out;
    size_t cap = 0;
    for (size_t i = 0; i < text.len; i++)
        cap += text.at[i] == '\n';
    out->v = arena_zalloc(arena, (cap + 1) * sizeof *out->v);
    s->starts = arena_alloc(arena, (cap + 1) * sizeof *s->starts);
    out->n = 0;
    for (size_t at = 0; at < text.len;) {
        const char *end = memchr(s->text + at, '\n', text.len - at);
        size_t len = (end ? (size_t)(end - s->text) : text.len) - at;
        struct layout_line *l = &out->v[out->n];
        l->text = str_of(s->text + at, len);
        while (l->col < len && s->text[at + l->col] == ' ')
            l->col++;
        size_t ink = l->col;
        while (ink < len && (s->text[at + ink] == '\t' || s->text[at + ink] == ' '))
            ink++;
        l->kind = ink == len ? LINE_BLANK : LINE_COMMENT;    /* until a token says else */
        l->to = UNPLACED;
        s->starts[out->n++] = at;
        at += len + 1;
    }
}

static int scan_failed(struct scan *s)
{
    const yaml_parser_t *p = &s->parser;
    struct place at = {s->source, (unsigned)p->problem_mark.line + 1, (unsigned)p->problem_mark.column + 1, 0};
    return diag_error(s->diags, &at, CODE_not_yaml, "not valid YAML: %s", p->problem ? p->problem : "unknown error");
}

/* "? key" would make levels that nobody writes, and the loader takes no such key. */
static int key_check(struct scan *s, const yaml_token_t *t)
{
    struct place at = {s->source, (unsigned)t->start_mark.line + 1, (unsigned)t->start_mark.column + 1, 0};
    if (t->type != YAML_KEY_TOKEN || t->end_mark.index == t->start_mark.index)
        return 0;
    return diag_error(s->diags, &at, CODE_yaml_feature, "a key behind \"?\" is not supported; write it before its colon");
}

static int scan_all(struct scan *s)
{
    int res = 0;
    for (bool end = false; !end && res == 0;) {
        yaml_token_t t;
        if (!yaml_parser_scan(&s->parser, &t))
            return scan_failed(s);
        res = key_check(s, &t);
        end = t.type == YAML_STREAM_END_TOKEN || t.type == YAML_NO_TOKEN;
        token_take(s, &t);
        token_after(s, &t);
        yaml_token_delete(&t);
    }
    tabs_replace(s, s->bytes, s->source->text.len);
    comments_meet(s, s->out->n);
    comments_place(s->out);
    return res;
}

int layout_find(struct layout *out, struct arena *arena, const struct source *source, char *text, struct diags *diags)
{
    struct scan s = {.source = source, .diags = diags, .text = text, .out = out};
    check(source->text.at == text);
    lines_split(&s, arena);
    check(yaml_parser_initialize(&s.parser));
    yaml_parser_set_encoding(&s.parser, YAML_UTF8_ENCODING);
    /* The scanner reads ahead of what is changed here, and only tabs between tokens it has given are. */
    yaml_parser_set_input_string(&s.parser, (const unsigned char *)text, source->text.len);
    int res = scan_all(&s);
    yaml_parser_delete(&s.parser);
    mem_free(s.levels);
    return res;
}
