/* SPDX-License-Identifier: Apache-2.0 */
/* Who is served when not all can be: callers in turn, classes before each other, slots kept; and who is told at once that
 * waiting is no use. */
#include "concurrency_sim.h"

#define KEY(K) "X-Api-Key: " K "\r\n"
#define FAIR "fair_by: \"header:x-api-key\""
#define CLASS(WORD) "X-Priority: " WORD "\r\n"
#define CLASSES "priority: {header: x-priority, trusted: [192.0.2.0/24]}"

/* ---- an endpoint that takes its time, and callers that come back at once ---- */

enum { CALLERS = 80 };

struct caller {
    struct sim_conn *conn;
    const char *fields;
    unsigned served, refused, answered;
};

struct load {
    struct sim *sim;
    uint64_t service;
    struct caller callers[CALLERS];
    unsigned n;
    struct { struct sim_conn *conn; uint64_t until; } serving[CALLERS];
    unsigned most;               /* at the endpoint at once */
};

static struct load load;

static void load_begin(const char *yaml, unsigned workers, uint64_t service)
{
    load = (struct load){.sim = start(yaml, workers), .service = service};
}

static void load_add(unsigned n, const char *fields)
{
    for (unsigned i = 0; i < n; i++)
        load.callers[load.n++] = (struct caller){.fields = fields};
}

/* Who has his answer, or was refused a moment ago, asks again. */
static void callers_turn(void)
{
    for (unsigned i = 0; i < load.n; i++) {
        struct caller *c = &load.callers[i];
        if (!c->conn)
            c->conn = sim_client_at(load.sim, i % load.sim->n_workers, 0, STR("192.0.2.1"));
        else if (!is_answered(c->conn))
            continue;
        else if (is_served(c->conn))
            c->served++;
        else
            c->refused++;
        char text[200];
        sim_clear(c->conn);
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", c->fields);
        sim_say(c->conn, text);
    }
}

static unsigned serving_of(const struct sim_conn *u)
{
    unsigned at = CALLERS;
    for (unsigned i = 0; i < CALLERS; i++) {
        if (load.serving[i].conn == u)
            return i;
        if (!load.serving[i].conn && at == CALLERS)
            at = i;
    }
    check(at < CALLERS);
    return at;
}

static void endpoint_turn(void)
{
    uint64_t now = clock_mono(&load.sim->clock);
    unsigned n = busy(load.sim);
    load.most = n > load.most ? n : load.most;
    for (struct sim_conn *u = load.sim->all; u; u = u->next) {
        if (!is_busy(u))
            continue;
        unsigned i = serving_of(u);
        if (!load.serving[i].conn) {
            load.serving[i].conn = u;
            load.serving[i].until = now + load.service;
        } else if (now >= load.serving[i].until) {
            load.serving[i].conn = NULL;
            answer(u);
        }
    }
}

static void load_run(uint64_t time)
{
    for (uint64_t t = 0; t < time; t += MSEC) {
        callers_turn();
        endpoint_turn();
        sim_advance(load.sim, MSEC);
    }
}

static unsigned served_of(unsigned from, unsigned n)
{
    unsigned sum = 0;
    for (unsigned i = from; i < from + n; i++)
        sum += load.callers[i].served;
    return sum;
}

static unsigned refused_of(unsigned from, unsigned n)
{
    unsigned sum = 0;
    for (unsigned i = from; i < from + n; i++)
        sum += load.callers[i].refused;
    return sum;
}

/* 4 slots, 10 ms a request and 1 ms until the next is seen: 363/s. Two polite callers, one request each at a time, beside one with sixty. */
TEST(a_caller_thirty_times_louder_leaves_the_others_their_share)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        test_row("%u workers", workers);
        load_begin(LIMITED("{concurrency: {max: 4, queue: 20, max_wait: 1s, " FAIR "}}"), workers, 10 * MSEC);
        load_add(60, KEY("loud"));
        load_add(2, KEY("polite"));
        load_run(SEC / 2);
        unsigned loud = served_of(0, 60), polite = served_of(60, 2);
        EXPECT_EQ(load.most, 4);
        EXPECT_EQ(refused_of(60, 2), 0);
        /* A polite request gets the next slot, or the one after it: 11 ms at the most, then 11 ms of its own. */
        EXPECT(polite >= 2 * 500 / 23);
        EXPECT(loud + polite >= 175);            /* and no slot stands empty for it */
        EXPECT(refused_of(0, 60) > 0);
        SIM_END(load.sim);
    }
}

TEST(two_callers_who_both_want_all_get_half_each)
{
    load_begin(LIMITED("{concurrency: {max: 4, queue: 20, max_wait: 1s, " FAIR "}}"), 2, 10 * MSEC);
    load_add(60, KEY("loud"));
    load_add(20, KEY("other"));
    load_run(SEC / 2);
    unsigned loud = served_of(0, 60), other = served_of(60, 20);
    EXPECT(loud + other >= 175);
    EXPECT(loud * 10 >= other * 9 && other * 10 >= loud * 9);
    SIM_END(load.sim);
}

/* The same without fair_by, to see that it makes the difference. */
TEST(first_come_first_served_leaves_the_polite_what_is_left)
{
    load_begin(LIMITED("{concurrency: {max: 4, queue: 20, max_wait: 1s}}"), 1, 10 * MSEC);
    load_add(60, KEY("loud"));
    load_add(2, KEY("polite"));
    load_run(SEC / 2);
    EXPECT(served_of(60, 2) < 30);
    SIM_END(load.sim);
}

TEST(a_class_is_served_before_those_after_it)
{
    load_begin(LIMITED("{concurrency: {max: 4, queue: 60, max_wait: 1s, " CLASSES "}}"), 2, 10 * MSEC);
    load_add(10, CLASS("high"));
    load_add(40, CLASS("low"));
    load_run(SEC / 2);
    EXPECT_EQ(refused_of(0, 10), 0);
    EXPECT(served_of(0, 10) >= 175);
    EXPECT(served_of(10, 40) < 5);
    SIM_END(load.sim);
}

/* ---- order ---- */

/* Serves all, one after the other, and writes the paths as they came to the endpoint. */
static void order_of(struct sim *s, char *out, size_t cap)
{
    struct sim_conn *u;
    out[0] = '\0';
    while ((u = busy_one(s)) != NULL) {
        size_t len = strlen(out);
        if (!EXPECT(busy(s) == 1))
            return;
        snprintf(out + len, cap - len, "%.*s ", (int)strcspn(u->got + 5, " "), u->got + 5);
        answer(u);
    }
}

static void ask_list(struct sim *s, const char *const *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char path[20], fields[60];
        snprintf(path, sizeof path, "/%s", v[i]);
        snprintf(fields, sizeof fields, "X-Api-Key: %.1s\r\nX-Priority: %s\r\n", v[i],
                 v[i][0] == 'C' ? "critical" : v[i][0] == 'H' ? "high" : v[i][0] == 'L' ? "low" : "normal");
        ask_with(s, (unsigned)i, path, fields);
    }
}

#define ASK(SIM, ...)                                   \
    do {                                                \
        const char *const list_[] = {__VA_ARGS__};      \
        ask_list(SIM, list_, array_len(list_));         \
    } while (0)

TEST(in_which_order)
{
    char got[200];
    static const char *const fair = LIMITED("{concurrency: {max: 1, queue: 50, " FAIR "}}");
    static const char *const classes = LIMITED("{concurrency: {max: 1, queue: 50, " CLASSES "}}");
    static const char *const both = LIMITED("{concurrency: {max: 1, queue: 50, " FAIR ", " CLASSES "}}");
    for (unsigned workers = 1; workers <= 3; workers++) {
        test_row("%u workers", workers);
        struct sim *s = start(fair, workers);
        ASK(s, "x", "a1", "a2", "a3", "a4", "b1", "b2", "c1");
        order_of(s, got, sizeof got);
        EXPECT_CSTR(got, "x a1 b1 c1 a2 b2 a3 a4 ");
        SIM_END(s);

        s = start(classes, workers);
        ASK(s, "x", "L1", "N1", "H1", "C1", "L2", "N2", "H2", "C2");
        order_of(s, got, sizeof got);
        EXPECT_CSTR(got, "x C1 C2 H1 H2 N1 N2 L1 L2 ");
        SIM_END(s);

        s = start(both, workers);
        ASK(s, "x", "a1", "a2", "b1", "L1", "H1", "H2", "b2");
        order_of(s, got, sizeof got);
        EXPECT_CSTR(got, "x H1 H2 a1 b1 a2 b2 L1 ");
        SIM_END(s);
    }
}

/* A caller whose oldest request has waited for more than half of max_wait for 500 ms gets his newest served first. */
TEST(in_overload_the_newest_of_a_caller_goes_first)
{
    static const struct { uint64_t at; const char *order; } rows[] = {
        {1500 * MSEC - 1, "x a1 b1 a2 b2 a3 "},
        {1500 * MSEC, "x a3 b1 a2 b2 a1 "},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        char got[200];
        test_row("%zu", i);
        struct sim *s = start(LIMITED("{concurrency: {max: 1, queue: 50, max_wait: 2s, " FAIR "}}"), 2);
        ASK(s, "x", "a1", "a2");
        sim_advance(s, 1300 * MSEC);
        ASK(s, "b1", "b2", "a3");
        sim_advance(s, rows[i].at - 1300 * MSEC);
        order_of(s, got, sizeof got);
        EXPECT_CSTR(got, rows[i].order);
        SIM_END(s);
    }
}

/* ---- what is kept for whom ---- */

static unsigned enter_as(struct sim *s, unsigned n, const char *fields)
{
    unsigned before = busy(s);
    for (unsigned i = 0; i < n; i++)
        ask_with(s, i, "/", fields);
    return busy(s) - before;
}

TEST(slots_that_are_kept_for_classes)
{
    for (unsigned workers = 1; workers <= 2; workers++) {
        test_row("%u workers", workers);
        struct sim *s = start(LIMITED("{concurrency: {max: 10, queue: 90, " CLASSES
                                      ", reserve: {critical: 11%, high: 20%, normal: 30%}}}"), workers);
        EXPECT_EQ(enter_as(s, 9, CLASS("low")), 3);          /* 10 - 2 - 2 - 3: shares are rounded up */
        EXPECT_EQ(enter_as(s, 9, ""), 3);
        EXPECT_EQ(enter_as(s, 9, CLASS("high")), 2);
        EXPECT_EQ(enter_as(s, 9, CLASS("critical")), 2);
        EXPECT_EQ(waiting(s), 36 - 10);
        EXPECT_EQ(in_flight(s), 10);
        unsigned n = 0;
        for (struct sim_conn *u; (u = busy_one(s)) != NULL; n++)
            answer(u);                                       /* the semaphore itself checks that no waiter is passed over */
        EXPECT_EQ(n, 36);
        SIM_END(s);
    }
}

TEST(one_percentage_is_kept_for_critical_ones)
{
    struct sim *s = start(LIMITED("{concurrency: {max: 4, " CLASSES ", reserve: 25%}}"), 1);
    EXPECT_EQ(enter_as(s, 6, CLASS("high")), 3);
    EXPECT_EQ(enter_as(s, 2, CLASS("critical")), 1);
    SIM_END(s);
}

/* ---- whose class it is ---- */

TEST(what_class_a_request_is_of)
{
    static const struct { const char *path, *fields; struct str ip; const char *class; } rows[] = {
        {"/", "", {"192.0.2.1", 9}, "normal"},
        {"/fast", "", {"192.0.2.1", 9}, "high"},
        {"/slow/x", "", {"192.0.2.1", 9}, "low"},
        {"/", CLASS("critical"), {"192.0.2.1", 9}, "critical"},
        {"/fast", CLASS("low"), {"192.0.2.1", 9}, "low"},
        {"/fast", CLASS("normal"), {"192.0.2.1", 9}, "normal"},
        {"/fast", CLASS("Low"), {"192.0.2.1", 9}, "high"},
        {"/fast", CLASS("urgent"), {"192.0.2.1", 9}, "high"},
        {"/fast", CLASS(""), {"192.0.2.1", 9}, "high"},
        {"/", CLASS("low") CLASS("critical"), {"192.0.2.1", 9}, "normal"},
        {"/", CLASS("critical"), {"198.51.100.1", 12}, "normal"},
        {"/fast", CLASS("critical"), {"198.51.100.1", 12}, "high"},
        {"/", CLASS("high"), {"2001:db8::1", 11}, "high"},
    };
    static const char *const words[] = {"critical", "high", "normal", "low"};
    for (size_t i = 0; i < array_len(rows); i++) {
        char text[200], got[100], want[100] = "x ";
        test_row("%zu", i);
        struct sim *s = start(UPSTREAM("{concurrency: {max: 1, priority: {routes: {fast: high, /slow/: low}, "
                                       "header: X-Priority, trusted: [192.0.2.0/24, \"2001:db8::/32\"]}}}")
                              "routes:\n"
                              "  - {match: /, upstream: api}\n  - {match: /slow/, upstream: api}\n"
                              "  - {match: /fast, name: fast, upstream: api}\n", 1);
        ask_with(s, 0, "/x", "");
        struct sim_conn *c = sim_client_at(s, 0, 0, rows[i].ip);
        for (unsigned k = 0; k < 4; k++) {       /* it comes behind the one of its class, and before the next class's */
            snprintf(text, sizeof text, "X-Priority: %s\r\n", words[k]);
            char path[20];
            snprintf(path, sizeof path, "/%s", words[k]);
            ask_with(s, 0, path, text);
            snprintf(want + strlen(want), sizeof want - strlen(want), "%s %s", words[k],
                     strcmp(words[k], rows[i].class) ? "" : "* ");
        }
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n", rows[i].path, rows[i].fields);
        sim_say(c, text);
        got[0] = '\0';
        for (struct sim_conn *u; (u = busy_one(s)) != NULL; answer(u)) {
            const char *path = u->got + 5, *it = rows[i].path + 1;
            size_t len = strcspn(path, " ");
            bool is_it = len == strlen(it) && !strncmp(path, it, len);
            snprintf(got + strlen(got), sizeof got - strlen(got), "%.*s ", is_it ? 1 : (int)len, is_it ? "*" : path);
        }
        EXPECT_CSTR(got, want);
        SIM_END(s);
    }
}

/* Behind a proxy that is trusted for addresses, the word is the caller's own: it is his address that counts. */
TEST(the_callers_address_is_the_one_that_proxies_name)
{
    struct sim *s = start(SIM_HEAD "trusted_proxies: 192.0.2.0/24\n"
        "upstreams: {api: {endpoints: [\"http://127.0.0.1:81\"], filters: [{concurrency: {max: 1, priority: "
        "{header: x-priority, trusted: [10.0.0.0/8]}}}]}}\n"
        "routes: [{match: /, upstream: api}]\n", 1);
    char got[100];
    ask_with(s, 0, "/x", "");
    ask_with(s, 0, "/n", "");
    ask_with(s, 0, "/liar", CLASS("critical"));
    ask_with(s, 0, "/believed", CLASS("critical") "X-Forwarded-For: 10.1.2.3\r\n");
    order_of(s, got, sizeof got);
    EXPECT_CSTR(got, "x believed n liar ");
    SIM_END(s);
}

/* ---- who is put out ---- */

TEST(who_makes_room_in_a_full_queue)
{
    static const struct { const char *waiting[3], *newcomer, *refused; } rows[] = {
        {{"a1", "a2", "a3"}, "b1", "a3"},
        {{"a1", "a2", "a3"}, "a4", "a4"},
        {{"a1", "a2", "b1"}, "b2", "a2"},
        {{"a1", "b1", "a2"}, "c1", "a2"},
        {{"a1", "b1", "c1"}, "d1", "c1"},
        {{"a1", "b1", "c1"}, "b2", "b2"},
        {{"L1", "L2", "a1"}, "a2", "L2"},
        {{"C1", "H1", "a1"}, "L1", "L1"},
        {{"a1", "a2", "a3"}, "L1", "L1"},
        {{"L1", "a1", "H1"}, "C1", "L1"},
        {{"C1", "C2", "C3"}, "H1", "H1"},
    };
    for (size_t i = 0; i < array_len(rows) * 3; i++) {
        char text[200];
        struct sim_conn *c[4];
        unsigned workers = (unsigned)(i % 3) + 1;
        const char *const *w = rows[i / 3].waiting;
        test_row("%s %s %s, then %s; %u workers", w[0], w[1], w[2], rows[i / 3].newcomer, workers);
        struct sim *s = start(LIMITED("{concurrency: {max: 1, queue: 3, " FAIR ", " CLASSES "}}"), workers);
        ask(s, 0);
        for (unsigned k = 0; k < 4; k++) {
            const char *name = k < 3 ? w[k] : rows[i / 3].newcomer;
            snprintf(text, sizeof text, "X-Api-Key: %.1s\r\nX-Priority: %s\r\n", name,
                     name[0] == 'C' ? "critical" : name[0] == 'H' ? "high" : name[0] == 'L' ? "low" : "normal");
            c[k] = ask_with(s, k, "/", text);
        }
        for (unsigned k = 0; k < 4; k++) {
            const char *name = k < 3 ? w[k] : rows[i / 3].newcomer;
            EXPECT_EQ(is_answered(c[k]), !strcmp(name, rows[i / 3].refused));
            if (is_answered(c[k])) {
                EXPECT_HAS(c[k], "HTTP/1.1 503 ");
                EXPECT_HAS(c[k], "\"reason\":\"queue_full\"");
                EXPECT_HAS(c[k], "Retry-After: ");
            }
        }
        EXPECT_EQ(waiting(s), 3);
        EXPECT_EQ(refused(s, "queue_full"), 1);
        EXPECT_EQ(answer_all(s), 4);
        EXPECT_EQ(in_flight(s), 0);
        SIM_END(s);
    }
}

/* ---- what it cannot make is said at once ---- */

static unsigned long long field_of(const struct sim_conn *c, const char *name)
{
    const char *at = c->got ? strstr(c->got, name) : NULL;
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* w, and a tenth of it at the most: rounded up, in ms and in s. */
static void expect_told(const struct sim_conn *c, uint64_t wait)
{
    unsigned long long ms = field_of(c, "retry-after-ms: "), s = field_of(c, "Retry-After: ");
    EXPECT(ms >= (wait + MSEC - 1) / MSEC);
    EXPECT(ms <= (wait + wait / 10 + MSEC - 1) / MSEC);
    EXPECT_EQ(s, (ms + 999) / 1000);
}

/* The endpoint has taken `service` for each request so far. */
static void learn(struct sim *s, unsigned max, uint64_t service)
{
    for (unsigned i = 0; i < max; i++)
        ask(s, i);
    sim_advance(s, service);
    answer_all(s);
}

TEST(who_would_wait_in_vain_is_refused_at_once)
{
    static const struct { const char *yaml; unsigned max, waiters; uint64_t service, told; } rows[] = {
        /* position * service / max <= max_wait */
        {LIMITED("{concurrency: {max: 1, queue: 50, max_wait: 1s}}"), 1, 11, 100 * MSEC, 1100 * MSEC},
        {LIMITED("{concurrency: {max: 4, queue: 50, max_wait: 1s}}"), 4, 21, 200 * MSEC, 1050 * MSEC},
        {LIMITED("{concurrency: {max: 3, queue: 50, max_wait: 1s}}"), 3, 4, 1000 * MSEC, 1333333333},
        /* the deadline, of 20 s, is nearer */
        {LIMITED("{concurrency: {max: 1, queue: 50, max_wait: 1h}}"), 1, 3, 9 * SEC, 27 * SEC},
        /* nothing but the first may wait, whatever it takes */
        {LIMITED("{concurrency: {max: 1, queue: 50, max_wait: 1s}}"), 1, 1, 15 * SEC, 2 * SEC},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct sim *s = start(rows[i].yaml, 2);
        learn(s, rows[i].max, rows[i].service);
        for (unsigned k = 0; k < rows[i].max + rows[i].waiters; k++)
            EXPECT(!is_answered(ask(s, k)));
        EXPECT_EQ(waiting(s), rows[i].waiters);
        struct sim_conn *c = ask(s, 0);
        EXPECT_HAS(c, "HTTP/1.1 503 ");
        EXPECT_HAS(c, "\"reason\":\"queue_hopeless\"");
        expect_told(c, rows[i].told);
        EXPECT_EQ(refused(s, "queue_hopeless"), 1);
        SIM_END(s);
    }
}

/* A caller with few requests is not refused for what another's many would wait. */
TEST(what_a_callers_own_turn_would_be_counts)
{
    struct sim *s = start(LIMITED("{concurrency: {max: 1, queue: 50, max_wait: 1s, " FAIR "}}"), 2);
    learn(s, 1, 100 * MSEC);
    for (unsigned k = 0; k < 12; k++)
        ask_with(s, k, "/", KEY("loud"));
    EXPECT_EQ(waiting(s), 11);
    EXPECT_HAS(ask_with(s, 0, "/", KEY("loud")), "\"reason\":\"queue_hopeless\"");
    for (unsigned k = 0; k < 5; k++)             /* the k-th: (k + 1) * 2 turns */
        EXPECT(!is_answered(ask_with(s, 1, "/", KEY("polite"))));
    EXPECT_HAS(ask_with(s, 1, "/", KEY("polite")), "\"reason\":\"queue_hopeless\"");
    SIM_END(s);
}

TEST(with_a_key_the_hopeless_are_told_that_it_is_their_own_limit)
{
    struct sim *s = start(LIMITED("{concurrency: {max: 1, queue: 50, max_wait: 1s, key: \"header:x-api-key\"}}"), 1);
    ask_with(s, 0, "/", KEY("a"));
    ask_with(s, 0, "/", KEY("a"));
    sim_advance(s, 900 * MSEC);
    answer(busy_one(s));                         /* the second one goes in: so long as it is there, the key's average is known */
    for (unsigned k = 0; k < 2; k++)
        EXPECT(!is_answered(ask_with(s, 0, "/", KEY("a"))));
    struct sim_conn *c = ask_with(s, 0, "/", KEY("a"));
    EXPECT_HAS(c, "HTTP/1.1 429 ");
    EXPECT_HAS(c, "\"reason\":\"concurrency_limited\"");
    EXPECT_HAS(c, "more than this one can wait for");
    expect_told(c, 1800 * MSEC);
    EXPECT(!is_answered(ask_with(s, 0, "/", KEY("b"))));
    SIM_END(s);
}

/* Each key has an average of its own: slow requests of one do not make another's look hopeless. */
TEST(with_a_key_anothers_slow_requests_do_not_count)
{
    struct sim *s = start(LIMITED("{concurrency: {max: 1, queue: 50, max_wait: 1s, key: \"header:x-api-key\"}}"), 1);
    for (unsigned k = 0; k < 10; k++) {
        ask_with(s, 0, "/", KEY("slow"));
        sim_advance(s, 5 * SEC);
        answer_all(s);
    }
    for (unsigned k = 0; k < 10; k++)
        EXPECT(!is_answered(ask_with(s, 0, "/", KEY("quick"))));
    EXPECT_EQ(answer_all(s), 10);
    SIM_END(s);
}
