/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root at the start, for ports below 1024, and somebody else from then on.
 *
 * The user is changed after TCP ports are bound and before anything is made in the file system: unix sockets, the log's file.
 * So what a reload or a rotation will do as that user has been done once already, or failed with its reason at the start. What
 * will be read again has been read as root: whether the user may is looked at, and said.
 *
 * glibc changes the user of every thread. That it cannot be undone is tried, and checked. Capabilities go by thread: they are
 * given up while this is the only one. Of those that came without root, the one for ports below 1024 stays for reloads.
 *
 * Not here: the list of system calls (sandbox.c), and who may write its files.
 */
#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "conf/diag.h"
#include "conf/snapshot.h"
#include "conf/yaml.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/slab.h"
#include "sandbox.h"

struct identity {
    uid_t uid;
    gid_t gid;
    const char *name;                /* whose further groups it has; NULL: it has none */
};

static int wrong(const struct snapshot *s, const char *key, struct diags *diags, const char *what)
{
    struct place place = yaml_place(yaml_get(s->node, key));
    return diag_error(diags, &place, CODE_user, "%s: %s", key, what);
}

/* -1 as a user or group means "leave it as it is" to the kernel. */
static bool number_of(struct str text, uint32_t *out)
{
    uint64_t n;
    if (!str_u64(text, &n) || n >= UINT32_MAX)
        return false;
    *out = (uint32_t)n;
    return true;
}

static int group_find(const struct snapshot *s, const struct passwd *pw, gid_t *out, struct diags *diags)
{
    const struct group *gr = s->group.len ? getgrnam(s->group.at) : NULL;
    if (gr)
        *out = gr->gr_gid;
    else if (s->group.len && !number_of(s->group, out))
        return wrong(s, "group", diags, "there is no such group here");
    else if (!s->group.len && !pw)
        return wrong(s, "user", diags, "a number without an entry among the users needs a `group`");
    else if (!s->group.len)
        *out = pw->pw_gid;
    return 0;
}

static int identity_find(const struct snapshot *s, struct identity *id, struct diags *diags)
{
    const struct passwd *pw = getpwnam(s->user.at);
    uint32_t number = 0;
    if (!pw && !number_of(s->user, &number))
        return wrong(s, "user", diags, "there is no such user here");
    if (!pw)
        pw = getpwuid(number);
    id->uid = pw ? pw->pw_uid : number;
    id->name = pw ? pw->pw_name : NULL;
    return group_find(s, pw, &id->gid, diags);
}

int privileges_check(const struct snapshot *s, struct diags *diags)
{
    struct identity id;
    return s->user.len ? identity_find(s, &id, diags) : 0;
}

/* What can be inherited goes, and with it what is ambient; of the others those in `mask` stay. */
static int capabilities_keep(uint32_t mask)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capget, &head, sets) != 0)
        return -1;
    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++, mask = 0)
        sets[i] = (struct __user_cap_data_struct){.permitted = sets[i].permitted & mask, .effective = sets[i].effective & mask};
    return (int)syscall(SYS_capset, &head, sets);
}

static int groups_become(const struct identity *id)
{
    if ((id->name ? initgroups(id->name, id->gid) : setgroups(0, NULL)) != 0)
        return -1;
    return setresgid(id->gid, id->gid, id->gid);
}

static int become(const struct identity *id)
{
    if (groups_become(id) != 0 || setresuid(id->uid, id->uid, id->uid) != 0)
        return -1;
    if (capabilities_keep(0) != 0)
        return -1;
    check(setresuid(0, 0, 0) != 0 && (id->gid == 0 || setresgid(0, 0, 0) != 0) && geteuid() == id->uid &&
          getegid() == id->gid);
    return 0;
}

static void unreadable_warn(const struct snapshot *s, struct diags *diags)
{
    for (size_t i = 0; i < s->sources.n; i++)
        if (access(s->sources.v[i].path, R_OK) != 0)
            diag_warn(diags, NULL, CODE_not_again, "%s: was read as root and cannot be read by `%s`, so a reload will fail: %s",
                      s->sources.v[i].path, s->user.at, strerror(errno));
}

void privileges_begin(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        log_warn("control", "the kernel refuses no_new_privs: %s", strerror(errno));
}

static int stay(const struct snapshot *s, const struct identity *id, struct diags *diags)
{
    if (s->user.len && geteuid() != id->uid)
        diag_warn(diags, NULL, CODE_not_root, "`user: %s` is not heeded: only root can become somebody else", s->user.at);
    if (capabilities_keep(1U << CAP_NET_BIND_SERVICE) != 0)
        log_warn("control", "capabilities could not be given up: %s", strerror(errno));
    return 0;
}

int privileges_drop(const struct snapshot *s, struct diags *diags)
{
    struct identity id = {.uid = 0};
    if (s->user.len && identity_find(s, &id, diags) != 0)
        return -1;
    if (geteuid() != 0)
        return stay(s, &id, diags);
    if (!s->user.len)
        log_warn("control", "running as root; `user:` names who to become once ports are bound");
    if (id.uid == 0 && s->group.len && groups_become(&id) != 0)
        return wrong(s, "group", diags, strerror(errno));
    if (id.uid == 0)
        return 0;
    if (become(&id) != 0)
        return wrong(s, "user", diags, strerror(errno));
    log_info("control", "user %u, group %u from now on", id.uid, id.gid);
    unreadable_warn(s, diags);
    return 0;
}

static int sandbox_begin(const struct snapshot *s, struct diags *diags)
{
    const char *unsaid = getenv("WEIR_SECCOMP");
    const struct yaml_node *key = yaml_get(s->node, "sandbox");
    struct err err = {0};
    if (s->seccomp == SECCOMP_OFF || (s->seccomp == SECCOMP_UNSAID && !(unsaid && strcmp(unsaid, "1") == 0)))
        return 0;
    if (sandbox_enter(s->log_to == LOG_TO_FILE ? SANDBOX_LOG_FILE : SANDBOX_NO_LOG_FILE, &err) == 0)
        return 0;
    struct place place = key ? yaml_place(key) : (struct place){0};
    return diag_error(diags, key ? &place : NULL, CODE_sandbox, "sandbox: seccomp: %s", err.text);
}

/* A handler of cores that is a program is asked in spite of the limit; only the flag keeps it away. The leak checker of a sanitized
 * build has to look into the memory itself, from a process of its own. */
int privileges_seal(const struct snapshot *s, struct diags *diags)
{
    const struct rlimit none = {0, 0};
    if (SLAB_HEAP)
        return 0;
    if (!s->core_dumps)
        (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, s->core_dumps, 0, 0, 0);
    return sandbox_begin(s, diags);
}
