/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting a configuration in force.
 *
 * Prepared are only things that are new: an address that the running configuration has too keeps its sockets, and so nobody
 * who is in their queues is lost. Sockets that are prepared are bound and listening, so what comes from then on waits in their
 * queues for the worker that takes them over.
 *
 * The commit: first the shared state takes the new limits, which hold for requests of either configuration; then each worker gets
 * one mail, and in the turn that delivers it all of it changes: view, listeners, cap, log. It sends the mail back. When all
 * have, nobody begins anything under the old configuration any more, and what the control thread does by it (checks of
 * endpoints, names, admin listeners, the old log) follows.
 *
 * Not done here: reading the configuration, waiting for names, and telling of it (reload.c).
 */
#include "change.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "access_log.h"
#include "admin.h"
#include "conf/diag.h"
#include "conf/yaml.h"
#include "control_impl.h"
#include "lib/check.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "listener.h"
#include "memory.h"
#include "names.h"
#include "pages.h"
#include "privileges.h"
#include "probe.h"
#include "reload.h"
#include "view.h"
#include "watchdog.h"

/* ---- what may fail ---- */

static bool has_listen(const struct snapshot *snap, const struct address *at)
{
    for (size_t i = 0; snap && i < snap->n_listens; i++)
        if (address_same(&snap->listens[i].address, at))
            return true;
    return false;
}

static int *socket_of(const struct change *ch, unsigned worker, size_t listen)
{
    return &ch->sockets[worker * ch->snap->n_listens + listen];
}

static int listen_open(struct change *ch, size_t l, struct err *err)
{
    const struct listen_conf *conf = &ch->snap->listens[l];
    for (unsigned i = 0; i < ch->control->n; i++) {
        int *fd = socket_of(ch, i, l);
        if (i == 0 || conf->address.sa.sa_family != AF_UNIX) {
            if (listener_socket(conf, i == 0 ? LISTENER_FIRST : 0, fd, err) != 0)
                return -1;
        } else if ((*fd = dup(*socket_of(ch, 0, l))) < 0) {
            return err_set(err, "listen %s: %s", conf->at.at, strerror(errno));
        }
    }
    return 0;
}

/* Said where the address or path stands; `node` NULL: nowhere. */
static int refused(struct diags *diags, enum diag_code code, const struct yaml_node *node, const struct err *err)
{
    if (!node)
        return diag_error(diags, NULL, code, "%s", err->text);
    struct place at = yaml_place(node);
    return diag_error(diags, &at, code, "%s", err->text);
}

static const struct yaml_node *key_of(const struct yaml_node *map, const char *key)
{
    return map && map->type == YAML_MAP ? yaml_get(map, key) : NULL;
}

static void sockets_make(struct change *ch)
{
    size_t n = ch->control->n * ch->snap->n_listens;
    ch->sockets = mem_array(n, sizeof *ch->sockets);
    for (size_t i = 0; i < n; i++)
        ch->sockets[i] = -1;
}

/* Does somebody else listen there? Asked of all before one of ours does, for they may overlap: 0.0.0.0:80 and [::]:80. */
static int sockets_try(struct change *ch, struct diags *diags)
{
    int res = 0;
    for (size_t l = 0; l < ch->snap->n_listens; l++) {
        const struct listen_conf *conf = &ch->snap->listens[l];
        struct err err = {0};
        int fd;
        if (conf->address.sa.sa_family == AF_UNIX)
            continue;
        if (listener_socket(conf, LISTENER_TRY, &fd, &err) == 0)
            close(fd);
        else
            res = refused(diags, CODE_listen, key_of(conf->node, "at"), &err);
    }
    return res;
}

/* Those that have a path, or those that have none. */
static int sockets_open(struct change *ch, bool paths, struct diags *diags)
{
    int res = 0;
    if (!ch->control->snap && !paths && sockets_try(ch, diags) != 0)
        return -1;
    for (size_t l = 0; l < ch->snap->n_listens; l++) {
        const struct listen_conf *conf = &ch->snap->listens[l];
        struct err err = {0};
        if ((conf->address.sa.sa_family == AF_UNIX) != paths || has_listen(ch->control->snap, &conf->address))
            continue;
        if (listen_open(ch, l, &err) != 0)
            res = refused(diags, CODE_listen, key_of(conf->node, "at"), &err);
    }
    return res;
}

/* Is it another one than the one that runs? */
static bool admin_differs(const struct listen_conf *now, const struct listen_conf *then)
{
    if (!now->at.len || !then->at.len)
        return now->at.len != then->at.len;
    return !address_same(&now->address, &then->address);
}

static int admin_make(struct change *ch, const struct listen_conf *conf, bool probes_only, struct admin **out,
                      struct diags *diags)
{
    struct admin_source source = pages_source(ch->control);
    struct err err = {0};
    if (!conf->at.len || admin_open(ch->control->base, conf, probes_only, &source, out, &err) == 0)
        return 0;
    return refused(diags, CODE_listen, key_of(ch->snap->node, probes_only ? "probes" : "admin"), &err);
}

static int admins_open(struct change *ch, struct diags *diags)
{
    static const struct listen_conf none = {.at = {NULL, 0}};
    const struct snapshot *now = ch->snap, *then = ch->control->snap;
    int res = 0;
    ch->admin_new = admin_differs(&now->admin, then ? &then->admin : &none);
    ch->probes_new = admin_differs(&now->probes, then ? &then->probes : &none);
    if (ch->admin_new)
        res |= admin_make(ch, &now->admin, false, &ch->admin, diags);
    if (ch->probes_new)
        res |= admin_make(ch, &now->probes, true, &ch->probes, diags);
    return res;
}

static int log_open(struct change *ch, struct diags *diags)
{
    const struct snapshot *now = ch->snap, *then = ch->control->snap;
    struct err err = {0};
    ch->log_new = !then || now->log_to != then->log_to || !str_eq(now->log_path, then->log_path);
    if (!ch->log_new || access_log_open(now->log_to, now->log_path, ch->control->n, &ch->log, &err) == 0)
        return 0;
    return refused(diags, CODE_log_file, key_of(key_of(now->node, "log"), "to"), &err);
}

int change_prepare(struct change *ch, struct control *c, struct snapshot *snap, struct diags *diags)
{
    *ch = (struct change){.control = c, .snap = snap};
    sockets_make(ch);
    int res = sockets_open(ch, false, diags);
    /* Ports may need root; whatever is made in the file system is to be the user's. */
    if (res == 0 && !c->snap)
        res = privileges_drop(snap, diags);
    res |= sockets_open(ch, true, diags);
    res |= admins_open(ch, diags);
    res |= log_open(ch, diags);
    if (res != 0)
        change_undo(ch);
    else
        control_connections_look(c, snap);
    return res;
}

static void socket_unmake(struct change *ch, unsigned worker, size_t listen)
{
    const struct address *at = &ch->snap->listens[listen].address;
    int fd = *socket_of(ch, worker, listen);
    if (fd < 0)
        return;
    if (worker == 0 && at->sa.sa_family == AF_UNIX)
        (void)unlink(at->un.sun_path);
    close(fd);
}

void change_undo(struct change *ch)
{
    for (unsigned i = 0; i < ch->control->n; i++)
        for (size_t l = 0; l < ch->snap->n_listens; l++)
            socket_unmake(ch, i, l);
    admin_close(&ch->admin);
    admin_close(&ch->probes);
    access_log_close(&ch->log);
    mem_free(ch->sockets);
    snapshot_unref(&ch->snap);
    *ch = (struct change){.control = ch->control};
}

/* ---- what cannot ---- */

struct change_mail {
    struct mail mail;
    struct change *change;
};

static void worker_change(struct change *ch, struct worker *w)
{
    w->max_connections = control_connections(ch->control, ch->snap);
    if (ch->log_new)
        w->log = access_log_ring(ch->log, w->id);
    view_change(w, &(struct view_change){.snap = ch->snap, .sockets = socket_of(ch, w->id, 0), .known = ch->known});
}

static void log_change(struct change *ch)
{
    struct control *c = ch->control;
    if (!ch->log_new)
        return;
    if (c->log)
        reload_retire_log(c->reload, c->log);
    c->log = ch->log;
}

/* Who asked for the change by the old one has not been answered yet. */
static void admin_change(struct reload *r, bool is_new, struct admin **now, struct admin *then)
{
    if (!is_new)
        return;
    if (*now && then)
        admin_hand_over(now, then);
    else if (*now)
        reload_retire_admin(r, *now);
    *now = then;
}

static void listens_tell(const struct change *ch)
{
    const struct snapshot *then = ch->control->snap;
    for (size_t i = 0; i < ch->snap->n_listens; i++)
        if (!has_listen(then, &ch->snap->listens[i].address))
            log_info("control", "listening on %s", ch->snap->listens[i].at.at);
    for (size_t i = 0; then && i < then->n_listens; i++)
        if (!has_listen(ch->snap, &then->listens[i].address))
            log_info("control", "no longer listening on %s", then->listens[i].at.at);
}

/* `of`: what is served there. */
static void admin_tell(const char *of, bool is_new, const struct listen_conf *now, const struct listen_conf *then)
{
    if (is_new && now->at.len)
        log_info("control", "%s on %s", of, now->at.at);
    else if (is_new && then)
        log_info("control", "%s no longer on %s", of, then->at.at);
}

static void admins_tell(const struct change *ch)
{
    const struct snapshot *now = ch->snap, *then = ch->control->snap;
    admin_tell("admin pages", ch->admin_new, &now->admin, then ? &then->admin : NULL);
    admin_tell("probes", ch->probes_new, &now->probes, then ? &then->probes : NULL);
}

/* At each start and reload, for it must not be forgotten. */
static void unverified_tell(const struct snapshot *snap)
{
    const struct upstream_conf *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < snap->n_upstreams; i++) {
        const struct upstream_conf *u = &snap->upstreams[i];
        if (!u->tls.client || u->tls.verify)
            continue;
        first = first ? first : u;
        n++;
    }
    if (first)
        log_warn("control", "certificates of endpoints are not verified (tls.verify: false) in %zu upstream%s, " STR_FMT
                 " %s: anybody on the way can pass for them", n, n == 1 ? "" : "s", STR_ARG(first->name),
                 n == 1 ? "alone" : "among them");
}

/* All workers have it. */
static void change_finish(struct change *ch)
{
    struct control *c = ch->control;
    struct snapshot *old = c->snap;
    struct healths old_healths = c->healths;
    struct name_known *known = names_known(c->names, ch->snap);      /* not the workers': more may have come since */
    listens_tell(ch);
    admins_tell(ch);
    unverified_tell(ch->snap);
    c->snap = ch->snap;
    watchdog_set(c->watchdog, c->snap->watchdog);
    memory_set(c->memory, c->snap->memory_limit);
    /* Opened before the old ones are closed, so that what both have lives on. */
    healths_open(&c->healths, c->snap, clock_mono(&clock_real));
    probes_change(c->checks, &c->healths, known);
    healths_close(&old_healths);
    if (old)
        names_drop(c->names, old);
    if (c->admin && !ch->admin_new)
        admin_set_token(c->admin, c->snap->admin.token);
    admin_change(c->reload, ch->admin_new, &c->admin, ch->admin);
    admin_change(c->reload, ch->probes_new, &c->probes, ch->probes);
    log_change(ch);
    if (old)
        reload_retire(c->reload, old);
    mem_free(known);
    mem_free(ch->sockets);
    mem_free(ch->known);
    void (*done)(struct control *) = ch->done;
    *ch = (struct change){.control = c};
    if (done)
        done(c);
}

static void mail_back(struct mail *mail, void *owner)
{
    struct change_mail *m = container_of(mail, struct change_mail, mail);
    struct change *ch = m->change;
    (void)owner;
    mem_free(m);
    check(ch->awaited > 0);
    if (--ch->awaited == 0)
        change_finish(ch);
}

static void mail_there(struct mail *mail, void *owner)
{
    struct change_mail *m = container_of(mail, struct change_mail, mail);
    worker_change(m->change, owner);
    m->mail.deliver = mail_back;
    mailbox_post(&m->change->control->mail, &m->mail);
}

void change_commit(struct change *ch, void (*done)(struct control *))
{
    struct control *c = ch->control;
    ch->done = done;
    ch->known = names_known(c->names, ch->snap);
    snapshot_open(ch->snap, c->shared, clock_mono(&clock_real));
    if (c->started == 0) {
        for (unsigned i = 0; i < c->n; i++)
            worker_change(ch, &c->workers[i]);
        change_finish(ch);
        return;
    }
    ch->awaited = c->n;
    for (unsigned i = 0; i < c->n; i++) {
        struct change_mail *m = mem_zalloc(sizeof *m);
        *m = (struct change_mail){.mail = {.deliver = mail_there}, .change = ch};
        mailbox_post(&c->workers[i].mailbox, &m->mail);
    }
}
