/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verbs that ask a running gateway, by its admin listener: reload, breaker, healthcheck.
 *
 * Where that is they are told, or read in the gateway's file, and there only the keys that say it: the file may be just
 * what is to be reloaded, good or bad, and a container is no less healthy because somebody edits its configuration.
 */
#include "verb_admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "conf/diag.h"
#include "conf/include.h"
#include "control.h"
#include "lib/clock.h"

static int option_read(struct command *c, int argc, char **argv, int i)
{
    const char *word = argv[i];
    if (strcmp(word, "-c") == 0 || strcmp(word, "-a") == 0) {
        if (i + 1 >= argc)
            return verbs_misused(c->verb, "%s needs %s behind it", word, word[1] == 'c' ? "a file" : "an address");
        if (c->file || c->address)
            return verbs_misused(c->verb, "takes one -c or one -a");
        *(word[1] == 'c' ? &c->file : &c->address) = argv[i + 1];
        return EXIT_FINE;
    }
    if (strcmp(word, "--json") == 0 && strstr(verbs_find(c->verb)->usage, "--json"))
        c->json = true;
    else if (strcmp(word, "--offline") == 0 && strstr(verbs_find(c->verb)->usage, "--offline"))
        c->offline = true;
    else
        return verbs_misused(c->verb, "knows no %s", word);
    return EXIT_FINE;
}

int command_read(struct command *c, const char *verb, int most, int argc, char **argv)
{
    *c = (struct command){.verb = verb};
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1]) {
            int status = option_read(c, argc, argv, i);
            if (status != EXIT_FINE)
                return status;
            i += argv[i][1] == 'c' || argv[i][1] == 'a';
        } else if (c->n == most) {
            return verbs_misused(verb, "does not know what to do with \"%.60s\"", argv[i]);
        } else {
            c->words[c->n++] = argv[i];
        }
    }
    return EXIT_FINE;
}

/* ---- whom to ask ---- */

const char *const command_admin[] = {"admin", NULL};

static int token_set(struct command *c, const char *from, struct str token, struct err *err)
{
    const char *fault = admin_token_fault(token);
    if (fault)
        return err_set(err, "%s: it %s", from, fault);
    memcpy(c->token, token.at, token.len);
    c->token[token.len] = '\0';
    return 0;
}

/* Of `admin` in its long form. One that cannot be had here (a variable that only the server has) is needed all the same. */
static int token_of_tree(struct command *c, const struct yaml_node *admin, struct err *err)
{
    const struct yaml_node *n = admin->type == YAML_MAP ? yaml_get(admin, "token") : NULL;
    if (!n || c->token[0])
        return 0;
    if (n->type != YAML_SCALAR || n->broken)
        return err_set(err, "the admin listener's token cannot be had; set $WEIR_ADMIN_TOKEN");
    return token_set(c, "admin.token", n->text, err);
}

/* The first of the keys that the file has. */
static int whom_of_tree(struct command *c, const char *file, const struct yaml_node *root, const char *const *keys,
                        struct address *at, struct err *err)
{
    for (; *keys; keys++) {
        const struct yaml_node *n = yaml_get(root, *keys);
        const struct yaml_node *place = n && n->type == YAML_MAP ? yaml_get(n, "at") : n;
        if (n && (!place || place->type != YAML_SCALAR))
            return err_set_at(err, file, n->line, n->col, "%s: must be an address", *keys);
        if (n && keys == command_admin && token_of_tree(c, n, err) != 0)
            return -1;
        if (n)
            return address_parse(place->text, at, err);
    }
    return err_set(err, "%s: has no `admin`: there is nobody to ask", file);
}

static void say(const struct command *c, const struct err *err)
{
    char text[1024];
    fprintf(stderr, "weir %s: %s\n", c->verb, err_format(err, text, sizeof text));
}

/* A tree that can be had at all will do, whatever else is wrong with it. */
static int whom_of_file(struct command *c, const char *const *keys, struct address *at)
{
    const char *file = c->file ? c->file : verbs_default_file();
    struct diags diags = {0};
    struct arena arena;
    struct page page = {0};
    struct err err = {0};
    arena_init(&arena, NULL);
    /* Whatever else is wrong with the file here (a variable that only the server has), the address may be told by it. */
    const struct yaml_node *root = include_tree(&arena, file, &diags);
    int res = root ? whom_of_tree(c, file, root, keys, at, &err) : -1;
    diags_print(&diags, &page);
    if (res != 0 && diags.errors > 0)
        fputs(page.at, stderr);
    if (res != 0 && err.text[0])
        say(c, &err);
    page_free(&page);
    diags_fini(&diags);
    arena_fini(&arena);
    return res;
}

int command_whom(struct command *c, const char *const *keys, struct address *at)
{
    const char *known = getenv("WEIR_ADMIN_TOKEN");
    struct err err = {0};
    int res = known && *known && keys == command_admin ? token_set(c, "WEIR_ADMIN_TOKEN", str_c(known), &err) : 0;
    if (res == 0 && !c->address)
        return whom_of_file(c, keys, at);
    if (res == 0)
        res = address_parse(str_c(c->address), at, &err);
    if (res != 0)
        say(c, &err);
    return res;
}

int command_tell(const struct command *c, const struct address *at, struct admin_ask *ask)
{
    struct page body = {0};
    struct err err = {0};
    ask->token = c->token;
    ask->accept = c->json ? "application/json" : "text/plain";
    int status = admin_ask(at, ask, &body, &err);
    if (status < 0)
        fprintf(stderr, "weir %s: %s\n", c->verb, err.text);
    else
        fputs(body.at, status == 200 || c->json ? stdout : stderr);
    page_free(&body);
    return status == 200 ? EXIT_FINE : EXIT_CONFIG;
}

/* ---- verbs ---- */

int verb_reload(int argc, char **argv)
{
    struct admin_ask ask = {.method = "POST", .path = "/reload", .patience = 40 * NSEC_PER_SEC};
    struct command c;
    struct address at;
    int status = command_read(&c, "reload", 0, argc, argv);
    if (status != EXIT_FINE)
        return status;
    return command_whom(&c, command_admin, &at) == 0 ? command_tell(&c, &at, &ask) : EXIT_CONFIG;
}

/* What the gateway says is JSON; people read a sentence. */
static int breaker_tell(const struct command *c, const struct address *at, const struct admin_ask *ask)
{
    struct page body = {0};
    struct err err = {0};
    int status = admin_ask(at, ask, &body, &err);
    const char *list = status == 404 ? strstr(body.at, "\"instances\":[") : NULL;
    if (status < 0)
        fprintf(stderr, "weir breaker: %s\n", err.text);
    else if (status == 200)
        printf("%s: %s\n", c->words[0],
               c->words[1][0] == 'a' ? "judges by itself" : c->words[1][0] == 'o' ? "held open" : "held closed");
    else if (list)
        fprintf(stderr, "weir breaker: no breaker is called \"%.80s\"; there %s%.*s\n", c->words[0],
                list[13] == ']' ? "is none" : "are: ", (int)strcspn(list + 13, "]"), list + 13);
    else
        fputs(body.at, stderr);
    page_free(&body);
    return status == 200 ? EXIT_FINE : EXIT_CONFIG;
}

int verb_breaker(int argc, char **argv)
{
    struct admin_ask ask = {.method = "POST", .patience = 10 * NSEC_PER_SEC};
    struct page path = {0};
    struct command c;
    struct address at;
    int status = command_read(&c, "breaker", 2, argc, argv);
    if (status != EXIT_FINE)
        return status;
    bool known = c.n == 2 && (!strcmp(c.words[1], "open") || !strcmp(c.words[1], "closed") || !strcmp(c.words[1], "auto"));
    if (!known)
        return verbs_misused("breaker", "takes an instance's name, and open, closed or auto");
    if (command_whom(&c, command_admin, &at) != 0)
        return EXIT_CONFIG;
    page_printf(&path, "/command?instance=");
    admin_query_value(&path, str_c(c.words[0]));
    page_printf(&path, "&word=");
    admin_query_value(&path, str_c(c.words[1]));
    ask.path = path.at;
    ask.token = c.token;
    status = breaker_tell(&c, &at, &ask);
    page_free(&path);
    return status;
}

int verb_healthcheck(int argc, char **argv)
{
    static const char *const keys[] = {"probes", "admin", NULL};
    struct admin_ask ask = {.method = "GET", .path = "/readyz", .patience = 2 * NSEC_PER_SEC};
    struct command c;
    struct address at;
    int status = command_read(&c, "healthcheck", 0, argc, argv);
    if (status != EXIT_FINE)
        return status;
    return command_whom(&c, keys, &at) == 0 ? command_tell(&c, &at, &ask) : EXIT_CONFIG;
}
