/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The top level of a configuration, and the order in which it is read: tables are read row by row, so a section stands
 * behind those that it names (routes behind upstreams, all lists of filters behind `define`). Where they stand in the
 * file does not matter.
 */
#include "conf/schema.h"

#include "conf/show.h"
#include "conf/yaml.h"

/* include.c has read it, and what it names stands in this tree. */
static int include_known(void *at, const struct yaml_node *n, struct load *l)
{
    (void)at, (void)n, (void)l;
    return 0;
}

static int version_read(void *at, const struct yaml_node *n, struct load *l)
{
    (void)at;
    if (n->type != YAML_SCALAR || !str_eq(n->text, STR("1")))
        return load_err(l, n, CODE_word, "version: must be 1, the only one that there is");
    return 0;
}

static int workers_read(void *at, const struct yaml_node *n, struct load *l)
{
    static const struct field number = {.key = "workers", .type = FIELD_COUNT, .min = 1, .max = 256};
    uint64_t *out = at;

    if (n->type == YAML_SCALAR && str_eq(n->text, STR("auto"))) {
        *out = 0;
        return 0;
    }
    if (n->type == YAML_SCALAR && n->text.len && (n->text.at[0] < '0' || n->text.at[0] > '9'))
        return load_err(l, n, CODE_word, "workers: \"%s\" is neither auto nor a number from 1 to 256", yaml_quoted(n).text);
    return field_read(&number, n, out, l);
}

static int memory_limit_read(void *at, const struct yaml_node *n, struct load *l)
{
    static const struct field size = {.key = "limit", .type = FIELD_SIZE};
    uint64_t *out = at;

    if (n->type == YAML_SCALAR && str_eq(n->text, STR("auto"))) {
        *out = UINT64_MAX;
        return 0;
    }
    return field_read(&size, n, out, l);
}

static int log_to_read(void *at, const struct yaml_node *n, struct load *l)
{
    static const struct { const char *word; enum log_to to; } words[] = {
        {"none", LOG_TO_NONE}, {"stdout", LOG_TO_STDOUT}, {"stderr", LOG_TO_STDERR},
    };
    struct snapshot *s = at;
    struct str text = n->type == YAML_SCALAR ? n->text : STR("");

    if (load_public(l, n, "a path") != 0)
        return -1;
    for (size_t i = 0; i < array_len(words); i++)
        if (str_eq(text, str_c(words[i].word))) {
            s->log_to = words[i].to;
            return 0;
        }
    if (!str_starts(text, STR("/"))) {
        struct nearest near;
        nearest_init(&near, text);
        for (size_t i = 0; i < array_len(words); i++)
            nearest_try(&near, str_c(words[i].word));
        return load_err(l, n, CODE_word, "log.to: must be stdout, stderr, none or an absolute path%s", nearest_hint(&near).text);
    }
    s->log_to = LOG_TO_FILE;
    s->log_path = text;
    return 0;
}

static int log_format_read(void *at, const struct yaml_node *n, struct load *l)
{
    (void)at;
    if (n->type != YAML_SCALAR || !str_eq(n->text, STR("json")))
        return load_err(l, n, CODE_word, "log.format: must be json, the only one that there is");
    return 0;
}

static const struct field log_fields[] = {
    {.key = "to", .type = FIELD_CUSTOM, .parse = log_to_read, .fallback = "stdout",
     .form = "`stdout`, `stderr`, `none` or an absolute path",
     .json = "{\"anyOf\":[{\"enum\":[\"stdout\",\"stderr\",\"none\"]}," SCHEMA_REF("path") "]}",
     .help = "Where the access log goes. A file is opened for appending."},
    {.key = "format", .type = FIELD_CUSTOM, .parse = log_format_read, .fallback = "json", .form = "`json`",
     .json = "{\"anyOf\":[{\"enum\":[\"json\"]}," SCHEMA_REF("variable") "]}", .help = "One JSON object a line."},
    {.type = FIELD_END},
};

static const struct field drain_fields[] = {
    {.key = "delay", .type = FIELD_DURATION, .offset = offsetof(struct snapshot, drain_delay), .fallback = "0s",
     .max = 3600 * (uint64_t)1000000000,
     .help = "How long to go on accepting after SIGTERM, while /readyz says 503 and load balancers turn away."},
    {.key = "timeout", .type = FIELD_DURATION, .offset = offsetof(struct snapshot, drain_timeout), .fallback = "8s",
     .max = 24 * 3600 * (uint64_t)1000000000,
     .help = "How long requests in flight may go on after that, before they are cut."},
    {.type = FIELD_END},
};

static const struct field memory_fields[] = {
    {.key = "limit", .type = FIELD_CUSTOM, .parse = memory_limit_read, .offset = offsetof(struct snapshot, memory_limit),
     .fallback = "auto", .form = "`auto` or a size", .json = "{\"anyOf\":[{\"const\":\"auto\"}," SCHEMA_REF("size") "]}",
     .help = "What the process may have; `auto`: the bound of its control group, if there is one; `0B`: no bound. At 80% of it "
             "request bodies that have not begun wait, at 90% new requests are answered 503, at 95% nobody is accepted."},
    {.type = FIELD_END},
};

static const struct field reload_fields[] = {
    {.key = "watch", .type = FIELD_BOOL, .offset = offsetof(struct snapshot, watch), .fallback = "true",
     .help = "Whether a change of this file, of what it includes, of the files of `${file:...}`, and of those of TLS, of listeners "
             "and of upstreams, is a reload by itself. Their folders are watched, so a ConfigMap must be mounted as a folder. "
             "If not, SIGHUP and `weir reload` do it alone."},
    {.key = "poll", .type = FIELD_DURATION, .offset = offsetof(struct snapshot, watch_poll), .fallback = "5s",
     .max = 24 * 3600 * (uint64_t)1000000000,
     .help = "How often the files are compared with what was read, for mounts that do not tell of changes; 0s: never."},
    {.type = FIELD_END},
};

static int group_read(void *at, const struct yaml_node *n, struct load *l)
{
    static const struct field f = {.key = "group", .type = FIELD_TEXT};
    struct snapshot *s = at;

    if (field_read(&f, n, &s->group, l) != 0)
        return -1;
    return s->user.len ? 0 : load_err(l, n, CODE_together, "group: stands without `user`");
}

static int seccomp_read(void *at, const struct yaml_node *n, struct load *l)
{
    static const struct field f = {.key = "seccomp", .type = FIELD_BOOL};
    struct snapshot *s = at;
    bool on = false;
    if (field_read(&f, n, &on, l) != 0)
        return -1;
    s->seccomp = on ? SECCOMP_ON : SECCOMP_OFF;
    return 0;
}

static const struct field sandbox_fields[] = {
    {.key = "seccomp", .type = FIELD_CUSTOM, .parse = seccomp_read, .form = "`true` or `false`", .json = SCHEMA_REF("boolean"),
     .help = "Whether the kernel refuses all system calls that a running gateway has no use for, such as executing programs and "
             "opening files to write. A log file must then be named at the start. By default as `WEIR_SECCOMP` in the environment "
             "says, `1` or `0`: the container image sets it."},
    {.key = "core_dumps", .type = FIELD_BOOL, .offset = offsetof(struct snapshot, core_dumps), .fallback = "false",
     .help = "Whether a crash may leave a core dump, and others of the same user may look into the process. Both hold secrets and "
             "what callers sent."},
    {.type = FIELD_END},
};

const struct field schema_fields[] = {
    {.key = "version", .type = FIELD_CUSTOM, .parse = version_read, .required = true, .form = "`1`",
     .json = "{\"anyOf\":[{\"enum\":[1,\"1\"]}," SCHEMA_REF("variable") "]}", .help = "The version of this format."},
    {.key = "include", .type = FIELD_CUSTOM, .parse = include_known, .form = "a path or a list of paths",
     .json = "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\"}}]}",
     .help = "Further files with sections of this configuration, relative to this file's folder; `*`, `?` and `[...]` in a "
             "path stand for whatever matches, sorted by name. Mappings of names (`define`, `upstreams`) and lists (`listen`, "
             "`routes`, `trusted_proxies`) of all files are joined in that order; everything else may stand in one file only."},
    {.key = "define", .type = FIELD_CUSTOM, .parse = schema_define_read, .form = "a mapping of names to filters",
     .json = SCHEMA_REF("define"),
     .help = "Filters with a name. Whoever lists the name shares the filter's state."},
    {.key = "listen", .type = FIELD_CUSTOM, .parse = schema_listens_read, .required = true,
     .sub = schema_listen_fields, .form = "an address, a mapping, or a list of these",
     .json = "{\"anyOf\":[" SCHEMA_REF("address") ",@,{\"type\":\"array\",\"minItems\":1,\"items\":"
             "{\"anyOf\":[" SCHEMA_REF("address") ",@]}}]}",
     .help = "Where clients are accepted."},
    {.key = "admin", .type = FIELD_CUSTOM, .parse = schema_admin_read, .sub = schema_admin_fields,
     .form = "an address, or a mapping", .json = "{\"anyOf\":[" SCHEMA_REF("address") ",@]}",
     .help = "Where health, metrics and control are served. Whoever may ask there controls the gateway: keep it local, or give "
             "it a token."},
    {.key = "probes", .type = FIELD_CUSTOM, .parse = schema_probes_read, .form = "an address",
     .json = SCHEMA_REF("address"),
     .help = "Where /healthz and /readyz alone are served, for a kubelet or a load balancer."},
    {.key = "log", .type = FIELD_MAP, .sub = log_fields, .help = "The access log."},
    {.key = "workers", .type = FIELD_CUSTOM, .parse = workers_read, .offset = offsetof(struct snapshot, workers),
     .fallback = "auto", .form = "`auto` or a number from 1 to 256",
     .json = "{\"anyOf\":[{\"const\":\"auto\"},{\"type\":\"integer\",\"minimum\":1,\"maximum\":256},"
             "{\"type\":\"string\",\"pattern\":\"^([1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-6])$\"},"
             "{\"$ref\":\"#/$defs/variable\"}]}",
     .help = "How many threads serve requests; `auto`: one a CPU that the process may use."},
    {.key = "max_connections", .type = FIELD_COUNT, .offset = offsetof(struct snapshot, max_connections), .min = 1,
     .max = 10000000,
     .help = "How many client connections are held at once, in all; by default what the limit of open files allows."},
    {.key = "memory", .type = FIELD_MAP, .sub = memory_fields, .help = "What is done before memory runs out."},
    {.key = "watchdog", .type = FIELD_DURATION, .offset = offsetof(struct snapshot, watchdog), .fallback = "5s",
     .max = 3600 * (uint64_t)1000000000,
     .help = "When a worker has not turned to its events for so long, the log says so, and where it stands; 0s: never."},
    {.key = "trusted_proxies", .type = FIELD_CIDRS, .offset = offsetof(struct snapshot, trusted_proxies),
     .help = "Networks of proxies in front, whose X-Forwarded-For is believed."},
    {.key = "drain", .type = FIELD_MAP, .sub = drain_fields, .help = "How the gateway stops."},
    {.key = "user", .type = FIELD_TEXT, .offset = offsetof(struct snapshot, user),
     .help = "Who to become when started by root, by name or number, once TCP ports are bound. Files that are read again at a "
             "reload must be that user's to read, the folders of unix sockets and of the log to write."},
    {.key = "group", .type = FIELD_CUSTOM, .parse = group_read, .form = "a name or number", .json = SCHEMA_REF("text"),
     .help = "The group to go with `user`; by default the user's own."},
    {.key = "sandbox", .type = FIELD_MAP, .sub = sandbox_fields, .help = "What the process gives up once it serves."},
    {.key = "reload", .type = FIELD_MAP, .sub = reload_fields, .help = "When the configuration is read again by itself."},
    {.key = "upstreams", .type = FIELD_CUSTOM, .parse = schema_upstreams_read, .sub = schema_upstream_fields,
     .form = "a mapping of names to mappings",
     .json = "{\"type\":\"object\",\"propertyNames\":" SCHEMA_REF("name") ",\"additionalProperties\":@}",
     .help = "Where requests go: groups of endpoints that serve the same."},
    {.key = "routes", .type = FIELD_CUSTOM, .parse = schema_routes_read, .required = true, .sub = schema_route_fields,
     .form = "a list of mappings", .json = "{\"type\":\"array\",\"minItems\":1,\"items\":"
     "{\"allOf\":[@," SCHEMA_ONE_OF("upstream", "respond") "]}}",
     .help = "Which request goes where. The most specific match wins, whatever the order: by host, path, method, "
             "number of headers; then the order of the file."},
    {.type = FIELD_END},
};

int schema_later_read(void *at, const struct yaml_node *n, struct load *l)
{
    (void)at, (void)n, (void)l;
    return 0;
}

const struct yaml_node *schema_map_of(struct load *l, const char *key, const struct yaml_node *value)
{
    struct yaml_node *map = arena_zalloc(l->arena, sizeof(*map));
    struct yaml_node *k = arena_zalloc(l->arena, sizeof(*k));
    struct yaml_node *v = arena_zalloc(l->arena, sizeof(*v));
    struct yaml_entry *e = arena_zalloc(l->arena, sizeof(*e));

    *k = (struct yaml_node){.type = YAML_SCALAR, .line = value->line, .col = value->col, .source = value->source,
                            .text = str_c(key)};
    k->shown = k->text;
    *v = *value;
    *e = (struct yaml_entry){.key = k, .value = v};
    *map = (struct yaml_node){.type = YAML_MAP, .line = value->line, .col = value->col, .source = value->source,
                              .broken = value->broken, .entries = e, .n = 1};
    return map;
}

static bool has_no_value(const struct yaml_node *root, const char *key)
{
    const struct yaml_node *n = yaml_get(root, key);
    return n && n->type == YAML_NULL;
}

int schema_read(struct schema *s, const struct yaml_node *root)
{
    if (root->type == YAML_NULL)
        return load_err(&s->load, root, CODE_empty, "the configuration is empty; it needs version, listen and routes");
    size_t before = s->load.diags->errors;
    s->load.node = root;
    s->load.snap->node = root;
    /* Without a value both were told already; who names something of theirs has it below a slip of the indentation. */
    s->define_broken = has_no_value(root, "define");
    s->upstreams_broken = has_no_value(root, "upstreams");
    show_root(s->load.show, root);
    int res = fields_read(schema_fields, root, s->load.snap, &s->load);
    if (schema_listens_check(s, root) != 0)
        res = -1;
    if (schema_instances_check(s) != 0)
        res = -1;
    /* What follows from an error of before (a variable that is not set) is not told again. */
    check(res != 0 ? s->load.diags->errors > 0 : s->load.diags->errors == before);
    return res;
}
