/* SPDX-License-Identifier: Apache-2.0 */
#include "diag_fixture.h"

#include "conf/load.h"
#include "conf/snapshot.h"
#include "conf/yaml.h"
#include "filters/limit_key.h"
#include "lib/check.h"
#include "lib/ip.h"
#include "request.h"

/* ---- a request, as far as keys look at it ---- */

struct request {
    struct arena arena;
    struct http_head head;
    struct ip client;
    struct str query, host, route, param, consumer, cookie;
    bool cookie_repeated;
};

struct str request_query(const struct request *r) { return r->query; }
struct str request_host(const struct request *r) { return r->host; }
struct str request_route(const struct request *r) { return r->route; }
const struct ip *request_client(const struct request *r) { return &r->client; }
struct arena *request_arena(struct request *r) { return &r->arena; }
struct http_head *request_head(struct request *r) { return &r->head; }

struct str request_param(const struct request *r, struct str name)
{
    return str_eq(name, STR("id")) ? r->param : str_of(NULL, 0);
}

struct str request_attribute(const struct request *r, unsigned index)
{
    return index == 1 ? r->consumer : str_of(NULL, 0);
}

struct str request_cookie(const struct request *r, struct str name, bool *repeated)
{
    bool it = str_eq(name, STR("sid"));
    *repeated = it && r->cookie_repeated;
    return it ? r->cookie : str_of(NULL, 0);
}

/* "ip 192.0.2.1; h X-Key: abc; query a=b; host H; route r; param p; consumer c; cookie v": all but "h" once. */
static void request_init(struct request *r, const char *text)
{
    struct str rest = str_c(text);

    *r = (struct request){.client.family = 0};
    arena_init(&r->arena, NULL);
    while (rest.len) {
        const char *end = memchr(rest.at, ';', rest.len);
        struct str item = str_trim(end ? str_of(rest.at, (size_t)(end - rest.at)) : rest);
        const char *blank = memchr(item.at, ' ', item.len);
        struct str word = str_of(item.at, (size_t)(blank - item.at)), value = str_of(blank + 1, item.len - word.len - 1);
        const struct { const char *word; struct str *at; } texts[] = {
            {"query", &r->query}, {"host", &r->host}, {"route", &r->route}, {"param", &r->param},
            {"consumer", &r->consumer}, {"cookie", &r->cookie},
        };
        for (size_t i = 0; i < array_len(texts); i++)
            if (str_eq(word, str_c(texts[i].word)))
                *texts[i].at = value;
        if (str_eq(word, STR("ip")))
            EXPECT(ip_parse(value, &r->client));
        if (str_eq(word, STR("h"))) {
            const char *colon = memchr(value.at, ':', value.len);
            struct str name = str_of(value.at, (size_t)(colon - value.at));
            http_head_add(&r->head, &r->arena, name, str_trim(str_of(colon + 1, value.len - name.len - 1)));
        }
        rest = end ? str_of(end + 1, rest.len - (size_t)(end - rest.at) - 1) : str_of("", 0);
    }
}

/* ---- a key, as it is read ---- */

struct reading {
    struct arena arena;
    struct snapshot snap;
    struct load load;
    struct limit_key key;
    struct diags diags;
    struct err err;                      /* the first error, in reading_failed() */
};

static struct str provided[] = {{"something", 9}, {"consumer", 8}};

static bool reading_begin(struct reading *t, const char *yaml)
{
    struct yaml_node *node;

    *t = (struct reading){.err.text = ""};
    arena_init(&t->arena, NULL);
    t->snap.attributes = (struct texts){provided, 2};
    t->load = (struct load){.arena = &t->arena, .snap = &t->snap, .diags = &t->diags};
    bool ok = EXPECT_EQ(yaml_from(&t->arena, yaml, &node, &t->diags), 0) &&
              limit_key_parse(&t->key, yaml_get(node, "key"), &t->load) == 0;
    EXPECT_EQ(diags_take(&t->diags, &t->err) == 0, ok);
    return ok;
}

static void reading_must(struct reading *t, const char *yaml)
{
    if (!EXPECT(reading_begin(t, yaml)))
        printf("%s\n", t->err.text);
    if (!EXPECT_EQ(limit_key_check(&t->key, &t->load), 0))
        (void)diags_take(&t->diags, &t->err), printf("%s\n", t->err.text);
}

static void reading_end(struct reading *t) { arena_fini(&t->arena); }

static const struct hash_key secret = {0x0123456789abcdef, 0xfedcba9876543210};

TEST(what_may_be_written)
{
    static const struct { const char *yaml, *texts; } rows[] = {
        {"key: all", ""},
        {"key: [all]", ""},
        {"key: client_ip", "client_ip"},
        {"key: header:X-Api-Key", "header:X-Api-Key"},
        {"key: [\"header:x\", cookie:sid, query:k, param:id, host, route, consumer, client_ip]",
         "header:x, cookie:sid, query:k, param:id, host, route, consumer, client_ip"},
        {"key: header:x+client_ip", "header:x + client_ip"},
        {"key: '  header:x  +host+  client_ip + route '", "header:x + host + client_ip + route"},
        {"key: [cookie:sid + header:x, header:x, cookie:sid]", "cookie:sid + header:x, header:x, cookie:sid"},
        {"key: [cookie:a, cookie:A]", "cookie:a, cookie:A"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct reading t;
        char got[300] = "";
        test_row("%s", rows[i].yaml);
        reading_must(&t, rows[i].yaml);
        for (size_t j = 0; j < t.key.n; j++)
            snprintf(got + strlen(got), sizeof got - strlen(got), "%s" STR_FMT, j ? ", " : "", STR_ARG(t.key.v[j].text));
        EXPECT_CSTR(got, rows[i].texts);
        EXPECT_EQ(t.key.node->line, 1);
        reading_end(&t);
    }
}

TEST(what_may_not)
{
    static const struct { const char *yaml; unsigned col; const char *error; } rows[] = {
        {"key: heder:x-api-key", 6, "\"heder:x-api-key\" is nothing to tell callers apart by; write client_ip, header:NAME, "
         "cookie:NAME, query:NAME, param:NAME, host, route, consumer or all; did you mean \"header\"?"},
        {"key: [client_ip, x]", 18, "\"x\" is nothing to tell callers apart by; write client_ip, header:NAME, cookie:NAME, "
         "query:NAME, param:NAME, host, route, consumer or all"},
        {"key: 'header:'", 6, "\"header:\" lacks a name; write it like \"header:NAME\""},
        {"key: header:Host", 6, "header:Host: write `host`, which knows no port and no case"},
        {"key: header:te", 6, "header:te belongs to the connection and is gone before filters run"},
        {"key: cookie", 6, "\"cookie\" lacks a name; write it like \"cookie:NAME\""},
        {"key: client_ip:x", 6, "\"client_ip:x\": client_ip takes no name"},
        {"key: 'host:'", 6, "\"host:\": host takes no name"},
        {"key: 'header:x y'", 6, "header: \"x y\" is not a name: letters, digits and !#$%&'*-.^_`|~ only"},
        {"key: query:a=b", 6, "query: \"a=b\" is not a name: letters, digits and !#$%&'*-.^_`|~ only"},
        {"key: 'header:x + '", 6, "\"header:x + \" lacks a part; client_ip, header:NAME, cookie:NAME, query:NAME, "
         "param:NAME, host, route, consumer or all is one, \"a + b\" is both"},
        {"key: ''", 6, "\"\" lacks a part; client_ip, header:NAME, cookie:NAME, query:NAME, param:NAME, host, route, "
         "consumer or all is one, \"a + b\" is both"},
        {"key: [all, client_ip]", 7, "`all` is one key for everybody: it stands alone"},
        {"key: host + all", 6, "`all` is one key for everybody: it stands alone"},
        {"key: []", 6, "the list is empty; client_ip, header:NAME, cookie:NAME, query:NAME, param:NAME, host, route, "
         "consumer or all may stand there"},
        {"key: {header: x}", 6, "a key is a single value, like \"header:x-api-key\"; client_ip, header:NAME, "
         "cookie:NAME, query:NAME, param:NAME, host, route, consumer or all"},
        {"key: [[host]]", 7, "a key is a single value, like \"header:x-api-key\"; client_ip, header:NAME, "
         "cookie:NAME, query:NAME, param:NAME, host, route, consumer or all"},
        {"key: header:a + host + header:A", 6, "\"header:A\" stands twice in \"header:a + host + header:A\""},
        {"key: cookie:a + cookie:b + cookie:c + cookie:d + cookie:e", 6,
         "\"cookie:a + cookie:b + cookie:c + cookie:d + cookie:e\" joins too many parts; at most 4"},
        {"key: [cookie:a, cookie:b, cookie:c, cookie:d, cookie:e, cookie:f, cookie:g, cookie:h, cookie:i]", 6,
         "the list names 9 keys; at most 8"},
        {"key: [header:a, host, header:A]", 23, "\"header:A\" stands twice in the list"},
        {"key: [header:a + host, host + header:a]", 24, "\"host + header:a\" stands twice in the list"},
        {"key: [header:a, host + header:a]", 17,
         "\"host + header:a\" would never count: who has it has \"header:a\", which stands before it"},
        {"key: [header:a + client_ip, cookie:b + header:a]", 29,
         "\"cookie:b + header:a\" would never count: who has it has \"header:a + client_ip\", which stands before it"},
        {"key: [client_ip, header:a]", 18,
         "\"header:a\" would never count: every request has a client_ip, which stands before it"},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct reading t;
        test_row("%s", rows[i].yaml);
        EXPECT(!reading_begin(&t, rows[i].yaml));
        EXPECT_CSTR(t.err.text, rows[i].error);
        EXPECT_EQ(t.err.line, 1);
        EXPECT_EQ(t.err.col, rows[i].col);
        reading_end(&t);
    }
}

TEST(a_consumer_needs_a_provider)
{
    struct reading t;

    EXPECT(reading_begin(&t, "key: [header:a + consumer, host]"));
    t.snap.attributes.n = 1;
    EXPECT_EQ(limit_key_check(&t.key, &t.load), -1);
    EXPECT_EQ(diags_take(&t.diags, &t.err), -1);
    EXPECT_CSTR(t.err.text, "no filter of this configuration provides \"consumer\"");
    EXPECT_EQ(t.err.line, 1);
    EXPECT_EQ(t.err.col, 6);
    reading_end(&t);
}

TEST(a_default_has_no_place)
{
    const struct yaml_node n = {.type = YAML_SCALAR, .text = STR("client_ip"), .plain = true};
    struct reading t = {.err.text = ""};

    arena_init(&t.arena, NULL);
    t.load = (struct load){.arena = &t.arena};
    EXPECT_EQ(limit_key_parse(&t.key, &n, &t.load), 0);
    EXPECT(t.key.node == NULL);
    EXPECT_EQ(t.key.n, 1);
    reading_end(&t);
}

static bool key_of(const char *yaml, const char *request, const struct hash_key *with, uint64_t *out)
{
    struct reading t;
    struct request r;

    reading_must(&t, yaml);
    request_init(&r, request);
    r.cookie_repeated = strstr(request, "cookie twice") != NULL;
    bool ok = limit_key_of(&t.key, &r, with, out);
    arena_fini(&r.arena);
    reading_end(&t);
    return ok;
}

TEST(who_is_the_same_caller)
{
    static const struct { const char *yaml, *one, *two; bool same; } rows[] = {
        {"key: client_ip", "ip 192.0.2.1", "ip 192.0.2.1; h X: y", true},
        {"key: client_ip", "ip 192.0.2.1", "ip 192.0.2.2", false},
        {"key: client_ip", "ip 2001:db8:1:2::3", "ip 2001:db8:1:2:ffff::4", true},
        {"key: client_ip", "ip 2001:db8:1:2::3", "ip 2001:db8:1:3::3", false},
        {"key: client_ip", "ip 1.2.3.4", "ip 102:304::", false},
        {"key: client_ip", "host a", "host b", true},                          /* both over a unix socket */
        {"key: client_ip", "host a", "ip 0.0.0.0", false},
        {"key: all", "ip 192.0.2.1; host a", "ip 192.0.2.2; host b", true},
        {"key: header:x-key", "ip 1.1.1.1; h X-Key: a", "ip 2.2.2.2; h x-key:   a  ", true},
        {"key: header:x-key", "ip 1.1.1.1; h X-Key: a", "ip 1.1.1.1; h X-Key: A", false},
        {"key: header:x-key", "ip 1.1.1.1; h X-Key:", "ip 1.1.1.1", true},     /* empty is none */
        {"key: header:x-key", "ip 1.1.1.1; h X-Key:", "ip 2.2.2.2; h X-Key:", false},
        {"key: header:x-key", "ip 1.1.1.1; h X-Other: a", "ip 1.1.1.1", true},
        {"key: query:k", "ip 1.1.1.1; query k=a", "ip 2.2.2.2; query x=1&k=%61&y", true},
        {"key: query:k", "query k=a+b", "query %6b=a%20b", true},
        {"key: query:k", "query k=a%2", "query k=a%2&", true},
        {"key: query:k", "query k=a", "query k=A", false},
        {"key: query:k", "ip 1.1.1.1; query k=", "ip 1.1.1.1; query kk=a", true},
        {"key: query:k", "ip 1.1.1.1; query k=", "ip 1.1.1.1; query k=a", false},
        {"key: param:id", "param 7", "param 7; host x", true},
        {"key: param:id", "param 7", "param 8", false},
        {"key: param:id", "param a@b", "param a%40b", true},           /* as back ends read it */
        {"key: param:id", "param a%C3%A9", "param a%c3%a9", true},
        {"key: param:id", "param a+b", "param a%20b", false},
        {"key: param:id", "param a+b", "param a%2Bb", true},
        {"key: param:other", "param 7", "param 8", true},
        {"key: host", "host API.example", "host api.EXAMPLE", true},
        {"key: host", "host a", "host b", false},
        {"key: route", "route a", "route a; ip 1.1.1.1", true},
        {"key: route", "route a", "route b", false},
        {"key: consumer", "consumer a; ip 1.1.1.1", "consumer a", true},
        {"key: consumer", "consumer a", "consumer b", false},
        {"key: cookie:sid", "cookie a", "cookie a; ip 1.1.1.1", true},
        {"key: cookie:sid", "cookie a", "cookie b", false},
        {"key: cookie:sid", "cookie a", "cookie %61", true},
        {"key: cookie:sid", "cookie a+b", "cookie a b", false},
        {"key: header:a + header:b", "h A: ab; h B: c", "h A: a; h B: bc", false},
        {"key: header:a + header:b", "h A: ab; h B: c", "h B: c; h A: ab", true},
        {"key: header:a + header:b", "h A: x; h B: y", "h A: y; h B: x", false},
        {"key: header:a + header:b", "ip 1.1.1.1; h A: x", "ip 1.1.1.1; h B: x", true},         /* both fall */
        {"key: header:a + client_ip", "ip 1.1.1.1; h A: x", "ip 2.2.2.2; h A: x", false},
        {"key: cookie:sid", "cookie a", "cookie \"a\"", true},
        {"key: cookie:sid", "cookie \"", "cookie \"\"\"", true},
        {"key: cookie:sid", "ip 1.1.1.1; cookie \"\"", "ip 1.1.1.1", true},       /* empty is none */
        {"key: header:Authorization", "h Authorization: Bearer a", "h authorization: bearer   a", true},
        {"key: header:Authorization", "h Authorization: Bearer a", "h Authorization: Bearer A", false},
        {"key: header:Authorization", "h Authorization: Bearer a b", "h Authorization: Bearer a", false},
        {"key: header:Authorization", "h Authorization: Bearer", "h Authorization: a", false},
        {"key: header:x-key", "h X-Key: Bearer a", "h X-Key: bearer a", false},
        {"key: [header:a, cookie:sid]", "h A: x; cookie y", "h A: x; cookie z", true},
        {"key: [header:a, cookie:sid]", "h A: x", "cookie x", false},
        {"key: [header:a, client_ip]", "ip 1.1.1.1", "ip 1.1.1.1; h A:", true},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        uint64_t one = 1, two = 2;
        test_row("%s: %s / %s", rows[i].yaml, rows[i].one, rows[i].two);
        EXPECT(key_of(rows[i].yaml, rows[i].one, &secret, &one));
        EXPECT(key_of(rows[i].yaml, rows[i].two, &secret, &two));
        EXPECT_EQ(one == two, rows[i].same);
    }
}

TEST(what_is_ambiguous)
{
    static const struct { const char *yaml, *request; bool ok; } rows[] = {
        {"key: header:x-key", "h X-Key: a; h X-Key: a", false},
        {"key: header:x-key", "h X-Key: a; h x-key:", false},
        {"key: header:x-key", "h X-Key: a; h X_Key: b", false},                /* one name to many back ends */
        {"key: header:x-key", "h X_Key: a", false},
        {"key: header:x-key", "h X.Key: a; h X-Key: b", false},
        {"key: header:x-key", "h X-Key: a; h X-Keys: b", true},
        {"key: header:x-key", "h Other: a; h Other: b", true},
        {"key: query:k", "query k=a&k=a", false},
        {"key: query:k", "query k=a&%6B=b", false},
        {"key: query:k", "query k&k", false},
        {"key: query:k", "query k=a&K=b&kk=c", true},
        {"key: cookie:sid", "cookie twice", false},
        {"key: cookie:other", "cookie twice", true},
        {"key: header:a + header:b", "h B: x; h B: y", false},                 /* although the first is missing */
        {"key: [header:a, header:b]", "h A: x; h B: y; h B: z", true},         /* the second does not count */
        {"key: [header:a, header:b]", "h A: x; h A: y; h B: z", false},
        {"key: [header:a, header:b]", "h B: x; h B: z", false},
        {"key: [query:k, client_ip]", "query k=a&k=b", false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        uint64_t key;
        test_row("%s: %s", rows[i].yaml, rows[i].request);
        EXPECT_EQ(key_of(rows[i].yaml, rows[i].request, &secret, &key), rows[i].ok);
    }
}

/* Equal values of two parts are two keys, and a key is the same in another configuration. */
TEST(a_part_is_a_domain_and_stays_it)
{
    static const char *const parts[][2] = {
        {"key: header:k", "h K: v"}, {"key: header:k2", "h K2: v"}, {"key: query:k", "query k=v"},
        {"key: cookie:sid", "cookie v"}, {"key: param:id", "param v"}, {"key: host", "host v"}, {"key: route", "route v"},
        {"key: consumer", "consumer v"}, {"key: all", "host v"}, {"key: client_ip", "host v"},
        {"key: header:k + client_ip", "h K: v"},
    };
    uint64_t keys[array_len(parts)], again;

    for (size_t i = 0; i < array_len(parts); i++) {
        test_row("%s", parts[i][0]);
        EXPECT(key_of(parts[i][0], parts[i][1], &secret, &keys[i]));
        for (size_t j = 0; j < i; j++)
            EXPECT(keys[i] != keys[j]);
    }
    EXPECT(key_of("key: [cookie:other, header:K, host]", "h K: v; host x", &secret, &again));
    EXPECT_EQ(again, keys[0]);
    EXPECT(key_of("key: [cookie:other, header:x]", "host x", &secret, &again));
    EXPECT_EQ(again, keys[9]);
}

TEST(without_the_secret_nobody_can_aim)
{
    const struct hash_key other = {secret.k0 ^ 1, secret.k1};
    static const char *const parts[][2] = {
        {"key: client_ip", "ip 192.0.2.1"}, {"key: header:k", "h K: v"}, {"key: all", "host h"},
    };
    for (size_t i = 0; i < array_len(parts); i++) {
        uint64_t a = 0, b = 0;
        test_row("%s", parts[i][0]);
        EXPECT(key_of(parts[i][0], parts[i][1], &secret, &a));
        EXPECT(key_of(parts[i][0], parts[i][1], &other, &b));
        EXPECT(a != b);
    }
}

TEST(a_long_value_counts_to_its_end)
{
    static char request[8300];
    uint64_t key[3];

    for (int i = 0; i < 3; i++) {
        snprintf(request, sizeof request, "query k=%%41%0*d", 8000, i);
        EXPECT(key_of("key: query:k", request, &secret, &key[i]));
    }
    EXPECT(key[0] != key[1] && key[1] != key[2]);
}

TEST(the_key_of_given_values)
{
    static const char list[] = "key: [\"header:a + host\", query:k, client_ip + cookie:sid, route]";
    static const struct { const char *yaml, *request; size_t i; const char *values[2]; bool ok; } rows[] = {
        {list, "h A: x; host H", 0, {"x", "h"}, true},
        {list, "query k=%61", 1, {"a"}, true},
        {list, "ip 2001:db8::1; cookie c", 2, {"2001:db8::ffff", "c"}, true},
        {list, "cookie c", 2, {"unix", "c"}, true},
        {list, "route r", 3, {"r"}, true},
        {list, "ip 192.0.2.1", 4, {"192.0.2.1"}, true},
        {"key: client_ip", "ip 192.0.2.1", 0, {"192.0.2.1"}, true},
        {"key: client_ip", "ip 192.0.2.1", 1, {"192.0.2.1"}, true},
        {"key: all", "ip 192.0.2.1", 0, {NULL}, true},
        {"key: all", "", 0, {"x"}, false},
        {"key: all", "", 1, {NULL}, false},
        {list, "", 0, {"x"}, false},
        {list, "", 1, {"x", "y"}, false},
        {list, "", 1, {""}, false},
        {list, "", 1, {NULL}, false},
        {list, "", 2, {"192.0.2", "c"}, false},
        {list, "", 4, {"somebody"}, false},
        {list, "", 4, {"192.0.2.1", "x"}, false},
        {list, "", 5, {"192.0.2.1"}, false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct reading t;
        uint64_t got = 1, wanted = 2;
        struct str values[2] = {str_c(rows[i].values[0]), str_c(rows[i].values[1])};
        size_t n = rows[i].values[1] ? 2 : rows[i].values[0] ? 1 : 0;
        test_row("%zu: %s", i, rows[i].yaml);
        reading_must(&t, rows[i].yaml);
        EXPECT_EQ(limit_key_of_values(&t.key, rows[i].i, values, n, &secret, &got), rows[i].ok);
        if (rows[i].ok) {
            EXPECT(key_of(rows[i].yaml, rows[i].request, &secret, &wanted));
            EXPECT_EQ(got, wanted);
        }
        reading_end(&t);
    }
}

TEST(which_keys_are_the_same)
{
    static const struct { const char *a, *b; bool same; } rows[] = {
        {"key: client_ip", "key: [client_ip]", true},
        {"key: header:x+host", "key: \"header:x + host\"", true},
        {"key: all", "key: client_ip", false},
        {"key: [header:x, host]", "key: [host, header:x]", false},
        {"key: header:x", "key: [header:x, host]", false},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct reading a, b;
        test_row("%zu", i);
        reading_must(&a, rows[i].a);
        reading_must(&b, rows[i].b);
        EXPECT_EQ(limit_key_same(&a.key, &b.key), rows[i].same);
        reading_end(&a);
        reading_end(&b);
    }
}
