/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir doc WORD`: one entry of the reference, for a terminal.
 *
 * A word is looked for as a whole path first, then as the last part of one, so that `burst` is enough where only one key has
 * that name. Where a file has names and indices (`upstreams.api.health`, `routes[0].match`), they are left out: what `weir show`
 * prints can be asked for as it stands.
 */
#include "conf/doc.h"

#include <stdio.h>
#include "conf/diag.h"
#include "conf/doc_form.h"
#include "conf/named.h"
#include "conf/schema.h"
#include "conf/yaml.h"
#include "http/parse.h"
#include "lib/page.h"
#include "reason.h"

#define WIDTH 96
#define FOUND_MAX 24

/* Text in lines of at most WIDTH, each behind so many blanks. */
static void wrapped_print(struct page *out, int indent, const char *text)
{
    size_t room = WIDTH - (size_t)indent;

    while (*text) {
        size_t len = strlen(text), end = len;
        if (len > room)
            for (end = room; end > 0 && text[end] != ' '; end--) {
            }
        if (end == 0)
            end = strcspn(text, " ");
        page_printf(out, "%*s%.*s\n", indent, "", (int)end, text);
        text += end + strspn(text + end, " ");
    }
}

static void row_print(struct page *out, int indent, const char *path, const struct field *f)
{
    struct page value = {0};

    doc_value(&value, f);
    if (f->required)
        page_printf(&value, "; required");
    else if (f->fallback)
        page_printf(&value, "; default `%s`", f->fallback);
    page_printf(out, "%*s%s\n", indent, "", path);
    wrapped_print(out, indent + 4, value.at);
    wrapped_print(out, indent + 4, f->help);
    page_free(&value);
}

static void rows_print(struct page *out, const char *path, const struct field *fields)
{
    for (const struct field *f = fields; f && f->type != FIELD_END; f++) {
        struct doc_path below = doc_path(path, f->key);
        page_printf(out, "\n");
        row_print(out, 2, below.text, f);
        rows_print(out, below.text, f->sub);
    }
}

static void filter_print(struct page *out, const struct filter *f)
{
    struct page about = {0};

    page_printf(&about, "%s ", f->help ? f->help : "");
    doc_places(&about, f);
    page_printf(out, "%s\n    filter\n", f->name);
    wrapped_print(out, 4, about.at);
    page_free(&about);
    rows_print(out, f->name, f->fields);
    rows_print(out, f->name, schema_common_fields);
}

static bool reason_print(struct page *out, struct str word)
{
    for (int r = 0; r < REASON_COUNT; r++) {
        enum reason reason = (enum reason)r;
        if (!str_eq(word, str_c(reason_name(reason))))
            continue;
        page_printf(out, "%s\n    reason why a request ended as it did", reason_name(reason));
        if (reason_status(reason))
            page_printf(out, "; answered with %d %s", reason_status(reason), reason_title(reason));
        page_printf(out, "\n");
        wrapped_print(out, 4, reason_detail(reason));
        return true;
    }
    return false;
}

/* What stands beside a reason in the access log when a message broke a rule. */
static bool fault_print(struct page *out, struct str word, const char *before)
{
    for (int f = FAULT_NONE + 1; f < FAULT_COUNT; f++) {
        enum http_fault fault = (enum http_fault)f;
        if (!str_eq(word, str_c(http_fault_name(fault))))
            continue;
        page_printf(out, "%s%s\n    fault of a message, in the access log beside the reason; of a request answered with %d, of an "
                    "answer with 502\n", before, http_fault_name(fault), http_fault_status(fault));
        wrapped_print(out, 4, http_fault_text(fault));
        return true;
    }
    return false;
}

/* "E012", "e12", "W1". */
static bool code_print(struct page *out, struct str word)
{
    const struct diag_meaning *m = diag_code_find(word);

    if (!m)
        return false;
    page_printf(out, "%s %s\n", diag_code_text(m->code).text, m->name);
    wrapped_print(out, 4, m->meaning);
    page_printf(out, "\n");
    wrapped_print(out, 4, m->remedy);
    return true;
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

static struct str first_part(struct str path)
{
    const char *dot = path.len ? memchr(path.at, '.', path.len) : NULL;
    return str_of(path.at, dot ? (size_t)(dot - path.at) : path.len);
}

static struct str behind(struct str path, struct str part)
{
    return part.len < path.len ? str_of(path.at + part.len + 1, path.len - part.len - 1) : STR("");
}

static struct str last_part(struct str path)
{
    for (struct str rest = path; rest.len; rest = behind(path, first_part(path)))
        path = rest;
    return path;
}

/* Without indices, and from the filter on where one stands in it: "routes[2].filters[0].headers.request" is
 * "headers.request", and so is "define.mine.headers.request". */
static struct str plain(struct str word, char *to, size_t cap)
{
    size_t n = 0, depth = 0;
    struct str s;

    for (size_t i = 0; i < word.len && n < cap; i++) {
        depth += word.at[i] == '[';
        if (depth == 0)
            to[n++] = word.at[i];
        depth -= depth > 0 && word.at[i] == ']';
    }
    s = str_of(to, n);
    for (struct str rest = s; rest.len; rest = behind(rest, first_part(rest)))
        if (str_eq(first_part(rest), STR("filters")) && behind(rest, first_part(rest)).len)
            return behind(rest, first_part(rest));
    if (str_eq(first_part(s), STR("define"))) {
        struct str named = behind(s, first_part(s)), in = behind(named, first_part(named));
        return in.len ? in : s;
    }
    return s;
}

struct search {
    struct str word;
    const char *named;               /* the section of names that the walk is in; NULL: none */
    struct doc_key found[FOUND_MAX]; /* those that are meant, or might be */
    struct doc_path paths[FOUND_MAX];
    size_t n;
    bool loose;                      /* only the last part of a path matters */
    bool whole;                      /* one was found by its whole path: it alone counts */
    struct nearest near;
    struct doc_path best;            /* what near.best points to, kept beyond the visit */
};

static void found_add(struct search *s, const struct doc_key *key)
{
    for (size_t i = 0; i < s->n; i++)
        if (key->field && s->found[i].field == key->field)
            return;                  /* `mode` of each filter is one row */
    if (s->n == FOUND_MAX)
        return;
    s->found[s->n] = *key;
    s->paths[s->n] = doc_path("", key->path);
    s->found[s->n].path = s->paths[s->n].text;
    s->n++;
}

static void near_try(struct search *s, struct str candidate)
{
    struct str before = s->near.best;

    nearest_try(&s->near, candidate);
    if (s->near.best.at != before.at && s->near.best.at == candidate.at) {
        (void)snprintf(s->best.text, sizeof(s->best.text), STR_FMT, STR_ARG(candidate));
        s->near.best = str_c(s->best.text);
    }
}

/* "upstreams.api.health" stands for "upstreams.health" if upstreams are named. */
static bool is_path(const struct search *s, struct str path)
{
    struct str first = first_part(s->word), name = behind(s->word, first), rest = behind(name, first_part(name));

    if (str_eq(s->word, path))
        return true;
    return s->named && str_eq(first, str_c(s->named)) && str_eq(first, first_part(path)) && rest.len &&
           str_eq(rest, behind(path, first));
}

static void key_visit(void *ctx, const struct doc_key *key)
{
    struct search *s = ctx;
    struct str path = str_c(key->path);

    if (key->field && doc_is_named(key->field) && !memchr(path.at, '.', path.len))
        s->named = key->field->key;
    if (s->whole)
        return;
    if (!s->loose && is_path(s, path)) {
        s->whole = true;
        s->n = 0;
        found_add(s, key);
        return;
    }
    if (str_eq(last_part(path), s->word))
        found_add(s, key);
    near_try(s, path);
    near_try(s, last_part(path));
}

static void key_print(struct page *out, const struct search *s, size_t i)
{
    const struct doc_key *key = &s->found[i];

    if (!key->field) {
        filter_print(out, key->filter);
        return;
    }
    row_print(out, 0, key->path, key->field);
    rows_print(out, key->path, key->field->sub);
    if (key->common)
        wrapped_print(out, 4, "Every filter has this option.");
}

/* Other keys of the same name. */
static void others_print(struct page *out, const struct doc_key *key, const struct filter *const *filters)
{
    struct search more = {.word = last_part(str_c(key->path)), .loose = true};
    const char *sep = "\nSee also ";

    doc_walk(filters, key_visit, &more);
    for (size_t i = 0; i < more.n; i++)
        if (more.found[i].field != key->field && !more.found[i].common) {
            page_printf(out, "%s%s", sep, more.paths[i].text);
            sep = ", ";
        }
    page_printf(out, "%s", *sep == ',' ? "\n" : "");
}

bool doc_word(struct page *out, const struct filter *const *filters, struct str word)
{
    char kept[DOC_PATH_CAP];
    struct search s = {.word = plain(word, kept, sizeof(kept))};

    if (reason_print(out, word) || code_print(out, word))
        return true;
    nearest_init(&s.near, s.word);
    doc_walk(filters, key_visit, &s);
    for (size_t i = 0; i < s.n; i++) {
        page_printf(out, "%s", i ? "\n" : "");
        key_print(out, &s, i);
    }
    if (s.n) {
        if (s.n == 1 && !s.found[0].common)
            others_print(out, &s.found[0], filters);
        (void)fault_print(out, word, "\n");
        return true;
    }
    if (fault_print(out, word, ""))
        return true;
    for (int r = 0; r < REASON_COUNT; r++)
        near_try(&s, str_c(reason_name((enum reason)r)));
    for (int f = FAULT_NONE + 1; f < FAULT_COUNT; f++)
        near_try(&s, str_c(http_fault_name((enum http_fault)f)));
    page_printf(out, "nothing is called \"%s\"%s\n", quoted(word).text, nearest_hint(&s.near).text);
    return false;
}
