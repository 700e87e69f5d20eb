/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Background name resolution: c-ares for the questions, libevent for its sockets and times; resolve.h is the contract.
 *
 * c-ares says through a callback which sockets it wants watched; each has one event. One timer stands for the earliest
 * of its own timeouts and is set anew after every call into it. A watch has a timer for its next look-up. The first one
 * too comes from that timer, because c-ares answers names of /etc/hosts before ares_getaddrinfo() returns.
 *
 * A question on its way is a struct lookup, which c-ares holds and which points back at its watch. An unwatch cuts that
 * pointer, and the answer finds nobody. So nothing in here cancels anything, and a callback may do what it likes with
 * watches: after calling one, nothing of the watch is touched again.
 *
 * A watch asks for itself: two watches of one name are two questions. Nothing is kept on disk, and DNSSEC is the
 * business of the server that is asked.
 */
#include "resolve.h"
#include <ares.h>
#include <event2/event.h>
#include <netinet/in.h>
#include "lib/check.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/mem.h"

#define TTL_MIN 1            /* s */
#define TTL_MAX 300
#define BACKOFF_MAX 30
#define TIMEOUT_MS 2000      /* of the first try; the second waits twice as long */
#define TRIES 2

struct resolver {
    struct event_base *base;
    const struct clock *clock;
    char *servers;               /* NULL: the system's */
    unsigned timeout_ms;
    ares_channel channel;        /* NULL: could not be made yet */
    struct event *timeout;       /* the earliest of c-ares */
    struct list sockets, watches;
};

struct resolve_socket {
    struct list link;
    ares_socket_t fd;
    struct event *event;
};

struct lookup {
    struct resolve_watch *watch; /* NULL: unwatched meanwhile */
};

struct resolve_watch {
    struct list link;
    struct resolver *resolver;
    char *name;
    resolve_fn *fn;
    void *ctx;
    struct event *next;          /* the next look-up */
    struct lookup *lookup;       /* the one on its way */
    struct address *v;           /* the last good answer */
    size_t n;
    uint64_t answered_at;        /* when that came */
    unsigned failures;           /* in a row */
    bool told;                   /* the first result was */
};

uint64_t resolve_wait_good(uint32_t ttl)
{
    return (ttl < TTL_MIN ? TTL_MIN : ttl > TTL_MAX ? TTL_MAX : ttl) * NSEC_PER_SEC;
}

uint64_t resolve_wait_failed(unsigned failures)
{
    uint64_t seconds = failures > 5 ? BACKOFF_MAX : UINT64_C(1) << (failures - 1);
    return seconds * NSEC_PER_SEC;
}

static void timer_set(struct event *timer, uint64_t ns)
{
    struct timeval tv = {(time_t)(ns / NSEC_PER_SEC), (suseconds_t)(ns % NSEC_PER_SEC / 1000)};
    check(event_add(timer, &tv) == 0);
}

/* ---- c-ares on the event base ---- */

static void timeout_set(struct resolver *r)
{
    struct timeval buf, *tv = ares_timeout(r->channel, NULL, &buf);

    if (tv)
        check(event_add(r->timeout, tv) == 0);
    else
        event_del(r->timeout);
}

static void on_timeout(evutil_socket_t fd, short what, void *ctx)
{
    struct resolver *r = ctx;

    (void)fd, (void)what;
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    timeout_set(r);
}

/* The socket's own struct may be gone when c-ares is back. */
static void on_socket(evutil_socket_t fd, short what, void *ctx)
{
    struct resolver *r = ctx;

    ares_process_fd(r->channel, what & EV_READ ? fd : ARES_SOCKET_BAD, what & EV_WRITE ? fd : ARES_SOCKET_BAD);
    timeout_set(r);
}

static struct resolve_socket *socket_find(struct resolver *r, ares_socket_t fd)
{
    for (struct list *l = r->sockets.next; l != &r->sockets; l = l->next) {
        struct resolve_socket *s = container_of(l, struct resolve_socket, link);
        if (s->fd == fd)
            return s;
    }
    struct resolve_socket *s = mem_zalloc(sizeof(*s));
    s->fd = fd;
    list_append(&r->sockets, &s->link);
    return s;
}

/* c-ares tells before it closes one, so that no event outlives its socket. */
static void on_socket_state(void *ctx, ares_socket_t fd, int readable, int writable)
{
    struct resolver *r = ctx;
    struct resolve_socket *s = socket_find(r, fd);

    if (s->event)
        event_free(s->event);
    if (!readable && !writable) {
        list_remove(&s->link);
        mem_free(s);
        return;
    }
    short what = (short)((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0) | EV_PERSIST);
    s->event = event_new(r->base, fd, what, on_socket, r);
    check(s->event && event_add(s->event, NULL) == 0);
}

static int channel_open(struct resolver *r)
{
    struct ares_options o = {.timeout = (int)r->timeout_ms, .tries = TRIES, .sock_state_cb = on_socket_state,
                             .sock_state_cb_data = r, .flags = ARES_FLAG_NOSEARCH};
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | (r->servers ? ARES_OPT_FLAGS : 0);

    if (r->channel)
        return ARES_SUCCESS;
    int status = ares_init_options(&r->channel, &o, mask);
    if (status != ARES_SUCCESS) {
        r->channel = NULL;
        return status;
    }
    if (r->servers)
        status = ares_set_servers_ports_csv(r->channel, r->servers);
    if (status != ARES_SUCCESS) {
        ares_destroy(r->channel);
        r->channel = NULL;
    }
    return status;
}

struct resolver *resolver_new_with_servers(struct event_base *base, const struct clock *clock, const char *servers,
                                           unsigned timeout_ms)
{
    struct resolver *r = mem_zalloc(sizeof(*r));

    check(ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS);
    r->base = base;
    r->clock = clock;
    r->servers = servers ? mem_strdup(servers) : NULL;
    r->timeout_ms = timeout_ms;
    list_init(&r->sockets);
    list_init(&r->watches);
    r->timeout = event_new(base, -1, 0, on_timeout, r);
    check(r->timeout);
    return r;
}

struct resolver *resolver_new(struct event_base *base, const struct clock *clock)
{
    return resolver_new_with_servers(base, clock, NULL, TIMEOUT_MS);
}

void resolver_free(struct resolver *r)
{
    check(list_empty(&r->watches));
    if (r->channel)
        ares_destroy(r->channel);        /* its callbacks free the look-ups, and the sockets */
    check(list_empty(&r->sockets));
    ares_library_cleanup();
    event_free(r->timeout);
    mem_free(r->servers);
    mem_free(r);
}

/* ---- what came ---- */

static bool same_address(const struct address *a, const struct address *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return !memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr))
           && a->in6.sin6_scope_id == b->in6.sin6_scope_id;
}

static bool holds(const struct address *v, size_t n, const struct address *a)
{
    for (size_t i = 0; i < n; i++)
        if (same_address(&v[i], a))
            return true;
    return false;
}

/* Neither holds an address twice, so that equal sizes and one direction are enough. */
static bool same_set(const struct address *a, size_t n_a, const struct address *b, size_t n_b)
{
    if (n_a != n_b)
        return false;
    for (size_t i = 0; i < n_a; i++)
        if (!holds(b, n_b, &a[i]))
            return false;
    return true;
}

static bool address_take(const struct ares_addrinfo_node *node, struct address *out)
{
    memset(out, 0, sizeof(*out));
    if (node->ai_family == AF_INET && (size_t)node->ai_addrlen == sizeof(out->in)) {
        memcpy(&out->in, node->ai_addr, sizeof(out->in));
        out->in.sin_port = 0;
        out->len = sizeof(out->in);
    } else if (node->ai_family == AF_INET6 && (size_t)node->ai_addrlen == sizeof(out->in6)) {
        memcpy(&out->in6, node->ai_addr, sizeof(out->in6));
        out->in6.sin6_port = 0;
        out->len = sizeof(out->in6);
    }
    return out->len > 0;
}

/* Each address once, into v[RESOLVE_MAX]; returns how many. */
static size_t addresses_take(const struct ares_addrinfo *info, struct address *v)
{
    size_t n = 0;

    for (const struct ares_addrinfo_node *node = info->nodes; node && n < RESOLVE_MAX; node = node->ai_next)
        if (address_take(node, &v[n]) && !holds(v, n, &v[n]))
            n++;
    return n;
}

/* The shortest on the way: of the addresses, and of the aliases that led to them. */
static uint32_t ttl_of(const struct ares_addrinfo *info)
{
    int ttl = TTL_MAX;

    for (const struct ares_addrinfo_node *node = info->nodes; node; node = node->ai_next)
        ttl = node->ai_ttl < ttl ? node->ai_ttl : ttl;
    for (const struct ares_addrinfo_cname *cname = info->cnames; cname; cname = cname->next)
        ttl = cname->ttl < ttl ? cname->ttl : ttl;
    return ttl < 0 ? 0 : (uint32_t)ttl;
}

/* The watch may be gone afterwards. */
static void tell(struct resolve_watch *w, const char *error)
{
    struct resolved res = {.n = w->n, .error = error};

    w->told = true;
    res.v = mem_array(w->n + 1, sizeof(*res.v));
    if (w->n > 0)
        memcpy(res.v, w->v, w->n * sizeof(*res.v));
    w->fn(w->ctx, &res);
    mem_free(res.v);
}

static void watch_failed(struct resolve_watch *w, const char *error)
{
    w->failures += w->failures < 100;
    timer_set(w->next, resolve_wait_failed(w->failures));
    if (w->n > 0 && w->failures == 1)
        log_warn("resolve", "%s: %s; the answer of %llu s ago stands", w->name, error,
                 (unsigned long long)((clock_mono(w->resolver->clock) - w->answered_at) / NSEC_PER_SEC));
    if (!w->told)
        tell(w, error);
}

static void watch_answered(struct resolve_watch *w, const struct address *v, size_t n, uint32_t ttl)
{
    bool changed = !same_set(v, n, w->v, w->n);

    if (w->n > 0 && w->failures > 0)
        log_info("resolve", "%s: resolves again", w->name);
    w->failures = 0;
    w->answered_at = clock_mono(w->resolver->clock);
    timer_set(w->next, resolve_wait_good(ttl));
    if (!changed)
        return;
    mem_free(w->v);
    w->v = mem_array(n, sizeof(*v));
    memcpy(w->v, v, n * sizeof(*v));
    w->n = n;
    tell(w, NULL);
}

static void on_answer(void *ctx, int status, int timeouts, struct ares_addrinfo *info)
{
    struct lookup *l = ctx;
    struct resolve_watch *w = l->watch;
    struct address v[RESOLVE_MAX];

    (void)timeouts;
    mem_free(l);
    if (w) {
        w->lookup = NULL;
        size_t n = status == ARES_SUCCESS && info ? addresses_take(info, v) : 0;
        if (n > 0)
            watch_answered(w, v, n, ttl_of(info));
        else
            watch_failed(w, ares_strerror(status == ARES_SUCCESS ? ARES_ENODATA : status));
    }
    if (info)
        ares_freeaddrinfo(info);
}

/* ---- watches ---- */

static void on_next(evutil_socket_t fd, short what, void *ctx)
{
    static const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct resolve_watch *w = ctx;
    struct resolver *r = w->resolver;

    (void)fd, (void)what;
    int status = channel_open(r);
    if (status != ARES_SUCCESS) {
        watch_failed(w, ares_strerror(status));
        return;
    }
    w->lookup = mem_zalloc(sizeof(*w->lookup));
    w->lookup->watch = w;
    ares_getaddrinfo(r->channel, w->name, NULL, &hints, on_answer, w->lookup);
    timeout_set(r);
}

struct resolve_watch *resolver_watch(struct resolver *r, struct str name, resolve_fn *fn, void *ctx)
{
    struct resolve_watch *w = mem_zalloc(sizeof(*w));

    w->resolver = r;
    w->name = mem_zalloc(name.len + 1);
    if (name.len > 0)
        memcpy(w->name, name.at, name.len);
    w->fn = fn;
    w->ctx = ctx;
    list_append(&r->watches, &w->link);
    w->next = event_new(r->base, -1, 0, on_next, w);
    check(w->next);
    timer_set(w->next, 0);
    return w;
}

void resolver_unwatch(struct resolve_watch **at)
{
    struct resolve_watch *w = *at;

    *at = NULL;
    if (!w)
        return;
    if (w->lookup)
        w->lookup->watch = NULL;
    list_remove(&w->link);
    event_free(w->next);
    mem_free(w->v);
    mem_free(w->name);
    mem_free(w);
}
