/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ${VAR} and ${file:...} in scalars.
 *
 * Expansion comes after parsing, scalar by scalar: a value can never become YAML, so a secret that holds ": " or a
 * quote is harmless. What is put in is bounded by the scalar's own cap; whatever may be wrong is an error, never an
 * empty text.
 */
#include "expand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "conf/diag.h"
#include "conf/yaml.h"
#include "lib/mem.h"

#define SCALAR_MAX ((size_t)1 << 20)      /* bytes of one scalar after expansion */
#define NAME_MAX_LEN 128
#define PATH_MAX_LEN 1024

struct expansion {
    const struct place *place;
    struct diags *diags;
    char *out;
    size_t len, cap;
};

#define expand_err(x, code, ...) diag_error((x)->diags, (x)->place, CODE_##code, __VA_ARGS__)

static int put(struct expansion *x, struct str s)
{
    if (s.len > SCALAR_MAX - x->len)
        return expand_err(x, too_much, "the value is longer than 1 MiB once its variables are put in");
    if (x->len + s.len > x->cap) {
        x->cap = (x->len + s.len) * 2 + 64;
        x->out = mem_realloc(x->out, x->cap);
    }
    if (s.len)
        memcpy(x->out + x->len, s.at, s.len);
    x->len += s.len;
    return 0;
}

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

static ssize_t file_read(int fd, char *to, size_t cap)
{
    size_t len = 0;
    while (len < cap) {
        ssize_t n = read(fd, to + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* Puts in the bytes of an open file; `path` is for errors. */
static int put_opened(struct expansion *x, int fd, const char *path)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return expand_err(x, secret_file, "${file:%s}: not a regular file", path);

    char *text = mem_alloc(EXPAND_FILE_MAX + 1);
    ssize_t n = file_read(fd, text, EXPAND_FILE_MAX + 1);
    struct str s = str_of(text, n > 0 ? (size_t)n : 0);
    int res = 0;

    if (n < 0)
        res = expand_err(x, secret_file, "${file:%s}: cannot read it: %s", path, strerror(errno));
    else if (s.len > EXPAND_FILE_MAX)
        res = expand_err(x, secret_file, "${file:%s}: longer than %d bytes", path, EXPAND_FILE_MAX);
    else if (s.len && memchr(s.at, '\0', s.len))
        res = expand_err(x, secret_file, "${file:%s}: holds a NUL byte", path);
    if (s.len && s.at[s.len - 1] == '\n')
        s.len--;
    if (s.len && s.at[s.len - 1] == '\r')
        s.len--;
    if (res == 0)
        res = put(x, s);
    mem_free(text);
    return res;
}

static int put_file(struct expansion *x, struct str name)
{
    char path[PATH_MAX_LEN];
    if (name.len == 0 || name.at[0] != '/')
        return expand_err(x, secret_file, "${file:%s}: the path must be absolute", quoted(name).text);
    if (name.len >= sizeof(path))
        return expand_err(x, secret_file, "${file:%s}: the path is too long", quoted(name).text);
    memcpy(path, name.at, name.len);
    path[name.len] = '\0';

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return expand_err(x, secret_file, "${file:%s}: cannot open it: %s", path, strerror(errno));
    int res = put_opened(x, fd, path);
    close(fd);
    return res;
}

/* `body` is what stands between ${ and }. */
static int put_variable(struct expansion *x, struct str body)
{
    char name[NAME_MAX_LEN];
    size_t len = name_length(body);
    struct str rest = str_of(body.at + len, body.len - len);

    if (len == 0 || len >= sizeof(name))
        return expand_err(x, variable_form, "${%s}: needs a variable's name: letters, digits and _", quoted(body).text);
    memcpy(name, body.at, len);
    name[len] = '\0';

    const char *value = getenv(name);
    if (rest.len == 0) {
        if (!value)
            return expand_err(x, variable_unset, "${%s} is not set; set it, or write ${%s:-default}", name, name);
        return put(x, str_c(value));
    }
    if (str_starts(rest, STR(":-")))
        return put(x, value && *value ? str_c(value) : str_of(rest.at + 2, rest.len - 2));
    if (str_starts(rest, STR(":?"))) {
        if (!value || !*value)
            return expand_err(x, variable_unset, "${%s} is not set: %s", name, quoted(str_of(rest.at + 2, rest.len - 2)).text);
        return put(x, str_c(value));
    }
    return expand_err(x, variable_form,
                      "${%s}: write ${VAR}, ${VAR:-default}, ${VAR:?message} or ${file:/path}", quoted(body).text);
}

/* Handles the "$" at s.at[0]; *used: how much of `s` it took. */
static int put_dollar(struct expansion *x, struct str s, size_t *used)
{
    if (str_starts(s, STR("$${"))) {
        *used = 3;
        return put(x, STR("${"));
    }
    if (!str_starts(s, STR("${"))) {
        *used = 1;
        return put(x, STR("$"));
    }
    const char *end = memchr(s.at, '}', s.len);
    if (!end)
        return expand_err(x, variable_form, "\"%s\": ${ without its }; a literal ${ is written $${", quoted(s).text);
    struct str body = str_of(s.at + 2, (size_t)(end - s.at) - 2);
    *used = body.len + 3;
    if (body.len && memmem(body.at, body.len, "${", 2))
        return expand_err(x, variable_form, "\"%s\": a variable inside a variable is not supported", quoted(s).text);
    if (str_starts(body, STR("file:")))
        return put_file(x, str_of(body.at + 5, body.len - 5));
    return put_variable(x, body);
}

static int expand_all(struct expansion *x, struct str text)
{
    while (text.len > 0) {
        const char *dollar = memchr(text.at, '$', text.len);
        size_t plain = dollar ? (size_t)(dollar - text.at) : text.len, used = 0;

        if (put(x, str_of(text.at, plain)) != 0)
            return -1;
        text = str_of(text.at + plain, text.len - plain);
        if (text.len && put_dollar(x, text, &used) != 0)
            return -1;
        text = str_of(text.at + used, text.len - used);
    }
    return 0;
}

int expand(struct arena *a, struct str text, const struct place *place, struct str *out, struct diags *diags)
{
    *out = text;
    if (text.len < 3 || !memmem(text.at, text.len, "${", 2))
        return 0;

    struct expansion x = {.place = place, .diags = diags};
    int res = expand_all(&x, text);
    if (res == 0)
        *out = arena_copy(a, str_of(x.out ? x.out : "", x.len));
    mem_free(x.out);
    return res;
}
