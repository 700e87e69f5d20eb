/* SPDX-License-Identifier: Apache-2.0 */
/* Text that roff could misunderstand comes out as it was written. */
#include "test.h"

#include "conf/roff.h"
#include "lib/page.h"

static void printed_is(struct page *p, const char *wanted)
{
    EXPECT_CSTR(p->at, wanted);
    page_free(p);
}

TEST(no_text_is_a_request)
{
    struct page p = {0};
    roff_paragraph(&p, ".example.com is a host");
    printed_is(&p, ".PP\n\\&.example.com is a host\n");
    roff_example(&p, ".so x\n'quoted'\n");
    printed_is(&p, ".PP\n.RS 4\n.nf\n\\&.so x\n\\&\\(aqquoted\\(aq\n.fi\n.RE\n");
}

TEST(characters_stay_what_they_are)
{
    struct page p = {0};
    roff_paragraph(&p, "a-b \\ \"c\" ^~ it's");
    printed_is(&p, ".PP\n\\&a\\-b \\e \\(dqc\\(dq \\(ha\\(ti it\\(aqs\n");
}

TEST(code_is_bold)
{
    struct page p = {0};
    roff_paragraph(&p, "use `x-y`, or `z`");
    printed_is(&p, ".PP\n\\&use \\fBx\\-y\\fR, or \\fBz\\fR\n");
}

TEST(an_item_has_a_note_or_none)
{
    struct page p = {0};
    roff_item(&p, "rate", "`1/s`; required", "How many.");
    printed_is(&p, ".TP\n\\fBrate\\fR (1/s; required)\n\\&How many.\n");
    roff_item(&p, "-c", NULL, "The file.");
    printed_is(&p, ".TP\n\\fB\\-c\\fR\n\\&The file.\n");
}

TEST(an_item_has_several_terms_and_more_text)
{
    struct page p = {0};
    roff_item(&p, "plan A\nplan B", NULL, "Says.");
    roff_more(&p, "More.");
    printed_is(&p, ".TP\n\\fBplan A\\fR\n.TQ\n\\fBplan B\\fR\n\\&Says.\n.IP\n\\&More.\n");
}

TEST(a_page_begins_with_its_name)
{
    struct page p = {0};
    roff_title(&p, "weir.yaml", 5, "the file");
    printed_is(&p, ".TH \"WEIR.YAML\" \"5\" \"\" \"weir\" \"weir manual\"\n.nh\n.ad l\n.SH NAME\nweir.yaml \\- \\&the file\n");
}
