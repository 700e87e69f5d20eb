/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Roff without surprises: whatever a program copies from the page is the plain ASCII character (a hyphen is a minus, a
 * quote is not curled), and no line of text can be taken for a request.
 */
#include "conf/roff.h"

#include <stdbool.h>
#include "lib/page.h"

static void char_print(struct page *out, char c)
{
    switch (c) {
    case '\\': page_printf(out, "\\e"); return;
    case '-': page_printf(out, "\\-"); return;
    case '\'': page_printf(out, "\\(aq"); return;
    case '"': page_printf(out, "\\(dq"); return;
    case '^': page_printf(out, "\\(ha"); return;
    case '~': page_printf(out, "\\(ti"); return;
    default: page_printf(out, "%c", c);
    }
}

/* One line of running text; its first "." or "'" is no request. */
static void text_print(struct page *out, const char *text)
{
    bool code = false;

    page_printf(out, "\\&");
    for (; *text; text++) {
        if (*text == '`') {
            code = !code;
            page_printf(out, code ? "\\fB" : "\\fR");
        } else {
            char_print(out, *text == '\n' ? ' ' : *text);
        }
    }
    page_printf(out, code ? "\\fR\n" : "\n");
}

static void heading_print(struct page *out, const char *macro, const char *heading)
{
    page_printf(out, ".%s \"", macro);
    for (; *heading; heading++)
        char_print(out, *heading);
    page_printf(out, "\"\n");
}

void roff_title(struct page *out, const char *name, int section, const char *about)
{
    page_printf(out, ".TH \"");
    for (const char *c = name; *c; c++)
        page_printf(out, "%c", *c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
    page_printf(out, "\" \"%d\" \"\" \"weir\" \"weir manual\"\n.nh\n.ad l\n.SH NAME\n%s \\- ", section, name);
    text_print(out, about);
}

void roff_section(struct page *out, const char *heading) { heading_print(out, "SH", heading); }
void roff_subsection(struct page *out, const char *heading) { heading_print(out, "SS", heading); }

void roff_paragraph(struct page *out, const char *text)
{
    page_printf(out, ".PP\n");
    text_print(out, text);
}

void roff_item(struct page *out, const char *term, const char *note, const char *text)
{
    page_printf(out, ".TP\n\\fB");
    for (; *term; term++)
        if (*term == '\n')
            page_printf(out, "\\fR\n.TQ\n\\fB");
        else
            char_print(out, *term);
    page_printf(out, "\\fR");
    if (note) {
        page_printf(out, " (");
        for (; *note; note++)
            if (*note != '`')
                char_print(out, *note);
        page_printf(out, ")");
    }
    page_printf(out, "\n");
    text_print(out, text);
}

void roff_more(struct page *out, const char *text)
{
    page_printf(out, ".IP\n");
    text_print(out, text);
}

void roff_example(struct page *out, const char *lines)
{
    page_printf(out, ".PP\n.RS 4\n.nf\n\\&");
    for (; *lines; lines++) {
        char_print(out, *lines);
        if (*lines == '\n' && lines[1])
            page_printf(out, "\\&");
    }
    page_printf(out, ".fi\n.RE\n");
}
