/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONFIG_PAGE_H
#define CONFIG_PAGE_H

#include "admin.h"

/*
 * The admin listener's pages about the configuration: what is in force, what a reload would change, how one ended. Control
 * thread.
 */
struct diags;

/* GET /config: the file, its generation and when it was loaded (wall, ns), and the files that it was made of, with the SHA-256
 * of each as it was read, but no files of secrets; and the certificates that are shown. Returns the status. */
int config_page(const struct snapshot *, uint64_t loaded, struct page *);

/* POST /plan: compares the running configuration with the request's body, or with the file as it is now when there is none.
 * `name=PATH` in the query is the body's name in errors, and includes are looked for beside it. Answers at once: 200 with the
 * plan, 422 with what is wrong. */
void config_plan(const struct snapshot *running, const struct admin_request *, struct admin_answer *);

/* POST /reload: who asked, until the reload is over. Then config_reload_over(), with the signature of a reload_done, answers 200
 * or 422 and frees it: with the summary, which it leaves as it is, or with the errors and warnings as text. */
struct config_asker;
struct config_asker *config_asker_new(const struct admin_request *, struct admin_answer *);
void config_reload_over(void *asker, bool ok, const struct diags *, struct page *summary);

#endif
