/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PAGES_H
#define PAGES_H

#include "admin.h"

/* What the pages of the admin listener say of this process. Control thread. */
struct control;

struct admin_source pages_source(struct control *);

#endif
