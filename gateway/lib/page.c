/* SPDX-License-Identifier: Apache-2.0 */
/* Text that grows by doubling. Formatting is printf's; what is quoted is for the two formats that pages have. */
#include "lib/page.h"

#include <stdarg.h>
#include <stdio.h>
#include "lib/check.h"
#include "lib/json.h"
#include "lib/mem.h"

void page_printf(struct page *p, const char *fmt, ...)
{
    for (;;) {
        size_t room = p->cap - p->len;
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(room ? p->at + p->len : NULL, room, fmt, ap);
        va_end(ap);
        check(n >= 0);
        if ((size_t)n < room) {
            p->len += (size_t)n;
            return;
        }
        p->cap = (p->len + (size_t)n + 1) * 2;
        p->at = mem_realloc(p->at, p->cap);
    }
}

void page_label(struct page *p, struct str value)
{
    page_printf(p, "\"");
    for (size_t i = 0, from = 0; i <= value.len; i++) {
        char c = i < value.len ? value.at[i] : '\0';
        if (i < value.len && c != '\\' && c != '"' && c != '\n')
            continue;
        page_printf(p, "%.*s", (int)(i - from), from < value.len ? value.at + from : "");
        if (i < value.len)
            page_printf(p, "\\%c", c == '\n' ? 'n' : c);
        from = i + 1;
    }
    page_printf(p, "\"");
}

void page_json(struct page *p, struct str value)
{
    size_t cap = JSON_STRING_MAX(value.len) + sizeof("null");
    if (p->cap - p->len < cap) {
        p->cap = (p->len + cap) * 2;
        p->at = mem_realloc(p->at, p->cap);
    }
    struct json j = json_init(p->at + p->len, cap - 1);
    json_string(&j, value);
    check(!j.full);
    *j.at = '\0';
    p->len = (size_t)(j.at - p->at);
}

void page_free(struct page *p)
{
    mem_free(p->at);
    *p = (struct page){0};
}
