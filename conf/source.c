/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of a configuration: reading one, and the list of all that were read.
 *
 * A path may name anything, put there by mistake or by somebody who wants to stop a reload: a fifo would be waited for,
 * opening some devices has effects, a log file never ends. So only regular files are read, without waiting, up to a
 * bound, and one that changes under the reader is refused: the next reload sees it whole.
 *
 * YAML 1.1 and 1.2 disagree on what ends a line (NEL, LS, PS; a lone CR). Such characters are refused in the raw text,
 * where hardly anybody sees them; escaped in a quoted scalar they may stand. From then on a line is what an editor says
 * it is, and places can be trusted.
 */
#include "conf/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "conf/digest.h"
#include "lib/hash.h"
#include "lib/mem.h"

struct str source_line(const struct source *s, unsigned line)
{
    const char *at = s->text.at, *end = at ? at + s->text.len : NULL;

    for (; at && line > 1; line--) {
        at = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        at = at ? at + 1 : NULL;
    }
    if (!at || line == 0)
        return (struct str){NULL, 0};
    const char *stop = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
    if (!stop)
        stop = end;
    if (stop > at && stop[-1] == '\r')
        stop--;
    return str_of(at, (size_t)(stop - at));
}

/* ---- reading ---- */

static enum source_fault fault(enum source_fault f, struct source_why *why, const char *fmt, ...) printf_like(3, 4);

static enum source_fault fault(enum source_fault f, struct source_why *why, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why->text, sizeof(why->text), fmt, ap);
    va_end(ap);
    return f;
}

static enum source_fault cannot_open(const char *path, int error, struct source_why *why)
{
    char target[200];
    ssize_t n = error == ENOENT ? readlink(path, target, sizeof(target) - 1) : -1;

    if (n < 0)
        return fault(SOURCE_UNREADABLE, why, "cannot open it: %s", strerror(error));
    target[n] = '\0';
    return fault(SOURCE_UNREADABLE, why, "cannot open it: a link to %s, which does not exist", target);
}

static enum source_fault kind_check(const struct stat *st, struct source_why *why)
{
    const char *what = S_ISDIR(st->st_mode) ? "a directory" : S_ISFIFO(st->st_mode) ? "a pipe"
                     : S_ISSOCK(st->st_mode) ? "a socket" : "a device";
    if (S_ISREG(st->st_mode))
        return SOURCE_FINE;
    return fault(SOURCE_UNREADABLE, why, "cannot read it: it is %s, and must be a regular file", what);
}

static bool same_time(struct timespec a, struct timespec b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

/* Up to `max` bytes and one more, so that the caller sees when there are too many; -1 and errno. */
static ssize_t read_up_to(int fd, size_t max, char **text)
{
    size_t len = 0, cap = 4096;

    *text = mem_alloc(cap);
    while (len <= max) {
        ssize_t n = read(fd, *text + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        len += (size_t)n;
        if (len == cap)
            *text = mem_realloc(*text, cap *= 2);
    }
    return (ssize_t)len;
}

static enum source_fault opened_read(struct arena *a, int fd, size_t max, struct source_bytes *out,
                                     struct source_why *why)
{
    struct stat before, after;
    char *text = NULL;

    if (fstat(fd, &before) != 0)
        return fault(SOURCE_UNREADABLE, why, "cannot read it: %s", strerror(errno));
    enum source_fault res = kind_check(&before, why);
    if (res != SOURCE_FINE)
        return res;
    ssize_t n = read_up_to(fd, max, &text);
    if (n < 0 || fstat(fd, &after) != 0)
        res = fault(SOURCE_UNREADABLE, why, "cannot read it: %s", strerror(errno));
    else if ((size_t)n > max)
        res = fault(SOURCE_TOO_LONG, why, "longer than %zu bytes", max);
    else if (before.st_size != after.st_size || !same_time(before.st_mtim, after.st_mtim))
        res = fault(SOURCE_UNREADABLE, why, "it was written to while it was read; try again when it is whole");
    else
        *out = (struct source_bytes){arena_copy(a, str_of(text, (size_t)n)), before.st_dev, before.st_ino,
                                     digest_text(str_of(text, (size_t)n))};
    mem_free(text);
    return res;
}

enum source_fault source_read(struct arena *a, const char *path, size_t max, struct source_bytes *out,
                              struct source_why *why)
{
    struct stat st;

    *why = (struct source_why){.text = ""};
    if (stat(path, &st) != 0)
        return cannot_open(path, errno, why);
    enum source_fault res = kind_check(&st, why);
    if (res != SOURCE_FINE)
        return res;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return cannot_open(path, errno, why);
    res = opened_read(a, fd, max, out, why);
    close(fd);
    return res;
}

/* ---- what is text ---- */

/* The length of the UTF-8 character at `at`, of which `left` bytes are there; 0: it is none. */
static size_t utf8_length(const unsigned char *at, size_t left, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = at[0] < 0x80 ? 1 : (at[0] & 0xe0) == 0xc0 ? 2 : (at[0] & 0xf0) == 0xe0 ? 3 : (at[0] & 0xf8) == 0xf0 ? 4 : 0;

    if (n == 0 || n > left)
        return 0;
    *code = n == 1 ? at[0] : at[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (at[i] & 0x3f);
    }
    return *code < least[n] || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000) ? 0 : n;
}

/* What is wrong with a character; NULL: nothing. `next`: the byte behind it. */
static const char *character_check(uint32_t code, unsigned char next)
{
    if (code == 0)
        return "a NUL byte may not stand in a configuration; is it UTF-16, or no text at all?";
    if (code == '\r')
        return next == '\n' ? NULL : "a carriage return without a line feed; end lines with a line feed";
    if (code == 0x85 || code == 0x2028 || code == 0x2029)
        return "a line separator of Unicode (NEL, LS, PS), which not every reader of YAML takes for a line's end; in a "
               "quoted text write \\N, \\L or \\P";
    if (code == 0xfeff)
        return "a byte order mark, which may stand at the beginning alone";
    if ((code < ' ' && code != '\t' && code != '\n') || (code >= 0x7f && code < 0xa0))
        return "a control character may not stand in a configuration; in a quoted text write an escape such as \\x1b";
    if (code == 0xfffe || code == 0xffff)
        return "a number that is no character of Unicode";
    return NULL;
}

static bool is_plain(unsigned char c) { return (c >= ' ' && c < 0x7f) || c == '\n' || c == '\t'; }

enum source_fault source_check(struct str *text, struct source_why *why)
{
    *why = (struct source_why){.line = 1, .col = 1};
    if (str_starts(*text, STR("\xff\xfe")) || str_starts(*text, STR("\xfe\xff")))
        return fault(SOURCE_NOT_TEXT, why, "it is UTF-16; save it as UTF-8");
    if (str_starts(*text, STR("\xef\xbb\xbf")))
        *text = str_of(text->at + 3, text->len - 3);

    const unsigned char *at = (const unsigned char *)text->at;
    size_t line_start = 0, not_first = 0;      /* bytes of this line that begin no character */
    for (size_t i = 0, n; i < text->len; i += n) {
        uint32_t code = at[i];
        n = is_plain(at[i]) ? 1 : utf8_length(at + i, text->len - i, &code);
        const char *wrong = n == 0 ? "not UTF-8; save it as UTF-8" : is_plain(at[i]) ? NULL
                          : character_check(code, i + 1 < text->len ? at[i + 1] : 0);
        if (wrong) {
            why->col = (unsigned)(i - line_start - not_first) + 1;
            return fault(SOURCE_NOT_TEXT, why, "%s", wrong);
        }
        not_first += n - 1;
        if (at[i] == '\n') {
            why->line++;
            line_start = i + 1;
            not_first = 0;
        }
    }
    return SOURCE_FINE;
}

/* ---- the list ---- */

void sources_init(struct sources *s, struct arena *arena) { *s = (struct sources){.arena = arena}; }

static const char *absolute(struct arena *a, const char *path)
{
    char here[4096];
    if (path[0] == '/' || !getcwd(here, sizeof(here)))
        return arena_strdup(a, str_c(path));
    return arena_printf(a, "%s/%s", strcmp(here, "/") ? here : "", path).at;
}

/* Room for one more of `size` bytes in an array of the arena. */
static void *grown(struct arena *a, void *v, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return v;
    *cap = *cap ? *cap * 2 : 8;
    void *more = arena_zalloc(a, *cap * size);
    if (n)
        memcpy(more, v, n * size);
    return more;
}

struct source_file *sources_add(struct sources *s, const char *path, enum source_kind kind)
{
    static const struct hash_key no_key = {0, 0};
    const char *full = absolute(s->arena, path);
    uint64_t hash = hash_str(&no_key, str_c(full));

    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].hash == hash && !strcmp(s->v[i].path, full))
            return &s->v[i];
    if (s->n == SOURCES_MAX)
        return NULL;
    s->v = grown(s->arena, s->v, s->n, &s->cap, sizeof(*s->v));
    s->v[s->n] = (struct source_file){.path = full, .kind = kind, .hash = hash};
    return &s->v[s->n++];
}

bool sources_has(const struct sources *s, const char *path)
{
    struct arena a;
    bool found = false;

    arena_init(&a, NULL);
    const char *full = absolute(&a, path);
    for (size_t i = 0; i < s->n && !found; i++)
        found = s->v[i].kind != SOURCE_SECRET && !strcmp(s->v[i].path, full);
    arena_fini(&a);
    return found;
}

bool sources_add_glob(struct sources *s, const char *pattern)
{
    if (s->n_globs == SOURCES_MAX)
        return false;
    s->globs = grown(s->arena, s->globs, s->n_globs, &s->cap_globs, sizeof(*s->globs));
    s->globs[s->n_globs++] = absolute(s->arena, pattern);
    return true;
}
