/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations of several files: what they become, and whom errors blame. */
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include "conf/diag.h"
#include "conf/digest.h"
#include "conf/include.h"

static char folder[] = "/tmp/weir_include_test_XXXXXX";

static const char *path_of(const char *name)
{
    static char path[300];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    if (EXPECT(f != NULL)) {
        EXPECT_EQ(fwrite(text, 1, strlen(text), f), strlen(text));
        fclose(f);
    }
}

static void begin(void)
{
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    EXPECT(mkdtemp(folder) != NULL);
}

static void end(void)
{
    char cmd[200];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", folder);
    EXPECT_EQ(system(cmd), 0);
}

/* Room for text; what does not fit is cut. */
struct out { char text[20000]; };

static void say(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct out *o, const char *fmt, ...)
{
    size_t len = strlen(o->text);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(o->text + len, sizeof(o->text) - len, fmt, ap);
    va_end(ap);
}

/* The tree in one line, each scalar with its file's name, unless that is the main one's. */
static void say_tree(struct out *o, const struct yaml_node *n)
{
    const char *slash = n->source ? strrchr(n->source->name, '/') : NULL;
    if (n->type == YAML_SCALAR)
        say(o, STR_FMT "%s%s", STR_ARG(n->text), slash && strcmp(slash, "/main") ? "@" : "",
            slash && strcmp(slash, "/main") ? slash + 1 : "");
    for (size_t i = 0; n->type != YAML_SCALAR && n->type != YAML_NULL && i < n->n; i++) {
        say(o, "%s", i ? " " : n->type == YAML_MAP ? "{" : "[");
        if (n->entries[i].key)
            say(o, STR_FMT "=", STR_ARG(n->entries[i].key->text));
        say_tree(o, n->entries[i].value);
    }
    if (n->type == YAML_LIST || n->type == YAML_MAP)
        say(o, n->type == YAML_MAP ? "}" : "]");
}

/* Without the folder. */
static const char *bare(const char *text)
{
    static struct out o;
    size_t len = strlen(folder) + 1, n = 0;

    for (; *text && n < sizeof(o.text) - 1; text++) {
        if (!strncmp(text, folder, len - 1) && text[len - 1] == '/')
            text += len;
        o.text[n++] = *text;
    }
    o.text[n] = '\0';
    return o.text;
}

/* The tree of "main", or what is wrong with it, each line without its quotes. */
static void expect(const char *wanted)
{
    struct arena arena;
    struct sources sources;
    struct diags diags = {.n = 0};
    struct yaml_set set = {.arena = &arena, .limits = &yaml_limits_default, .diags = &diags, .sources = &sources};
    struct yaml_node *root = NULL;
    struct out o = {""};

    arena_init(&arena, NULL);
    sources_init(&sources, &arena);
    int res = include_read(&set, path_of("main"), &root);
    for (size_t i = 0; i < diags.n; i++)
        say(&o, "%s%s:%u:%u: %s %s", i ? "\n" : "", diags.v[i]->file, diags.v[i]->line, diags.v[i]->col,
            diag_code_text(diags.v[i]->code).text, diags.v[i]->text);
    EXPECT(res == 0 || diags.n > 0);
    if (diags.n == 0)
        say_tree(&o, root);
    EXPECT_CSTR(bare(o.text), wanted);
    diags_fini(&diags);
    arena_fini(&arena);
}

TEST(files_are_joined_in_order)
{
    begin();
    put("main", "version: 1\ninclude: [base, \"r*.yaml\"]\nlisten: a\nroutes: [1]\n");
    put("base", "upstreams: {u: x}\nlisten: [b, c]\nworkers: 2\nroutes: [2]\n");
    put("r2.yaml", "version: 1\nroutes: [4]\nupstreams: {w: z}\n");
    put("r1.yaml", "routes: [3]\nupstreams: {v: y}\nlisten: {at: d}\n");
    put("r3.yaml", "# nothing yet\n");
    expect("{version=1 include=[base r*.yaml] listen=[a b@base c@base {at=d@r1.yaml}] "
           "routes=[1 2@base 3@r1.yaml 4@r2.yaml] upstreams={u=x@base v=y@r1.yaml w=z@r2.yaml} workers=2@base}");
    put("main", "include: base\n");
    expect("{include=base upstreams={u=x@base} listen=[b@base c@base] workers=2@base routes=[2@base]}");
    put("main", "include: 'none*'\nlisten: x\n");
    expect("{include=none* listen=x}");
    setenv("WEIR_TEST_NAME", "ba", 1);
    put("main", "include: ${WEIR_TEST_NAME}se\n");
    expect("{include=base upstreams={u=x@base} listen=[b@base c@base] workers=2@base routes=[2@base]}");
    end();
}

TEST(names_and_single_values_stand_once)
{
    begin();
    put("main", "include: [a, b]\nadmin: x\nupstreams:\n  api: 1\n  web: 1\n");
    put("a", "upstreams:\n  db: 2\n  api: 2\n");
    put("b", "# b\nadmin: y\nupstreams: {db: 3}\nworkers: 1\nroutes: {x: 1}\n");
    expect("a:3:3: E040 \"api\" stands at main:4 already\n"
           "b:2:1: E040 admin: may stand in one file only, and stands at main:2 already\n"
           "b:3:13: E040 \"db\" stands at a:2 already");
    put("a", "routes:\n");
    put("b", "routes: {x: 1}\nlisten:\n");
    put("main", "include: [a, b]\nroutes: [1]\nlisten: 1\n");
    expect("a:1:8: E015 routes: must be a list\n"
           "b:1:9: E014 routes: must be a list\n"
           "b:2:8: E015 listen: must be an address or a list of them");
    end();
}

TEST(what_an_included_file_may_not_be)
{
    begin();
    put("main", "version: 1\ninclude:\n- none\n- sub\n- ok\n- ok\n- [x]\n- a\n- main\n- ''\n- deep\n");
    put("ok", "routes: []\n");
    put("a", "include: b\nversion: 2\nx: [\n");
    put("deep", "include: ok\n");
    EXPECT_EQ(mkdir(path_of("sub"), 0700), 0);
    expect("main:3:3: E011 include: none: cannot open it: No such file or directory\n"
           "main:4:3: E011 include: sub: cannot read it: it is a directory, and must be a regular file\n"
           "main:6:3: E011 include: ok is part of this configuration already\n"
           "main:7:3: E014 include: must be a path or a list of paths\n"
           "main:9:3: E011 include: main is part of this configuration already\n"
           "main:10:3: E014 include: must be a path or a list of paths\n"
           "a:4:1: E004 not valid YAML: did not find expected node content, while parsing a flow node that begins at 4:1\n"
           "deep:1:1: E011 include: a file that is included may not include others; name them in main");
    put("main", "include: [a, ok]\n");
    put("a", "- 1\n");
    expect("a:1:1: E014 an included file must be a mapping with sections of the configuration: routes, upstreams, ...");
    put("main", "include: []\n");
    expect("main:1:10: E017 include: the list is empty");
    put("main", "include: {a: b}\n");
    expect("main:1:10: E014 include: must be a path or a list of paths");
    put("main", "include: [a]\n");
    put("a", "a: \xff\n");
    expect("a:1:4: E003 not UTF-8; save it as UTF-8");
    put("main", "include: a\nx: ${WEIR_TEST_UNSET}\n");
    put("a", "x: ${\nversion: 2\n");
    expect("main:2:4: E008 ${WEIR_TEST_UNSET} is not set; set it, or write ${WEIR_TEST_UNSET:-default}\n"
           "a:1:4: E009 \"${\": ${ without its }; a literal ${ is written $${\n"
           "a:2:10: E024 version: must be 1, the only one that there is");
    setenv("WEIR_TEST_KEY", "base", 1);
    put("main", "include: ${WEIR_TEST_KEY}.yaml\n");
    expect("main:1:10: E018 include: a path is printed, and so no place for a secret: ***.yaml");
    end();
}

TEST(a_file_counts_once)
{
    char to[300];
    begin();
    put("main", "include: ['*', 'm*', a]\nroutes: [1]\n");
    put("a", "routes: [2]\n");
    expect("main:1:22: E011 include: a is part of this configuration already");
    put("main", "include: [a, '*', 'm*']\nroutes: [1]\n");
    snprintf(to, sizeof(to), "%s", path_of("a"));
    EXPECT_EQ(symlink(to, path_of("b")), 0);
    put("a~", "routes: [3]\n");
    put(".c", "routes: [3]\n");
    expect("{include=[a * m*] routes=[1 2@a]}");
    end();
}

TEST(links_that_lead_nowhere)
{
    char to[300];
    begin();
    put("main", "include: '[a-l]*'\n");
    EXPECT_EQ(symlink("/nowhere/x", path_of("dangling")), 0);
    snprintf(to, sizeof(to), "%s", path_of("loop"));
    EXPECT_EQ(symlink(to, to), 0);
    expect("main:1:10: E011 include: dangling: cannot open it: a link to /nowhere/x, which does not exist\n"
           "main:1:10: E011 include: loop: cannot open it: Too many levels of symbolic links");
    end();
}

/* All patterns together look at so many names, not each. */
TEST(thousands_of_patterns)
{
    char name[32], text[20000] = "include:\n- &p '*.zz'\n";
    begin();
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "%d.yaml", i);
        put(name, "");
    }
    for (int i = 0; i < 1200; i++)
        strcat(text, "- *p\n");
    put("main", text);
    expect("main:2:3: E002 include: *.zz: more than 100000 names to look at, by all patterns together");
    end();
}

TEST(thousands_of_files)
{
    char name[32];
    begin();
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "%d.yaml", i);
        put(name, "routes: [x]\n");
    }
    put("main", "include: '*.yaml'\n");
    struct arena arena;
    struct sources sources;
    arena_init(&arena, NULL);
    sources_init(&sources, &arena);
    include_sources(path_of("main"), &sources);
    EXPECT_EQ(sources.n, 1001);
    EXPECT_EQ(sources.n_globs, 1);
    arena_fini(&arena);
    put("1000.yaml", "routes: [x]\n");
    expect("main:1:10: E002 include: more than 1000 files");
    end();
}

TEST(bytes_are_bounded_together)
{
    char *big = malloc(9000001);
    begin();
    memset(big, '#', 9000000);
    big[9000000] = '\0';
    put("a", big);
    put("b", big);
    put("main", "include: [a, b]\n");
    free(big);
    expect("main:1:14: E002 include: b: longer than 7777200 bytes, which is what the files before it left");
    end();
}

/* What there is to watch is listed even of a configuration that cannot be read. */
TEST(what_was_read_is_listed)
{
    struct arena arena;
    struct sources sources;
    struct out o = {""}, text = {""};

    begin();
    put("secret", "x\n");
    say(&text, "include: [a, none, 'd.*']\nx: ['${file:%s}', '${file:%s}']\n", path_of("secret"), "/none");
    put("main", text.text);
    put("a", "x: [\n");
    put("d.1", "x: y\n");
    arena_init(&arena, NULL);
    sources_init(&sources, &arena);
    include_sources(path_of("main"), &sources);
    for (size_t i = 0; i < sources.n; i++) {
        size_t left = 1000;
        bool there = !strstr(sources.v[i].path, "none");
        say(&o, "%d:%s ", sources.v[i].kind, sources.v[i].path);
        EXPECT_EQ(sources.v[i].digest, there ? digest_file(sources.v[i].path, &left) : DIGEST_UNKNOWN);
    }
    for (size_t i = 0; i < sources.n_globs; i++)
        say(&o, "%s", sources.globs[i]);
    EXPECT_CSTR(bare(o.text), "0:main 2:secret 2:/none 1:a 1:none 1:d.1 d.*");
    arena_fini(&arena);
    end();
}
