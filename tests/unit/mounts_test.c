/* SPDX-License-Identifier: Apache-2.0 */
#include "mounts.h"

#include "folder.h"
#include "lib/mem.h"

static bool is_point(const char *mountinfo, const char *path) { return mounts_is_point(str_c(mountinfo), path); }

/* As a container has them: its root, a folder, a file alone. The path is the fifth field, whatever the others are. */
static char mounts[2000];

static void mounts_write(const char *point)
{
    snprintf(mounts, sizeof mounts,
             "612 540 0:92 / / rw,relatime master:233 - overlay overlay rw,lowerdir=/etc/a,upperdir=/b\n"
             "613 612 0:96 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n"
             "614 612 254:1 /home/me/weir.yaml %s ro,relatime - ext4 /dev/vda1 rw\n"
             "615 612 254:1 /home/me/etc /etc/other ro,relatime shared:1 master:2 - ext4 /dev/vda1 rw",
             point);
}

TEST(a_file_that_is_a_mount)
{
    folder_make();
    folder_add("etc");
    file_write("etc/weir.yaml", "version: 1\n");
    mounts_write(in_folder("etc/weir.yaml"));
    EXPECT(is_point(mounts, in_folder("etc/weir.yaml")));
    EXPECT(is_point(mounts, in_folder("etc/../etc//weir.yaml")));
    link_to("etc/weir.yaml", "link.yaml");
    EXPECT(is_point(mounts, in_folder("link.yaml")));
    EXPECT(!is_point(mounts, in_folder("etc")));
    file_write("etc/weir.yam", "");
    file_write("etc/weir.yaml2", "");
    EXPECT(!is_point(mounts, in_folder("etc/weir.yam")));
    EXPECT(!is_point(mounts, in_folder("etc/weir.yaml2")));
    EXPECT(!is_point(mounts, in_folder("etc/none")));
    EXPECT(!is_point("", in_folder("etc/weir.yaml")));
    EXPECT(!is_point("\n \n1 2 3 4\n1 2 3 4 \n", in_folder("etc/weir.yaml")));
    folder_drop();
}

TEST(a_file_in_a_folder_that_is_a_mount)
{
    folder_make();
    folder_add("etc");
    file_write("etc/weir.yaml", "version: 1\n");
    mounts_write(in_folder("etc"));
    EXPECT(!is_point(mounts, in_folder("etc/weir.yaml")));
    folder_drop();
}

TEST(blanks_in_the_path_are_escaped)
{
    char escaped[128];
    folder_make();
    file_write("my file\t\\.yaml", "version: 1\n");
    snprintf(escaped, sizeof escaped, "%s/my\\040file\\011\\134.yaml", folder);
    mounts_write(escaped);
    EXPECT(is_point(mounts, in_folder("my file\t\\.yaml")));
    file_write("my", "");
    EXPECT(!is_point(mounts, in_folder("my")));
    file_write("b\\04", "");                               /* no escape: it is too short to be one */
    mounts_write(in_folder("b\\04"));
    EXPECT(is_point(mounts, in_folder("b\\04")));
    folder_drop();
}

TEST(the_mounts_of_this_process)
{
    struct str all = mounts_read(MOUNTS_FILE);
    EXPECT(all.len > 0);
    EXPECT(mounts_is_point(all, "/"));
    EXPECT(mounts_is_point(all, "/proc"));
    EXPECT(!mounts_is_point(all, "/proc/self/mountinfo"));
    mem_free((char *)all.at);
    EXPECT_STR(mounts_read("/nowhere"), NULL);
}
