/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ROFF_H
#define ROFF_H

/*
 * The few parts of a manual page, in roff with the macros of man(7). Text may hold `code`, which is printed bold. Any
 * thread.
 */
struct page;

/* The first lines of a page; `section` is 1 or 5. */
void roff_title(struct page *, const char *name, int section, const char *about);
void roff_section(struct page *, const char *heading);       /* in capitals, by custom */
void roff_subsection(struct page *, const char *heading);
void roff_paragraph(struct page *, const char *text);
/* A term (or several, one a line) and what it means: the term is bold, `note` (NULL: none) stands behind it in round brackets. */
void roff_item(struct page *, const char *term, const char *note, const char *text);
/* Further text of an item. */
void roff_more(struct page *, const char *text);
void roff_example(struct page *, const char *lines);

#endif
