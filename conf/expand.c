/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ${VAR} and ${file:...} in scalars.
 *
 * Expansion comes after parsing, scalar by scalar: a value can never become YAML, so a secret that holds ": " or a
 * quote is harmless. What is put in is bounded by the scalar's own cap; whatever may be wrong is an error, never an
 * empty text. An error points to the variable, not to the scalar: the n-th "${" of the value is the n-th of the text in the
 * file, unless an escape made or hid one; then to the scalar.
 *
 * A secret's place is taken by *** in a second text, for whoever tells people about the value. So nobody who prints has
 * to know what is secret.
 */
#include "conf/expand.h"

#include <stdlib.h>
#include "conf/yaml.h"
#include "lib/mem.h"

#define NAME_MAX_LEN 128
#define PATH_MAX_LEN 1024
#define ERRORS_MAX 10        /* in one scalar: finding the place of each takes as long as the scalar is long */

struct text { char *at; size_t len, cap; };

struct expansion {
    struct str all;                  /* the scalar before */
    const struct scalar *scalar;
    struct sources *sources;
    struct diags *diags;
    struct text out, shown;
    bool secret;                     /* `shown` differs from `out` */
    unsigned errors;
    bool full;                       /* nothing more is put in */
    struct str variable;             /* the one at hand, from its "$" to its "}" */
};

/* ---- places ---- */

/* The next "${"; NULL: none. */
static const char *next_in(const char *at, const char *end)
{
    while (at && end - at >= 2) {
        at = memchr(at, '$', (size_t)(end - at) - 1);
        if (at && *++at == '{')
            return at - 1;
    }
    return NULL;
}

static size_t count(struct str s)
{
    size_t n = 0;
    for (const char *p = s.at; (p = next_in(p, s.at + s.len)); p += 2)
        n++;
    return n;
}

/* Moves a place over text of the file. */
static void place_move(struct place *p, struct str over)
{
    for (size_t i = 0; i < over.len; i++) {
        if (over.at[i] == '\n') {
            p->line++;
            p->col = 1;
        } else if (((unsigned char)over.at[i] & 0xc0) != 0x80) {
            p->col++;
        }
    }
}

static unsigned width_of(struct str raw)
{
    unsigned width = 0;
    for (size_t i = 0; i < raw.len && raw.at[i] != '\n'; i++) {
        width += ((unsigned char)raw.at[i] & 0xc0) != 0x80;
        if (raw.at[i] == '}')
            break;
    }
    return width;
}

/* Where the variable at hand stands in the file. */
static struct place variable_place(const struct expansion *x)
{
    struct str raw = x->scalar->raw;
    struct place place = x->scalar->place;
    size_t before = count(str_of(x->all.at, (size_t)(x->variable.at - x->all.at)));

    if (!raw.at || count(raw) != count(x->all))
        return place;
    const char *p = next_in(raw.at, raw.at + raw.len);
    while (p && before-- > 0)
        p = next_in(p + 2, raw.at + raw.len);
    if (!p)
        return place;
    place_move(&place, str_of(raw.at, (size_t)(p - raw.at)));
    place.width = width_of(str_of(p, raw.len - (size_t)(p - raw.at)));
    return place;
}

static void wrong(struct expansion *, enum diag_code, const char *fmt, ...) printf_like(3, 4);

static void wrong(struct expansion *x, enum diag_code code, const char *fmt, ...)
{
    struct place place = variable_place(x);
    va_list ap;

    va_start(ap, fmt);
    diag_add(x->diags, &place, code, fmt, ap);
    va_end(ap);
    x->full = ++x->errors == ERRORS_MAX || x->full;
}

/* ---- putting in ---- */

static void text_put(struct text *t, struct str s)
{
    if (t->len + s.len > t->cap) {
        t->cap = (t->len + s.len) * 2 + 64;
        t->at = mem_realloc(t->at, t->cap);
    }
    if (s.len)
        memcpy(t->at + t->len, s.at, s.len);
    t->len += s.len;
}

static void put(struct expansion *x, struct str s, bool secret)
{
    struct str shown = secret ? STR("***") : s;

    if (x->full || s.len > EXPAND_MAX - x->out.len || shown.len > EXPAND_MAX - x->shown.len) {
        if (!x->full)
            wrong(x, CODE_too_much, "the value is longer than 1 MiB once its variables are put in");
        x->full = true;
        return;
    }
    text_put(&x->out, s);
    text_put(&x->shown, shown);
    x->secret = x->secret || secret;
}

/* ---- files ---- */

static bool file_load(struct expansion *x, struct source_file *file)
{
    struct source_bytes bytes;
    struct source_why why;
    enum source_fault fault = source_read(x->sources->arena, file->path, EXPAND_FILE_MAX, &bytes, &why);

    if (fault == SOURCE_FINE) {
        struct str s = bytes.text;
        file->digest = bytes.digest;
        s.len -= s.len && s.at[s.len - 1] == '\n';
        s.len -= s.len && s.at[s.len - 1] == '\r';
        file->secret = s;
        fault = source_check(&s, &why);        /* a byte order mark would hardly be meant, and stays */
    }
    if (fault != SOURCE_FINE)
        wrong(x, CODE_secret_file, "${file:%s}: %s", quoted(str_c(file->path)).text, why.text);
    return fault == SOURCE_FINE;
}

static void put_file(struct expansion *x, struct str name)
{
    if (name.len == 0 || name.at[0] != '/') {
        wrong(x, CODE_secret_file, "${file:%s}: the path must be absolute", quoted(name).text);
    } else if (name.len >= PATH_MAX_LEN) {
        wrong(x, CODE_secret_file, "${file:%s}: the path is too long", quoted(name).text);
    } else if (x->sources->sealed) {
        wrong(x, CODE_secret_file, "${file:%s}: no files are read here", quoted(name).text);
    } else {
        struct source_file *file = sources_add(x->sources, arena_strdup(x->sources->arena, name), SOURCE_SECRET);
        if (!file)
            wrong(x, CODE_too_much, "more than %d files", SOURCES_MAX);
        else if (diags_full(x->diags))       /* nobody is told; and each error would read the file again */
            wrong(x, CODE_secret_file, "not read");
        else if (file->secret.at || file_load(x, file))
            put(x, file->secret, true);
    }
}

/* ---- variables ---- */

static bool is_name_char(char c, bool first)
{
    bool alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    return alpha || (!first && c >= '0' && c <= '9');
}

static size_t name_length(struct str s)
{
    size_t n = 0;
    while (n < s.len && is_name_char(s.at[n], n == 0))
        n++;
    return n;
}

static bool starts(struct str word, struct str with)
{
    return word.len >= with.len && str_same_nocase(word.at, with.at, with.len);
}

static bool word_is_secret(struct str word)
{
    static const char *const signs[] = {"KEY", "TOKEN", "SECRET", "PASS", "CRED", "AUTH", "PASSWORD", "PASSWD"};
    for (size_t i = 0; i < array_len(signs); i++)
        if (starts(word, str_c(signs[i])) || str_ends_nocase(word, str_c(signs[i])))
            return true;
    return false;
}

static bool word_is_harmless(struct str word)
{
    static const char *const words[] = {"HOST", "HOSTNAME", "PORT", "ADDR", "ADDRESS", "URL", "ENDPOINT", "RATE",
                                        "LIMIT", "BURST", "MAX", "TIMEOUT", "TTL", "SECOND", "MINUTE", "HOUR"};
    for (size_t i = 0; i < array_len(words); i++)
        if (str_eq_nocase(word, str_c(words[i])))
            return true;
    return false;
}

bool expand_is_secret(struct str name)
{
    bool secret = false;
    struct str word = STR("");

    while (name.len > 0) {
        const char *end = memchr(name.at, '_', name.len);
        word = str_of(name.at, end ? (size_t)(end - name.at) : name.len);
        secret = secret || word_is_secret(word);
        name = end ? str_of(end + 1, name.len - word.len - 1) : STR("");
    }
    return secret && !word_is_harmless(word);
}

/* Passwords hold slashes too, though they should not: so an "@" anywhere behind the scheme. */
bool expand_has_user(struct str value)
{
    const char *at = value.len ? memmem(value.at, value.len, "://", 3) : NULL;
    return at && memchr(at, '@', (size_t)(value.at + value.len - at)) != NULL;
}

/* `body` is what stands between ${ and }. */
static void put_variable(struct expansion *x, struct str body)
{
    char name[NAME_MAX_LEN];
    size_t len = name_length(body);
    struct str rest = str_of(body.at + len, body.len - len);

    if (len == 0 || len >= sizeof(name)) {
        wrong(x, CODE_variable_form, "${%s}: needs a variable's name: letters, digits and _", quoted(body).text);
        return;
    }
    memcpy(name, body.at, len);
    name[len] = '\0';

    bool or_default = str_starts(rest, STR(":-")), or_message = str_starts(rest, STR(":?"));
    const char *value = x->sources->sealed ? NULL : getenv(name);
    bool there = value && (*value || rest.len == 0);

    if (rest.len > 0 && !or_default && !or_message)
        wrong(x, CODE_variable_form, "${%s}: write ${VAR}, ${VAR:-default}, ${VAR:?message} or ${file:/path}",
              quoted(body).text);
    else if (there)
        put(x, str_c(value), expand_is_secret(str_c(name)) || expand_has_user(str_c(value)));
    else if (or_default)
        put(x, str_of(rest.at + 2, rest.len - 2), expand_is_secret(str_c(name)));
    else if (or_message)
        wrong(x, CODE_variable_unset, "${%s} is not set: %s", name, quoted(str_of(rest.at + 2, rest.len - 2)).text);
    else
        wrong(x, CODE_variable_unset, "${%s} is not set; set it, or write ${%s:-default}", name, name);
}

/* Handles the "$" at s.at[0]; returns how much of `s` that took. */
static size_t put_dollar(struct expansion *x, struct str s)
{
    x->variable = s;
    if (str_starts(s, STR("$${"))) {
        put(x, STR("${"), false);
        return 3;
    }
    if (!str_starts(s, STR("${"))) {
        put(x, STR("$"), false);
        return 1;
    }
    const char *end = memchr(s.at, '}', s.len);
    if (!end) {
        wrong(x, CODE_variable_form, "\"%s\": ${ without its }; a literal ${ is written $${", quoted(s).text);
        return s.len;
    }
    struct str body = str_of(s.at + 2, (size_t)(end - s.at) - 2);
    if (body.len && memmem(body.at, body.len, "${", 2))
        wrong(x, CODE_variable_form, "\"%s\": a variable inside a variable is not supported", quoted(s).text);
    else if (str_starts(body, STR("file:")))
        put_file(x, str_of(body.at + 5, body.len - 5));
    else
        put_variable(x, body);
    return body.len + 3;
}

static void expand_all(struct expansion *x, struct str text)
{
    while (text.len > 0 && !x->full) {
        const char *dollar = memchr(text.at, '$', text.len);
        size_t plain = dollar ? (size_t)(dollar - text.at) : text.len;

        x->variable = text;
        put(x, str_of(text.at, plain), false);
        text = str_of(text.at + plain, text.len - plain);
        size_t used = text.len ? put_dollar(x, text) : 0;
        text = str_of(text.at + used, text.len - used);
    }
}

int expand(struct arena *a, struct str text, const struct scalar *scalar, struct sources *sources, struct diags *diags,
           struct expanded *out)
{
    *out = (struct expanded){text, text};
    if (!next_in(text.at, text.at + text.len))
        return 0;

    struct expansion x = {.all = text, .scalar = scalar, .sources = sources, .diags = diags};
    expand_all(&x, text);
    out->text = arena_copy(a, str_of(x.out.at ? x.out.at : "", x.out.len));
    out->shown = x.secret ? arena_copy(a, str_of(x.shown.at, x.shown.len)) : out->text;
    mem_free(x.out.at);
    mem_free(x.shown.at);
    return x.errors ? -1 : 0;
}
