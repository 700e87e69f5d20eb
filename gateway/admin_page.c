/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages the admin listener has, and what stands around what they say.
 *
 * GET and HEAD read, POST is an order. An order is refused to a web page: whatever its user can reach, a page in the user's
 * browser can send orders to, and it says where it comes from. What is read a page is not shown by its browser, unless it could
 * take this listener for its own server: by a name of its own that it lets point here. So where no token stands
 * against that, who comes over TCP has to name this machine by an address or as localhost.
 *
 * Who has to say a token and does not is told nothing, not even which pages there are. Neither is who comes by such a name.
 */
#include "admin_conn.h"

#include <openssl/crypto.h>
#include "http/uri.h"
#include "lib/clock.h"
#include "lib/ip.h"

struct admin_page {
    const char *path;
    bool probe;                      /* is also on the probes' listener */
    bool order;                      /* POST: it changes something, or costs something */
    bool body;                       /* it reads the request's body */
    enum admin_type type;
    bool (*exists)(const struct admin_source *);
    /* Returns the status; 0: the answer is owed, or was given. */
    int (*make)(struct admin_conn *, const struct admin_request *, struct page *);
};

static int metrics_page(struct admin_conn *c, const struct admin_request *r, struct page *p)
{
    const struct admin_source *s = &c->admin->source;
    (void)r;
    s->metrics(s->ctx, p);
    return 200;
}

static int healthz_page(struct admin_conn *c, const struct admin_request *r, struct page *p)
{
    (void)r;
    (void)c;
    page_printf(p, "ok\n");
    return 200;
}

static int readyz_page(struct admin_conn *c, const struct admin_request *r, struct page *p)
{
    const struct admin_source *s = &c->admin->source;
    (void)r;
    if (!s->ready(s->ctx, p)) {
        if (p->len == 0 || p->at[p->len - 1] != '\n')
            page_printf(p, "%s\n", p->len ? "" : "not ready");
        return 503;
    }
    p->len = 0;
    page_printf(p, "ok\n");
    return 200;
}

/* Pages that are there when their source is. */
#define EXISTS(NAME) static bool NAME##_exists(const struct admin_source *s) { return s->NAME != NULL; }
#define PAGE(NAME)                                                                                                     \
    EXISTS(NAME)                                                                                                       \
    static int NAME##_page(struct admin_conn *c, const struct admin_request *r, struct page *p)                        \
    {                                                                                                                  \
        const struct admin_source *s = &c->admin->source;                                                              \
        return s->NAME(s->ctx, r->query, p);                                                                           \
    }
#define PAGE_OWED(NAME)                                                                                                \
    EXISTS(NAME)                                                                                                       \
    static int NAME##_page(struct admin_conn *c, const struct admin_request *r, struct page *p)                        \
    {                                                                                                                  \
        const struct admin_source *s = &c->admin->source;                                                              \
        (void)p;                                                                                                       \
        s->NAME(s->ctx, r, admin_answer_owe(c));                                                                       \
        return 0;                                                                                                      \
    }

EXISTS(metrics)
PAGE(limits)
PAGE(upstreams)
PAGE(config)
PAGE(command)
PAGE_OWED(reload)
PAGE_OWED(plan)

static const struct admin_page pages[] = {
    {.path = "/healthz", .probe = true, .make = healthz_page},
    {.path = "/readyz", .probe = true, .make = readyz_page},
    {.path = "/metrics", .make = metrics_page, .type = ADMIN_METRICS, .exists = metrics_exists},
    {.path = "/limits", .make = limits_page, .type = ADMIN_JSON, .exists = limits_exists},
    {.path = "/upstreams", .make = upstreams_page, .type = ADMIN_JSON, .exists = upstreams_exists},
    {.path = "/config", .make = config_page, .type = ADMIN_JSON, .exists = config_exists},
    {.path = "/command", .order = true, .make = command_page, .type = ADMIN_JSON, .exists = command_exists},
    {.path = "/reload", .order = true, .make = reload_page, .exists = reload_exists},
    {.path = "/plan", .order = true, .body = true, .make = plan_page, .exists = plan_exists},
};

static bool is_there(const struct admin *a, const struct admin_page *page)
{
    return (page->probe || !a->probes_only) && (!page->exists || page->exists(&a->source));
}

/* ---- answers ---- */

static const char *phrase(int status)
{
    static const struct { int status; const char *text; } rows[] = {
        {200, "OK"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"},
        {405, "Method Not Allowed"}, {409, "Conflict"}, {411, "Length Required"}, {413, "Content Too Large"}, {414, "URI Too Long"},
        {417, "Expectation Failed"}, {422, "Unprocessable Content"}, {431, "Request Header Fields Too Large"},
        {501, "Not Implemented"}, {503, "Service Unavailable"}, {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < array_len(rows); i++)
        if (rows[i].status == status)
            return rows[i].text;
    return "Error";
}

/* The whole answer into `out`; the body's bytes are left out for HEAD. */
void admin_answer_put(struct page *out, int status, enum admin_type type, const char *more, const struct page *body, bool head)
{
    static const char *const types[] = {
        [ADMIN_TEXT] = "text/plain; charset=utf-8",
        [ADMIN_JSON] = "application/json",
        [ADMIN_METRICS] = "text/plain; version=0.0.4; charset=utf-8",
    };
    char date[30];
    clock_http_date(clock_wall(&clock_real), date);
    page_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
                     "X-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\n"
                     "%sConnection: close\r\n\r\n", status, phrase(status), date, types[type], body->len, more);
    if (!head && body->len)
        page_printf(out, "%s", body->at);
}

void admin_say(struct admin_conn *c, int status, const char *more, const char *text)
{
    struct page body = {0};
    page_printf(&body, "%s\n", text);
    admin_answer_put(&c->out, status, ADMIN_TEXT, more, &body, false);
    page_free(&body);
}

static struct str method_of(const struct admin_conn *c)
{
    return str_of(c->in + c->parser.start, c->parser.method_len);
}

static bool is_head(const struct admin_conn *c) { return str_eq(method_of(c), STR("HEAD")); }

static void answer_unknown(struct admin_conn *c)
{
    struct page body = {0};
    page_printf(&body, "There is no such page here. There are:\n");
    for (size_t i = 0; i < array_len(pages); i++)
        if (is_there(c->admin, &pages[i]))
            page_printf(&body, "%s\n", pages[i].path);
    admin_answer_put(&c->out, 404, ADMIN_TEXT, "", &body, is_head(c));
    page_free(&body);
}

/* ---- requests ---- */

/* The first field of that name; {NULL, 0}: none. */
static struct str field_of(const struct admin_conn *c, struct str name)
{
    const struct http_parser *p = &c->parser;
    for (unsigned i = 0; i < p->n; i++) {
        const struct http_field *f = &p->fields[i];
        if (str_eq_nocase(str_of(c->in + f->at, f->name_len), name))
            return str_of(c->in + f->at + f->value_off, f->value_len);
    }
    return (struct str){NULL, 0};
}

/* Of the two forms that there are, the one that Accept names first. */
static bool wants_text(const struct admin_conn *c)
{
    struct str rest = field_of(c, STR("accept")), one;
    while (str_list_next(&rest, &one)) {
        const char *parameter = one.len ? memchr(one.at, ';', one.len) : NULL;
        struct str type = str_trim(str_of(one.at, parameter ? (size_t)(parameter - one.at) : one.len));
        if (str_eq_nocase(type, STR("text/plain")))
            return true;
        if (str_eq_nocase(type, STR("application/json")))
            return false;
    }
    return false;
}

/* Did a page in a browser make this request? Browsers say so in at least one of these, and a page cannot keep them from it. A
 * user who writes an address is "none". */
static bool from_web_page(const struct admin_conn *c)
{
    struct str site = field_of(c, STR("sec-fetch-site"));
    return field_of(c, STR("origin")).at || field_of(c, STR("referer")).at || (site.at && !str_eq_nocase(site, STR("none")));
}

/* May it be done to the page? Answers if not. */
static bool method_fits(struct admin_conn *c, const struct admin_page *page)
{
    bool get = str_eq(method_of(c), STR("GET")) || is_head(c);
    if (page->order && from_web_page(c)) {
        admin_say(c, 403, "", "Orders are not taken from web pages.");
        return false;
    }
    if (page->order ? str_eq(method_of(c), STR("POST")) : get)
        return true;
    admin_say(c, 405, page->order ? "Allow: POST\r\n" : "Allow: GET, HEAD\r\n",
              page->order ? "This is an order: POST it." : "Only GET and HEAD are served here.");
    return false;
}

static struct str path_of(const struct admin_conn *c, struct str *query)
{
    struct str path = str_of(c->in + c->parser.path_at, c->parser.path_len);
    const char *mark = path.len ? memchr(path.at, '?', path.len) : NULL;
    *query = (struct str){NULL, 0};
    if (mark) {
        *query = str_of(mark + 1, path.len - (size_t)(mark - path.at) - 1);
        path.len = (size_t)(mark - path.at);
    }
    return path;
}

/* ---- the token ---- */

/* What "Authorization: Bearer TOKEN" says; {NULL, 0}: nothing of the kind. */
static struct str token_of(const struct admin_conn *c)
{
    struct str said = field_of(c, STR("authorization")), scheme = STR("bearer ");
    if (said.len <= scheme.len || !str_same_nocase(said.at, scheme.at, scheme.len))
        return (struct str){NULL, 0};
    return str_trim(str_of(said.at + scheme.len, said.len - scheme.len));
}

static void refusal_log(struct admin_conn *c, bool wrong)
{
    struct address from = {.len = sizeof(from.un)};
    char text[IP_TEXT] = "a unix socket";
    if (getpeername(c->fd, &from.sa, &from.len) == 0 && from.sa.sa_family != AF_UNIX) {
        struct ip ip = ip_of_sockaddr(&from.sa);
        ip_format(&ip, text);
    }
    log_limited(&c->admin->refused, LOG_WARN, "admin", "a request %s from %s was refused",
                wrong ? "with a wrong token" : "without the token", text);
}

/* Does it know the token, or need none? How long the comparison takes says nothing about where they differ. */
static bool may_ask(struct admin_conn *c)
{
    const char *token = c->admin->token;
    struct str said = token_of(c);
    if (!token || (said.len == strlen(token) && CRYPTO_memcmp(said.at, token, said.len) == 0))
        return true;
    refusal_log(c, said.len > 0);
    admin_say(c, 401, "WWW-Authenticate: Bearer realm=\"weir\"\r\n", "A token is needed here: Authorization: Bearer TOKEN.");
    return false;
}

/* Nobody else can let an address, or `localhost`, point to this machine. */
static bool host_is_this_machine(struct str host)
{
    const struct str name = STR("localhost");
    struct ip ip;
    if (ip_parse(host, &ip) || str_eq_nocase(host, name))
        return true;
    return host.len > name.len && host.at[host.len - name.len - 1] == '.' &&
           str_same_nocase(host.at + host.len - name.len, name.at, name.len);
}

/* Without a token: is it asked for as this machine? HTTP/1.0 may leave that out, browsers do not. */
static bool came_straight(struct admin_conn *c)
{
    struct str authority = str_of(c->in + c->parser.host_at, c->parser.host_len), host;
    struct address at = {.len = sizeof(at.un)};
    unsigned port;
    if (c->admin->token || authority.len == 0 || (getsockname(c->fd, &at.sa, &at.len) == 0 && at.sa.sa_family == AF_UNIX))
        return true;
    if (uri_split_authority(authority, &host, &port) && host_is_this_machine(host))
        return true;
    admin_say(c, 403, "", "Ask for an address or for localhost, or configure a token: anybody may let a name point here.");
    return false;
}

bool admin_page_find(struct admin_conn *c)
{
    struct str query, path = path_of(c, &query);
    const struct admin_page *page = NULL;
    for (size_t i = 0; i < array_len(pages) && !page; i++)
        if (is_there(c->admin, &pages[i]) && str_eq(path, str_c(pages[i].path)))
            page = &pages[i];
    if (!(page && page->probe) && !(may_ask(c) && came_straight(c)))
        return false;
    c->page = page;
    if (page)
        return method_fits(c, page);
    answer_unknown(c);
    return false;
}

bool admin_page_has_body(const struct admin_page *page) { return page->body; }

bool admin_page_answer(struct admin_conn *c)
{
    const struct admin_page *page = c->page;
    struct admin_request request = {.body = {c->body, c->body_len}, .text = wants_text(c)};
    struct page body = {0};
    bool head = is_head(c);
    (void)path_of(c, &request.query);
    int status = page->make(c, &request, &body);
    if (status)
        admin_answer_put(&c->out, status, page->type, "", &body, head);
    page_free(&body);
    return status != 0;
}
